"""Kernels over texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .expression import Datum, Kernel, Refused, as_array
from .kernels import arrow

# Bytes that begin (or, where a script shares them, continue) characters whose case some versions of Unicode know and
# others do not: Latin Extended-B and IPA, Georgian and Vedic, Latin Extended-D, and all beyond the basic plane.
_UNSETTLED = np.isin(np.arange(256), [0xC6, 0xC9, 0xE1, 0xEA, *range(0xF0, 0xF5)])


def settled_case(name: str) -> Kernel:
    """Arrow's kernel `name` that changes case, over texts whose characters have had the same case for long."""
    change = arrow(name)

    def run(arguments: list[Datum]) -> Datum:
        texts = as_array(arguments[0], 1)
        _, offsets, content = texts.buffers()
        if content is not None and len(texts):
            start, end = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
            used = np.frombuffer(content, np.uint8)[start:end]
            if used.size and used.max() >= 0xC6 and _UNSETTLED[used].any():
                raise Refused
        return change(arguments)

    return run


def split_part(separator: str, index: int) -> Kernel:
    """The part of each text at `index`, from 1, between separators; the empty text where there is none."""
    split = arrow("split_pattern", pc.SplitPatternOptions(separator))

    def run(arguments: list[Datum]) -> Datum:
        if isinstance(arguments[0], pa.Scalar):
            return run([as_array(arguments[0], 1)])[0]
        parts = split(arguments)
        starts = np.asarray(parts.offsets)[:-1]
        there = np.diff(np.asarray(parts.offsets)) >= index
        places = pa.array(starts + (index - 1), mask=~there)
        found = arrow("coalesce")([parts.values.take(places), pa.scalar("")])
        return (
            arrow("if_else")([arrow("is_valid")([parts]), found, pa.scalar(None, pa.string())])
            if parts.null_count
            else found
        )

    return run


def position(pattern: str) -> Kernel:
    """Where `pattern` begins, counted from 1, and 0 where it does not, over texts of ASCII alone."""
    find, plus, is_ascii = (
        arrow("find_substring", pc.MatchSubstringOptions(pattern)),
        arrow("add"),
        arrow("string_is_ascii"),
    )

    def run(arguments: list[Datum]) -> Datum:
        texts = as_array(arguments[0], 1)
        if pc.all(is_ascii([texts])).as_py() is False:
            raise Refused
        return plus([find(arguments).cast(pa.int64()), pa.scalar(1, pa.int64())])

    return run


def extract(pattern: str) -> Kernel:
    """The part of each text that the one named group of the pattern matches; the empty text where it does not."""
    match, fields, fill = (
        arrow("extract_regex", pc.ExtractRegexOptions(pattern)),
        arrow("struct_field", pc.StructFieldOptions([0])),
        arrow("coalesce"),
    )

    def run(arguments: list[Datum]) -> Datum:
        texts = as_array(arguments[0], 1)
        found = fill([fields([match([texts])]), pa.scalar("")])
        result = (
            arrow("if_else")([texts.is_valid(), found, pa.scalar(None, pa.string())]) if texts.null_count else found
        )
        return result[0] if isinstance(arguments[0], pa.Scalar) else result

    return run
