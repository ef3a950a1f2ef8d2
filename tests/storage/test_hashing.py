"""hash_columns: equal values hash alike however they are stored, different ones apart, and the same for ever."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.storage.hashing import hash_columns, hash_integers

SAMPLES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int32(), [0, 1, -1, None, 2**31 - 1]),
    (pa.uint64(), [0, 1, 2**63, 2**64 - 1, None]),
    (pa.float64(), [0.0, 1.5, math.nan, math.inf, None, -1e-300]),
    (pa.bool_(), [True, False, None]),
    (pa.string(), ["", "a", None, "ab", "a\x00", "ü" * 70, "x" * 127, "x" * 128, "x" * 129, "y" + "x" * 128]),
    (pa.binary(), [b"", b"\xff\xfe", None, b"\x00", b"\x00" * 9]),
    (pa.binary(3), [b"abc", None, b"\x00\x00\x00"]),
    (pa.decimal128(20, 2), [Decimal("0.00"), Decimal("-0.01"), None, Decimal("123456789012345678.90")]),
    (pa.timestamp("us"), [0, 1, None, -1]),
    (pa.date32(), [0, 1, None]),
    (pa.list_(pa.string()), [[], [None], ["a"], ["a", "b"], ["b", "a"], None]),
    (
        pa.struct([("a", pa.int64()), ("b", pa.int64())]),
        [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": None, "b": 1}, None],
    ),
    (pa.map_(pa.string(), pa.int64()), [[], [("a", 1)], [("a", 2)], None]),
    (pa.month_day_nano_interval(), [(1, 0, 0), (0, 30, 0), (0, 0, 1), None]),
]


@pytest.mark.parametrize(("kind", "values"), SAMPLES, ids=lambda sample: str(sample)[:20])
def test_different_values_hash_apart_and_slices_alike(kind: pa.DataType, values: list[Any]) -> None:
    array = pa.array(values, kind)
    hashes = hash_columns([array])
    assert len(set(hashes.tolist())) == len(values)
    alone = [hash_columns([array.slice(row, 1)])[0] for row in range(len(array))]
    assert hashes.tolist() == alone
    assert len(hash_columns([array.slice(0, 0)])) == 0
    assert hash_columns([pa.array([None], kind)])[0] == hash_columns([pa.nulls(1)])[0]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array([5, None, -7], pa.int8()), pa.array([5, None, -7], pa.int64())),
        (pa.array([0.0, math.nan, 1.5], pa.float32()), pa.array([-0.0, -math.nan, 1.5], pa.float64())),
        (pa.array(["a", None, "b" * 300]), pa.array(["a", None, "b" * 300], pa.large_string())),
        (pa.array(["a", None, "bb"]), pa.array(["a", None, "bb"]).dictionary_encode()),
        (pa.array(["a", None, "b" * 30]), pa.array(["a", None, "b" * 30], pa.string_view())),
        (pa.array([b"abc", None]), pa.array([b"abc", None], pa.binary(3))),
        (pa.array([[1, 2], None]), pa.array([[1, 2], None], pa.list_(pa.int64(), 2))),
    ],
)
def test_equal_values_hash_alike_however_stored(left: pa.Array, right: pa.Array) -> None:
    assert hash_columns([left]).tolist() == hash_columns([right]).tolist()


def test_what_stands_under_a_null_does_not_count() -> None:
    text = pa.array(["abc", "def"])
    hidden = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x01"), *text.buffers()[1:]])
    assert hash_columns([hidden]).tolist() == hash_columns([pa.array(["abc", None])]).tolist()


def test_the_order_of_columns_counts() -> None:
    left, right = pa.array([1]), pa.array([2])
    assert hash_columns([left, right]) != hash_columns([right, left])


def test_integers_hash_as_a_bigint_column_does() -> None:
    values = np.array([0, 1, -1, 2**62])
    assert hash_integers(values).tolist() == hash_columns([pa.array(values)]).tolist()


def test_hashes_never_change() -> None:
    """They decide in which partition of an old topic a key is."""
    columns = [pa.array([1, None]), pa.array(["Zürich", "x" * 200]), pa.array([Decimal("1.5"), Decimal("-2.5")])]
    assert hash_columns(columns[:1]).tolist() == [6238072747940578789, 7640891576956012809]
    assert hash_columns(columns[1:2]).tolist() == [18228976431173290128, 9274851482216030392]
    assert hash_columns(columns).tolist() == [13367024483928657627, 14427835241099127417]


@given(st.lists(st.text(max_size=40), max_size=30))
def test_texts_hash_apart(texts: list[str]) -> None:
    hashes = hash_columns([pa.array(texts, pa.string())])
    assert len(set(hashes.tolist())) == len(set(texts))
