"""Which kernel computes a function of texts for given arguments, most of them constants."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ..engine import text_kernels as text
from ..engine.expression import Kernel
from ..engine.kernels import arrow, bound, chain, first
from .function_kernels import Build, always, constant
from .kinds import Argument


def _joined(nulls: str) -> Build:
    join = arrow("binary_join_element_wise", pc.JoinOptions(nulls, ""))
    return always(lambda arguments: join([*arguments, pa.scalar("")]))


join = _joined("emit_null")
concat = _joined("replace")


def _slice(start: int, stop: int | None) -> Kernel:
    return first(arrow("utf8_slice_codeunits", pc.SliceOptions(start, stop)))


def substring(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Characters from a place on, counted from 1 or, if negative, from the end."""
    start = constant(arguments[1])
    length = constant(arguments[2]) if len(arguments) > 2 else None
    if start is None or (len(arguments) > 2 and (length is None or length < 0)):
        return None
    if start < 0:
        return _slice(start, None if length is None or start + length >= 0 else start + length)
    return _slice(max(start - 1, 0), None if length is None else max(start - 1 + length, 0))


def between(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Characters between two constant indexes, both included and counted from 1, or from -1 backwards."""
    start, stop = constant(arguments[1]), constant(arguments[2])
    if start is None or stop is None or start == 0 or stop == 0 or len(arguments) > 3:
        return None
    return _slice(start - 1 if start > 0 else start, None if stop == -1 else stop if stop > 0 else stop + 1)


def character(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The character at a constant index."""
    return between([*arguments, arguments[1]], result)


def left(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The first characters; all but the last -n if negative."""
    count = constant(arguments[1])
    return None if count is None else _slice(0, count)


def right(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The last characters; all but the first -n if negative."""
    count = constant(arguments[1])
    if count is None:
        return None
    return _slice(0, 0) if count == 0 else _slice(-count, None)


def trim(name: str) -> Build:
    """Without the given characters, or spaces, at one or both ends."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        characters = constant(arguments[1]) if len(arguments) > 1 else " "
        return first(arrow(name, pc.TrimOptions(characters))) if characters else None

    return build


def match(name: str) -> Build:
    """A test of the text against a constant."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        pattern = constant(arguments[1])
        if pattern is None or len(arguments) > 2:
            return None
        return first(arrow(name, pc.MatchSubstringOptions(pattern)))

    return build


def like(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """LIKE a constant; Arrow takes a backslash for an escape, DuckDB does not."""
    pattern = constant(arguments[1])
    return None if pattern is None or "\\" in pattern else match("match_like")(arguments, result)


def ilike(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """LIKE of both in lower case, for a constant of plain characters."""
    pattern = constant(arguments[1])
    if pattern is None or not pattern.isascii() or "\\" in pattern:
        return None
    test = arrow("match_like", pc.MatchSubstringOptions(pattern.lower()))
    return first(chain(text.settled_case("utf8_lower"), test))


def position(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Where a constant begins, counted from 1; 0 where it does not."""
    pattern = constant(arguments[1])
    return first(text.position(pattern)) if pattern else None


def pad(name: str) -> Build:
    """The text with a constant character added until it is so long, or cut to be."""

    def build(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
        width, character = constant(arguments[1]), constant(arguments[2])
        if width is None or width < 0 or character is None or len(character) != 1:
            return None
        return chain(first(arrow(name, pc.PadOptions(width, character))), _slice(0, width))

    return build


def repeat(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The text a constant number of times."""
    count = constant(arguments[1])
    if count is None or not 0 <= count <= 1000:
        return None
    return first(bound(arrow("binary_repeat"), pa.scalar(count)))


def concat_with_separator(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """All but the first, those that are NULL left out, with the first between them: a constant."""
    if constant(arguments[0]) is None or len(arguments) < 2:
        return None
    join = arrow("binary_join_element_wise", pc.JoinOptions("skip"))
    return lambda values: join([*values[1:], values[0]])


def full_match(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Whether all of the text matches a constant pattern."""
    pattern = constant(arguments[1])
    if pattern is None or len(arguments) > 2:
        return None
    return first(arrow("match_substring_regex", pc.MatchSubstringOptions(rf"\A(?:{pattern})\z")))


def replace_pattern(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The first match of a constant pattern replaced by a constant, with the option 'g' all."""
    constants = [constant(argument) for argument in arguments[1:]]
    if len(constants) < 2 or None in constants or constants[2:] not in ([], ["g"]):
        return None
    count = -1 if constants[2:] else 1
    options = pc.ReplaceSubstringOptions(constants[0], constants[1], max_replacements=count)
    return first(arrow("replace_substring_regex", options))


EXTRACTS = ("regexp_extract({0}, 'a.?b')", "regexp_extract({0}, '(x)?(a+)b', 2)", "regexp_extract({0}, '[(]?(b)$', 1)")
_GROUP = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?!\?)", re.DOTALL
)  # what may hide a bracket, or a group's bracket


def extract(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The part of the text that a group of a constant pattern matches first; the empty text where none does."""
    pattern, group = constant(arguments[1]), constant(arguments[2]) if len(arguments) > 2 else 0
    if pattern is None or len(arguments) > 3 or not isinstance(group, int) or "(?P<" in pattern or "(?<" in pattern:
        return None
    count = 0

    def named(found: re.Match[str]) -> str:
        nonlocal count
        count += found[0] == "("
        return found[0] if found[0] != "(" else "(?P<wanted>" if count == group else "(?:"

    only = _GROUP.sub(named, pattern)
    if not 0 <= group <= count:
        return None
    return first(text.extract(only if group else f"(?P<wanted>{only})"))


def replace(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """Each occurrence of one constant replaced by another."""
    pattern, replacement = constant(arguments[1]), constant(arguments[2])
    if not pattern or replacement is None:
        return None
    return first(arrow("replace_substring", pc.ReplaceSubstringOptions(pattern, replacement)))


def split_part(arguments: Sequence[Argument], result: pa.DataType) -> Kernel | None:
    """The part at a place counted from 1, between constant separators."""
    separator, index = constant(arguments[1]), constant(arguments[2])
    return first(text.split_part(separator, index)) if separator and index is not None and index > 0 else None
