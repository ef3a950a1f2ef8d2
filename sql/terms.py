"""Expressions as the table of functions sees them: columns, constants and calls, whatever way they were written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from .trees import copied


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

_OPERATORS: dict[type[exp.Expr], str] = {
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
    exp.DPipe: "||",
    exp.BitwiseAnd: "&",
    exp.BitwiseOr: "|",
    exp.BitwiseNot: "~",
    exp.Pow: "power",
    exp.NullSafeEQ: "is not distinct from",
    exp.NullSafeNEQ: "is distinct from",
}


# Other names of functions of the table, and of operators that can be written as calls.
_SYNONYMS = {
    "add": "+",
    "array_contains": "list_contains",
    "array_extract": "subscript",
    "array_has": "list_contains",
    "array_indexof": "list_position",
    "array_length": "length",
    "array_position": "list_position",
    "array_slice": "list_slice",
    "ceiling": "ceil",
    "char_length": "length",
    "character_length": "length",
    "datediff": "date_diff",
    "datepart": "date_part",
    "datetrunc": "date_trunc",
    "date_add": "+",
    "ends_with": "suffix",
    "fmod": "%",
    "ifnull": "coalesce",
    "instr": "strpos",
    "lcase": "lower",
    "len": "length",
    "list_element": "subscript",
    "list_extract": "subscript",
    "list_has": "list_contains",
    "list_indexof": "list_position",
    "list_pack": "list_value",
    "log": "log10",
    "map_extract_value": "subscript",
    "mod": "%",
    "multiply": "*",
    "position": "strpos",
    "pow": "power",
    "regexp_like": "regexp_matches",
    "split": "string_split",
    "str_split": "string_split",
    "string_to_array": "string_split",
    "struct_extract": "subscript",
    "subtract": "-",
    "substr": "substring",
    "ucase": "upper",
}
_NAME = re.compile(r"(\w+)\(")
_DIALECT = DuckDB()


def sql_text(node: exp.Expr) -> str:
    """DuckDB's SQL for `node`, every name quoted."""
    return DuckDB.Generator(dialect=_DIALECT, identify=True).generate(copied(node), copy=False)


def term_of(node: exp.Expr) -> Term:
    """`node` as a term. Raises: NoKernel where it is not made of what the table could have."""
    if isinstance(node, exp.Paren | exp.Alias):
        return term_of(node.this)
    text = sql_text(node)
    if isinstance(node, exp.Column):
        return ColumnTerm(node.name, text)
    if node.find(exp.Query) is not None:
        raise NoKernel("a subquery")
    if node.find(exp.Column) is None:
        return Constant(text)
    if type(node) in _OPERATORS:
        return Call(_OPERATORS[type(node)], _terms(node.iter_expressions()), text)
    if type(node) in _FORMS:
        return _FORMS[type(node)](node, text)
    name = _NAME.match(text)
    if isinstance(node, exp.Func) and name is not None:
        called = name[1].lower()
        return Call(_SYNONYMS.get(called, called), _terms(node.iter_expressions()), text)
    raise NoKernel(name[1].lower() if name is not None else node.key)


def _terms(nodes: Iterable[exp.Expr]) -> tuple[Term, ...]:
    return tuple(term_of(node) for node in nodes)


def _written(name: str, left: Term, right: Term) -> Call:
    """A binary operator that the user wrote in other words."""
    return Call(name, (left, right), f"(({left.text}) {name.upper()} ({right.text}))")


def _is(node: exp.Expr, text: str) -> Term:
    tested = node.expression
    if isinstance(tested, exp.Null):
        return Call("is null", (term_of(node.this),), text)
    if isinstance(tested, exp.Boolean):
        return Call("is true" if tested.this else "is false", (term_of(node.this),), text)
    raise NoKernel("is")


def _cast(node: exp.Expr, text: str) -> Term:
    return Call("cast", (term_of(node.this),), text)


def _between(node: exp.Expr, text: str) -> Term:
    value, low, high = _terms((node.this, node.args["low"], node.args["high"]))
    if node.args.get("symmetric"):
        raise NoKernel("between symmetric")
    return _written("and", _written(">=", value, low), _written("<=", value, high))


def _in(node: exp.Expr, text: str) -> Term:
    if isinstance(node.args.get("field"), exp.Column):
        return Call("list_contains", (term_of(node.args["field"]), term_of(node.this)), text)
    if not node.expressions:
        raise NoKernel("in")
    value, *choices = _terms((node.this, *node.expressions))
    if all(isinstance(choice, Constant) for choice in choices):
        return Call("in", (value, *choices), text)
    return reduce(lambda left, right: _written("or", left, right), [_written("=", value, choice) for choice in choices])


