"""Trees of queries, walked and copied without sqlglot's generators and deep copies: planning does little else."""

from __future__ import annotations

from typing import TypeVar

from sqlglot import exp

E = TypeVar("E", bound=exp.Expr)


def every_node(tree: exp.Expr) -> list[exp.Expr]:
    """All nodes of a tree as they are now, breadth first."""
    kind = exp.Expr
    all_nodes = [tree]
    for node in all_nodes:  # which grows meanwhile
        for value in node.args.values():
            if type(value) is list:
                all_nodes += [part for part in value if isinstance(part, kind)]
            elif value.__class__ is not str and isinstance(value, kind):
                all_nodes.append(value)
    return all_nodes


def every(tree: exp.Expr, *kinds: type[E]) -> list[E]:
    """The nodes of these types as they are now, breadth first."""
    return [node for node in every_node(tree) if isinstance(node, kinds)]


def copied(tree: E) -> E:
    """A copy of a tree, hanging below nothing. What stands in a node's `meta` is shared."""
    root = _bare(tree)
    pairs: list[tuple[exp.Expr, exp.Expr]] = [(tree, root)]
    for node, new in pairs:  # which grows meanwhile
        for name, value in node.args.items():
            if type(value) is list:
                new.args[name] = parts = []
                for index, part in enumerate(value):
                    if isinstance(part, exp.Expr):
                        child = _bare(part)
                        child.parent, child.arg_key, child.index = new, name, index
                        pairs.append((part, child))
                        parts.append(child)
                    else:
                        parts.append(part)
            elif value.__class__ is not str and isinstance(value, exp.Expr):
                child = _bare(value)
                child.parent, child.arg_key = new, name
                pairs.append((value, child))
                new.args[name] = child
            else:
                new.args[name] = value
    return root


def _bare(node: E) -> E:
    """A node like this one that has nothing below it yet, made as none of the constructors would."""
    new = node.__class__.__new__(node.__class__)
    new.args = {}
    new.parent = new.arg_key = new.index = None
    new.comments = None if node.comments is None else [*node.comments]
    new._type = node._type
    new._meta = None if node._meta is None else {**node._meta}
    new._hash = node._hash
    return new


def as_column(name: str) -> exp.Column:
    """The column of exactly that name."""
    return exp.column(exp.to_identifier(name, quoted=True))
