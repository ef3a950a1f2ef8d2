"""What a recompute operator may leave out: columns nobody reads, and partitions no change can reach."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from sqlglot import exp

from .blocks import has_aggregate
from .plan import Plan
from .trees import every, every_node


def used_columns(query: exp.Expr) -> frozenset[str] | None:
    """Names (lower case) of all columns that `query` could read, or None where a star or the like reads every one."""
    parts = every_node(query)
    for node in parts:
        match node:
            case exp.Star() if not isinstance(node.parent, exp.Count):
                return None
            case exp.Pivot():
                return None  # PIVOT groups by all columns that it does not name
            case exp.Anonymous() if node.name.lower() == "columns":
                return None
            case exp.Join() if node.method.upper() == "NATURAL":
                return None
    columns = [node for node in parts if isinstance(node, exp.Column)]
    names = {part.name.lower() for column in columns for part in column.parts}
    for join in (node for node in parts if isinstance(node, exp.Join)):
        names |= {found.name.lower() for found in join.args.get("using") or ()}
    # A table's own name used as a value (SELECT t FROM t) is its whole row.
    tables = {node.alias_or_name.lower() for node in parts if isinstance(node, exp.Table | exp.Subquery)}
    bare = {column.name.lower() for column in columns if not column.table}
    return None if tables & bare else frozenset(names)


def partition_columns(query: exp.Expr, inputs: Mapping[str, Plan]) -> tuple[tuple[str, ...], ...]:
    """Per input the columns that cut the query into independent parts, or () where there are none.

    Rows of the result then come only from input rows that agree in these columns (NULLs agreeing with NULLs), so a
    change needs the query run again just for the values it touches. Found for joins on equal columns and for OVER
    (PARTITION BY columns).
    """
    if not isinstance(query, exp.Select) or query.args.get("from_") is None:
        return ()
    if any(
        query.args.get(name)
        for name in (
            "with_",
            "group",
            "having",
            "distinct",
            "limit",
            "offset",
            "laterals",
            "pivots",
            "sample",
            "windows",
        )
    ):
        return ()
    if any(node is not query for node in every(query, exp.Query)):
        return ()
    windows = every(query, exp.Window)
    if any(has_aggregate(item) and not windows for item in query.expressions):
        return ()
    sources = [query.args["from_"].this, *(join.this for join in query.args.get("joins") or ())]
    if not all(
        isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier) and source.name in inputs
        for source in sources
    ):
        return ()
    if len({source.name for source in sources}) != len(sources) or len(sources) != len(inputs):
        return ()
    classes = _equalities(query, sources, inputs)
    if classes is None:
        return ()
    if windows:
        classes = [c for c in classes if all(_partitioned_by(window, c, sources) for window in windows)]
        if len(sources) == 1:
            classes = _window_partitions(windows, sources[0], inputs[sources[0].name])
    classes = [c for c in classes if _comparable([_type(inputs[s.name], c[s.alias_or_name.lower()]) for s in sources])]
    by_input = {source.name: tuple(c[source.alias_or_name.lower()] for c in classes) for source in sources}
    if not classes:
        return ()
    return tuple(by_input[name] for name in inputs)


def _type(plan: Plan, name: str) -> pa.DataType:
    return next(column.arrow for column in plan.columns if column.name == name)


def _comparable(types: list[pa.DataType]) -> bool:
    """Whether values of these types are equal just when they are the same value, and can be told apart by Arrow."""
    if all(pa.types.is_integer(type) for type in types):
        return True
    return len(set(types)) == 1 and not pa.types.is_nested(types[0]) and not pa.types.is_interval(types[0])


_Class = dict[str, str]  # alias (lower case) -> column: columns of all inputs that any result row has equal


def _equalities(query: exp.Select, sources: list[exp.Expr], inputs: Mapping[str, Plan]) -> list[_Class] | None:
    owner = {
        source.alias_or_name.lower(): {c.name.lower(): c.name for c in inputs[source.name].columns}
        for source in sources
    }
    classes: list[_Class] = []

    def place(column: exp.Column) -> tuple[str, str] | None:
        if column.table:
            found = owner.get(column.table.lower(), {}).get(column.name.lower())
            return None if found is None else (column.table.lower(), found)
        holders = [alias for alias, names in owner.items() if column.name.lower() in names]
        return (holders[0], owner[holders[0]][column.name.lower()]) if len(holders) == 1 else None

    seen = [sources[0].alias_or_name.lower()]
    for join in query.args.get("joins") or ():
        alias = join.this.alias_or_name.lower()
        if (
            join.args.get("method")
            or join.kind.upper() not in ("", "INNER", "OUTER")
            or not (join.args.get("on") or join.args.get("using"))
        ):
            return None
        pairs: list[tuple[tuple[str, str], tuple[str, str]]] = []
        for name in join.args.get("using") or ():
            lower = name.name.lower()
            if len(seen) > 1 or lower not in owner[seen[0]] or lower not in owner[alias]:
                return None
            pairs.append(((seen[0], owner[seen[0]][lower]), (alias, owner[alias][lower])))
        condition = join.args.get("on")
        for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
            part = part.unnest() if part is not None else part
            if (
                isinstance(part, exp.EQ)
                and isinstance(part.this, exp.Column)
                and isinstance(part.expression, exp.Column)
            ):
                left, right = place(part.this), place(part.expression)
                if left and right and {left[0], right[0]} & {alias} and left[0] != right[0]:
                    pairs.append((left, right) if right[0] == alias else (right, left))
        if len(seen) == 1:
            classes = [{left[0]: left[1], right[0]: right[1]} for left, right in pairs]
        else:
            extended = []
            for known in classes:
                match = next((right for left, right in pairs if known.get(left[0]) == left[1]), None)
                if match is not None:
                    extended.append({**known, match[0]: match[1]})
            classes = extended
        seen.append(alias)
    return classes


def _partitioned_by(window: exp.Window, columns: _Class, sources: list[exp.Expr]) -> bool:
    keys = [key for key in window.args.get("partition_by") or () if isinstance(key, exp.Column)]
    return any(columns.get(key.table.lower()) == key.name for key in keys if key.table)


def _window_partitions(windows: list[exp.Window], source: exp.Expr, plan: Plan) -> list[_Class]:
    names = {column.name.lower(): column.name for column in plan.columns}
    common: set[str] | None = None
    for window in windows:
        keys = {
            key.name.lower()
            for key in window.args.get("partition_by") or ()
            if isinstance(key, exp.Column) and key.name.lower() in names
        }
        common = keys if common is None else common & keys
    return [{source.alias_or_name.lower(): names[name]} for name in sorted(common or ())]
