"""What statements say of the time to live of their state, and those that say nothing after SET state_ttl."""

from __future__ import annotations

from collections.abc import Mapping

from ..storage.errors import Position
from .hints import OPENING
from .statements import CopyTo, CreateDerived, CreateView, Emit, Insert, Option, Select, Statement, Subscribe
from .time_to_live import HINT, OPTION, hints_in, read_ttl


def ttl_of(options: Mapping[str, Option], position: Position | None) -> int | None:
    """What WITH says of it."""
    return read_ttl(options[OPTION], position) if OPTION in options else None


def emitted_ttl(emit: Emit | None) -> int | None:
    """What EMIT ... WITH says of it."""
    return None if emit is None else ttl_of(emit.options, emit.position)


def live_ttl(statement: Statement, defaults: Mapping[str, str]) -> int | None:
    """How long the state of a live query lives, or of one that EXPLAIN is asked about; `defaults` is what SET said."""
    options: Mapping[str, Option] = {}
    match statement:
        case Subscribe() | CreateView() | CreateDerived():
            options = statement.options
        case Select(emit=Emit() as emit):
            options = emit.options
        case _:
            pass
    said = options.get(OPTION, defaults.get(OPTION))
    return None if said is None else read_ttl(said, statement.start)


def notes_on_hints(statement: Select | Insert | CopyTo) -> list[str]:
    """What to say of hints in a query that ends."""
    said = OPENING in statement.text and hints_in(statement.query)
    return [f"{HINT} says nothing here: what ends keeps no state"] if said else []