def _case(node: exp.Expr, text: str) -> Term:
    """CASE as nested two-way choices; without ELSE the last one is NULL."""
    default = node.args.get("default")
    result: Term = Constant("NULL") if default is None else term_of(default)
    for branch in reversed(node.args["ifs"]):
        condition, taken = _terms((branch.this, branch.args["true"]))
        if node.this is not None:
            condition = _written("=", term_of(node.this), condition)
        result = _choice(condition, taken, result)
    return result


def _if(node: exp.Expr, text: str) -> Term:
    other = node.args.get("false")
    return _choice(
        term_of(node.this), term_of(node.args["true"]), Constant("NULL") if other is None else term_of(other)
    )


def _choice(condition: Term, taken: Term, other: Term) -> Call:
    text = f"CASE WHEN {condition.text} THEN {taken.text} ELSE {other.text} END"
    return Call("if", (condition, taken, other), text)


def _nullif(node: exp.Expr, text: str) -> Term:
    value, absent = _terms((node.this, node.expression))
    return _choice(_written("=", value, absent), Constant("NULL"), value)


def _like(node: exp.Expr, text: str) -> Term:
    value, pattern = _terms((node.this, node.expression))
    call = Call("like", (value, pattern), f"(({value.text}) LIKE ({pattern.text}))")
    return Call("not", (call,), text) if node.args.get("negate") else call


def _ilike(node: exp.Expr, text: str) -> Term:
    """ILIKE as LIKE of both in lower case."""
    value, pattern = _terms((node.this, node.expression))
    call = Call("ilike", (value, pattern), f"(({value.text}) ILIKE ({pattern.text}))")
    return Call("not", (call,), text) if node.args.get("negate") else call


def _part(node: exp.Expr, text: str) -> Term:
    return Call("date_part", (_unit(node.this), term_of(node.expression)), text)


def _truncate(node: exp.Expr, text: str) -> Term:
    return Call("date_trunc", (_unit(node.args["unit"]), term_of(node.this)), text)


def _difference(node: exp.Expr, text: str) -> Term:
    return Call("date_diff", (_unit(node.args["unit"]), *_terms((node.expression, node.this))), text)


def _unit(node: exp.Expr) -> Term:
    return Constant("'" + node.name.lower() + "'")


def _from_number(node: exp.Expr, text: str) -> Term:
    """epoch_ms() and make_timestamp(), which sqlglot reads as one function with a scale."""
    name = _NAME.match(text)
    if name is None:
        raise NoKernel(node.key)
    return Call(name[1].lower(), (term_of(node.this),), text)


def _bracket(node: exp.Expr, text: str) -> Term:
    """x[i], of a list, a text, a map or a struct, and x[i:j]."""
    if len(node.expressions) != 1:
        raise NoKernel("[]")
    value, inside = term_of(node.this), node.expressions[0]
    if isinstance(inside, exp.Slice):
        if inside.args.get("step") is not None:
            raise NoKernel("[::]")
        first, last = inside.this, inside.args.get("expression")
        bounds = Constant("1") if first is None else term_of(first), Constant("-1") if last is None else term_of(last)
        return Call("list_slice", (value, *bounds), text)
    index = text[len(value.text) + 1 : -1]  # sqlglot counts from 0 what is a number, and not what is not
    if text != f"{value.text}[{index}]":
        raise NoKernel("[]")
    if inside.find(exp.Column) is None:
        return Call("subscript", (value, Constant(index)), text)
    if sql_text(inside) != index:
        raise NoKernel("[]")
    return Call("subscript", (value, term_of(inside)), text)


def _field(node: exp.Expr, text: str) -> Term:
    if not isinstance(node.expression, exp.Identifier):
        raise NoKernel(".")
    return Call("subscript", (term_of(node.this), Constant("'" + node.name.replace("'", "''") + "'")), text)


def _list(node: exp.Expr, text: str) -> Term:
    return Call("list_value", _terms(node.expressions), text)


def _struct(node: exp.Expr, text: str) -> Term:
    """{'name': value}; struct_pack(name := value) arrives at the same call."""
    return Call("struct_pack", _terms(node.expressions), text)


def _named(node: exp.Expr, text: str) -> Term:
    return term_of(node.expression)


_FORMS: dict[type[exp.Expr], Callable[[exp.Expr, str], Term]] = {
    exp.Is: _is,
    exp.Cast: _cast,
    exp.Between: _between,
    exp.In: _in,
    exp.Case: _case,
    exp.If: _if,
    exp.Nullif: _nullif,
    exp.Like: _like,
    exp.ILike: _ilike,
    exp.Extract: _part,
    exp.TimestampTrunc: _truncate,
    exp.DateTrunc: _truncate,
    exp.DateDiff: _difference,
    exp.UnixToTime: _from_number,
    exp.Bracket: _bracket,
    exp.Dot: _field,
    exp.Array: _list,
    exp.Struct: _struct,
    exp.PropertyEQ: _named,
}
