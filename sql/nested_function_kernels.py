"""Which kernel computes a function of lists, maps and structs for given arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from ..engine import list_kernels as lists
from ..engine.expression import Kernel
from ..engine.kernels import arrow, cast, first, float_equal
from .function_kernels import Build, constant
from .kinds import VALUE, Argument, matches


def _by_equality(make: Callable[[Kernel], Kernel]) -> Build:
    """What looks for the second argument among the values or keys of the first: both of one type that compares."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        among, wanted = arguments[0].type, arguments[1]
        held = among.key_type if pa.types.is_map(among) else among.value_type
        if not matches(wanted, VALUE) or (wanted.constant is not None and not wanted.constant.is_valid):
            return None
        kernel = make(float_equal if wanted.kind == "float" else arrow("equal"))
        if held == wanted.type:
            return kernel
        if not (pa.types.is_integer(held) and wanted.kind == "integer"):
            return None
        fits = cast(held)
        return lambda values: kernel([values[0], fits(values[1:])])

    return build


contains = _by_equality(lists.contains)
has_key = _by_equality(lambda equal: lists.contains(equal, "keys"))
lookup = _by_equality(lists.lookup)


def position(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Where in a list a value is."""
    return _by_equality(lambda equal: lists.position(equal, result))(arguments, result)


def length(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """How many values a list or map has."""
    return lists.length(result)


def element(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The value at an index of a list."""
    if arguments[1].constant is not None and not arguments[1].constant.is_valid:
        return None
    return lists.by_rows(lists.element)


def listing(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """A list of the arguments."""
    return lists.listing(result)


def joined(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """A list of texts as one text, with a constant between them."""
    separator = constant(arguments[1])
    if arguments[0].type.value_type != pa.string() or separator is None:
        return None
    return first(lists.joined(separator))


def split(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The parts of a text between constant separators."""
    separator = constant(arguments[1])
    return first(lists.split(separator, result)) if separator else None


def halves(name: str) -> Build:
    """The keys or the values of a map."""
    return lambda arguments, result: lists.halves(name, result)


def field(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The field of a struct that a constant names."""
    name = str(constant(arguments[1])).lower()
    names = [one.name.lower() for one in arguments[0].type]
    return first(lists.field(names.index(name))) if names.count(name) == 1 else None


def packed(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """A struct of the arguments, with the names that the result's type has."""
    return lists.packed(result) if all(one.type == f.type for one, f in zip(arguments, result, strict=True)) else None
