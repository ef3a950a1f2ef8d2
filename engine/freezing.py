"""Parts of running queries as they are at one moment, for another thread to take snapshots of while they go on."""

from __future__ import annotations

from collections import deque
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from .copying import Copying
from .slot_array import Distinct, SlotArray

Part = TypeVar("Part")

_OURS = __name__.rpartition(".")[0] + "."


class Frozen(Generic[Part]):
    """What a part is now: an operator, say, and all objects of the engine's classes that it consists of.

    It takes a copy of those objects and of the lists and dictionaries in them. They share what does not change: Arrow
    data, NumPy arrays (who writes into one has a SlotArray), frozen dataclasses. What SlotArrays hold is copied by
    `thaw`, and before that as far as the part writes over it. So it takes microseconds an object, whatever they hold.
    """

    def __init__(self, part: Part) -> None:
        self._copies: dict[int, Any] = {}  # by the id of what they are of
        self._left: list[tuple[SlotArray, Copying]] = []
        self._copy: Part | None = cast(Part, self._copy_of(part))
        self._copies.clear()

    def thaw(self) -> Part:
        """The copy, once: its own, and as the part was."""
        while self._left:
            array, copying = self._left.pop()
            array.values = copying.run()
        copy, self._copy = self._copy, None
        assert copy is not None
        return copy

    def _copy_of(self, value: Any) -> Any:
        kind: type = type(value)
        if kind in _SAME:
            return value
        found = self._copies.get(id(value))
        if found is not None:
            return found
        if kind in (SlotArray, Distinct):
            found, copying = value.freeze()
            if copying is not None:
                self._left.append((found, copying))
        elif kind in (list, tuple, set, deque):
            found = kind(self._copy_of(each) for each in value)
        elif kind is dict:
            found = {key: self._copy_of(each) for key, each in value.items()}
        elif _changes(kind):
            found = self._copies[id(value)] = object.__new__(kind)
            found.__dict__.update((name, self._copy_of(each)) for name, each in vars(value).items())
        else:
            return value
        self._copies[id(value)] = found
        return found


_SAME: set[type] = {int, float, str, bytes, bool, type(None)}


@cache
def _changes(kind: type) -> bool:
    """Whether objects of that class have state: the engine's, and those derived from them."""
    if issubclass(kind, type) or (is_dataclass(kind) and kind.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        return False
    return any(base.__module__.startswith(_OURS) for base in kind.__mro__)
