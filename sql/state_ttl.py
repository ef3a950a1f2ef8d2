"""What statements say of the time to live of their state, and those that say nothing after SET state_ttl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from ..storage.errors import Position
from .hints import OPENING
from .statements import CopyTo, CreateDerived, CreateView, Emit, Insert, Option, Select, Statement, Subscribe
from .time_to_live import HINT, OPTION, hints_in, read_ttl

S = TypeVar("S", bound=Statement)


def ttl_of(options: Mapping[str, Option], position: Position | None) -> int | None:
    """What WITH says of it."""
    return read_ttl(options[OPTION], position) if OPTION in options else None


def emitted_ttl(emit: Emit | None) -> int | None:
    """What EMIT ... WITH says of it."""
    return None if emit is None else ttl_of(emit.options, emit.position)


def live_ttl(statement: Statement, default: str | None) -> int | None:
    """How long the state of a live query lives, or of one that EXPLAIN is asked about; `default` is what SET said."""
    options: Mapping[str, Option] = {}
    match statement:
        case Subscribe() | CreateView() | CreateDerived():
            options = statement.options
        case Select(emit=Emit() as emit):
            options = emit.options
        case _:
            pass
    said = options.get(OPTION, default)
    return None if said is None else read_ttl(said, statement.start)


def without_ttl(options: Mapping[str, Option]) -> dict[str, Option]:
    """The options that are of the topic."""
    return {name: value for name, value in options.items() if name != OPTION}


def notes_on_hints(statement: Select | Insert | CopyTo) -> list[str]:
    """What to say of hints in a query that ends."""
    said = OPENING in statement.text and hints_in(statement.query)
    return [f"{HINT} says nothing here: what ends keeps no state"] if said else []


def with_default(statement: S, ttl: str | None) -> S:
    """A statement that the catalog keeps, as if its WITH had said what SET state_ttl did, unless it does itself."""
    if ttl is None:
        return statement
    said = f"{OPTION} = '{ttl}'"
    match statement:
        case CreateView(materialized=True) | CreateDerived() if OPTION not in statement.options:
            inserted = f"{said}, " if statement.options else f"WITH ({said}) "
            text = statement.text[: statement.options_at] + inserted + statement.text[statement.options_at :]
            return replace(statement, options={**statement.options, OPTION: ttl}, text=text)
        case Insert(emit=Emit() as emit) | CopyTo(emit=Emit() as emit):
            if emit.options:
                return statement
            return replace(statement, emit=replace(emit, options={OPTION: ttl}), text=f"{statement.text} WITH ({said})")
        case _:
            return statement
