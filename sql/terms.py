"""Expressions as the table of functions sees them: columns, constants and calls, whatever way they were written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp


class NoKernel(Exception):
    """Arrow kernels cannot compute this; says because of what."""


@dataclass(frozen=True)
class ColumnTerm:
    """A column of the input. `text` is SQL and identity, here and below."""

    name: str
    text: str


@dataclass(frozen=True)
class Constant:
    """An expression that depends on no column."""

    text: str


@dataclass(frozen=True)
class Call:
    """A function of the table, or "cast", whose target is the type of `text`."""

    name: str
    arguments: tuple[Term, ...]
    text: str


Term = ColumnTerm | Constant | Call

_OPERATORS: dict[type[exp.Expression], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "//",
    exp.Mod: "%",
    exp.Neg: "negate",
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.And: "and",
    exp.Or: "or",
    exp.Not: "not",
}


def sql_text(node: exp.Expression) -> str:
    """DuckDB's SQL for `node`, every name quoted."""
    return node.sql(dialect="duckdb", identify=True)


def term_of(node: exp.Expression) -> Term:
    """`node` as a term. Raises: NoKernel where it is not made of functions the table could have."""
    text = sql_text(node)
    if isinstance(node, exp.Paren | exp.Alias):
        return term_of(node.this)
    if isinstance(node, exp.Column):
        return ColumnTerm(node.name, text)
    if node.find(exp.Query):
        raise NoKernel("a subquery")
    if node.find(exp.Column) is None:
        return Constant(text)
    if type(node) in _OPERATORS:
        return Call(_OPERATORS[type(node)], tuple(term_of(child) for child in node.iter_expressions()), text)
    if type(node) in _REWRITES:
        return _REWRITES[type(node)](node, text)
    raise NoKernel(node.name if isinstance(node, exp.Anonymous) else node.key)


def _is(node: exp.Expression, text: str) -> Term:
    tested = node.expression
    if isinstance(tested, exp.Null):
        return Call("is null", (term_of(node.this),), text)
    if isinstance(tested, exp.Boolean):
        return Call("is true" if tested.this else "is false", (term_of(node.this),), text)
    raise NoKernel("IS")


def _cast(node: exp.Expression, text: str) -> Term:
    return Call("cast", (term_of(node.this),), text)


_REWRITES: dict[type[exp.Expression], Callable[[exp.Expression, str], Term]] = {
    exp.Is: _is,
    exp.Cast: _cast,
}
