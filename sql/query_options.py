"""The options that WITH gives to a query, not to what its rows are kept in, and those that SET gives to all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from .statements import CopyTo, CreateDerived, CreateView, Emit, Explain, Insert, Option, Statement

QUERY_OPTIONS = ("state_ttl", "on_error")

S = TypeVar("S", bound=Statement)


def of_topic(options: Mapping[str, Option]) -> dict[str, Option]:
    """The other ones."""
    return {name: value for name, value in options.items() if name not in QUERY_OPTIONS}


def with_defaults(statement: S, defaults: Mapping[str, str]) -> S:
    """A statement that the catalog keeps, as if its WITH had said what SET did, unless it does itself."""
    match statement:
        case CreateView(materialized=True) | CreateDerived():
            given, at = statement.options, statement.options_at
        case Insert(emit=Emit() as emit) | CopyTo(emit=Emit() as emit):
            given, at = emit.options, len(statement.text) - (1 if emit.options else 0)
        case Explain():
            return replace(statement, statement=with_defaults(statement.statement, defaults))
        case _:
            return statement
    more = {name: value for name, value in defaults.items() if name not in given}
    if not more:
        return statement
    said = ", ".join(f"{name} = '{value}'" for name, value in more.items())
    options = {**given, **more}
    before, after = statement.text[:at], statement.text[at:]
    if isinstance(statement, CreateView | CreateDerived):
        text = before + (f"{said}, " if given else f"WITH ({said}) ") + after
        return replace(statement, options=options, text=text)
    assert isinstance(statement, Insert | CopyTo)
    assert statement.emit is not None
    text = before + (f", {said}" if given else f" WITH ({said})") + after
    return replace(statement, emit=replace(statement.emit, options=options), text=text)
