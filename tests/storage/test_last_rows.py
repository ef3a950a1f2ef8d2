"""Which rows are the last of their key: with keys of all types, through all names, and more than are held at once."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.storage import last_rows
from headrace.storage.errors import NotSupportedError, ProgrammingError
from headrace.storage.folder import Folder
from headrace.storage.schema import AddColumn, RenameColumn, WidenColumn
from headrace.storage.topic import TopicOptions

from .keyed_logs import SCHEMA, in_days, make, put
from .logs import rows_at

PAIRS = pa.schema([("area", pa.string()), ("value", pa.int64()), ("number", pa.int32())])


def test_what_is_a_deletion(tmp_path: Path) -> None:
    """By weight, or as all that is no key is NULL; headers are no value, a default only if it was written."""
    headers = pa.map_(pa.string(), pa.binary())
    schema = pa.schema([("key", pa.int64()), ("value", pa.int64()), ("text", pa.string()), ("headers", headers)])
    folder, topic = make(tmp_path, schema, headers="headers")
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, (1, None, None, None), (2, None, None, [("h", b"")]), (3, None, "", None), (4, 0, None, None))
        topic.evolve(RenameColumn("key", "id"))
        topic.evolve(AddColumn(pa.field("more", pa.int32()), pa.scalar(7, pa.int32())))
        put(topic, (5, None, None, [], None), (6, None, None, [], 7), (None, None, None, None, None))
        folder.maintain(in_days(2))
        assert [row[0] for row in rows_at(partition).values()] == [3, 4, 6]

    weighted = pa.schema([("key", pa.int64()), ("value", pa.int64()), ("_weight", pa.int8())])
    folder, topic = make(tmp_path / "weighted", weighted)
    with closing(folder):
        put(topic, (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1))
        put(topic, (1, 1, -1), (1, 2, 1), (2, 1, -1), (3, None, 1), (4, 1, None), (5, None, None))
        folder.maintain(in_days(2))
        assert list(rows_at(topic.partitions[0]).values()) == [(1, 2, 1), (3, None, 1), (4, 1, None)]

    folder, topic = make(tmp_path / "keys", pa.schema([("key", pa.int64())]))
    with closing(folder):
        put(topic, (1,), (1,), (None,))
        folder.maintain(in_days(2))
        assert rows_at(topic.partitions[0]) == {1: (1,), 2: (None,)}  # there is no value that could be NULL


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "equal", "different"),
    [
        (pa.int8(), [1, 1], [0, -1, None]),
        (pa.uint64(), [2**64 - 1] * 2, [0, None]),
        (pa.bool_(), [True, True], [False, None]),
        (pa.float64(), [0.0, -0.0], [1.5, None, float("inf")]),
        (pa.float32(), [NAN, -NAN], [0.0, None]),
        (pa.float16(), [NAN, NAN], [0.0, None]),
        (pa.decimal128(20, 2), [Decimal("1.10"), Decimal("1.10")], [Decimal("-1.10"), None]),
        (pa.timestamp("us", "UTC"), [5, 5], [0, None]),
        (pa.date32(), [5, 5], [0, None]),
        (pa.string(), ["x" * 200, "x" * 200], ["x" * 199, "", "\0", None]),
        (pa.large_binary(), [b"x", b"x"], [b"", b"\0", None]),
        (pa.binary(2), [b"xx", b"xx"], [b"\0\0", None]),
    ],
    ids=str,
)
def test_keys_of_every_type(tmp_path: Path, kind: pa.DataType, equal: list[Any], different: list[Any]) -> None:
    folder, topic = make(tmp_path, pa.schema([("key", kind), ("value", pa.int64())]))
    (partition,) = topic.partitions
    with closing(folder):
        keys = [*equal, *different, equal[0]]
        topic.append(pa.record_batch([pa.array(keys, kind), pa.array(range(len(keys)))], schema=topic.schema))
        partition.seal()
        folder.maintain()
        assert list(rows_at(partition)) == list(range(2, len(keys)))


def test_a_key_of_two_columns_by_other_names_and_types_in_time(tmp_path: Path) -> None:
    folder, topic = make(tmp_path, PAIRS, ("number", "area"))
    (partition,) = topic.partitions
    with closing(folder):
        put(topic, ("a", 1, 1), ("a", 2, 2), ("b", 3, 1), (None, 4, 1), ("a", 5, None), (None, 6, None), ("x", 7, 7))
        topic.evolve(RenameColumn("number", "n"))
        topic.evolve(RenameColumn("area", "number"))
        topic.evolve(WidenColumn("n", pa.int64()))
        topic.evolve(AddColumn(pa.field("area", pa.string())))
        put(topic, ("a", 11, 1, "b"), (None, 14, 1, "a"), ("a", 15, None, "a"), (None, 16, None, "a"))
        put(topic, ("b", 13, 1, "c"), ("a", 12, 2**40, None), seal=False)
        folder.maintain()
        assert {offset: row[:3] for offset, row in rows_at(partition).items()} == {
            1: ("a", 2, 2),
            6: ("x", 7, 7),
            7: ("a", 11, 1),
            8: (None, 14, 1),
            9: ("a", 15, None),
            10: (None, 16, None),
            11: ("b", 13, 1),
            12: ("a", 12, 2**40),
        }


def test_keys_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.list_(pa.int64())), ("value", pa.int64())])
    with pytest.raises(NotSupportedError, match=r'cannot compact "log" by column "key" of type list'):
        make(tmp_path, schema)
    with closing(Folder.open(tmp_path)) as folder:
        assert not folder.topics
        with pytest.raises(ProgrammingError, match='cannot compact "log": it has no key'):
            folder.create_topic("log", SCHEMA, options=TopicOptions(cleanup="compact,delete"))


@pytest.mark.parametrize("colliding", [False, True])
def test_more_keys_than_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colliding: bool) -> None:
    """Some thousand bytes of keys, in turns; also if all hashes are the same, so that the turns are no help."""
    monkeypatch.setattr(last_rows, "COMPACTION_KEYS_BYTES", 3000)
    monkeypatch.setattr(last_rows, "COMPACTION_TURNS_MAX", 256)
    turns: list[int] = []
    add_active = last_rows._add_active

    def counted(*arguments: Any, **named: Any) -> None:
        turns.append(1)
        add_active(*arguments, **named)

    monkeypatch.setattr(last_rows, "_add_active", counted)
    if colliding:
        monkeypatch.setattr(last_rows, "hash_columns", lambda keys: np.zeros(len(keys[0]), np.uint64))
    folder, topic = make(tmp_path)
    with closing(folder):
        put(topic, *((f"key {n % 500}", n) for n in range(1500)))
        put(topic, *((f"key {n % 300}", None if n % 3 else n) for n in range(1500, 3000)))
        put(topic, *((f"key {n}", n) for n in range(100)), seal=False)
        folder.maintain()
        rows = rows_at(topic.partitions[0])
        assert {row[0] for row in rows.values()} == {f"key {n}" for n in range(500)}
        assert len(rows) == 500
        assert {row[0] for offset, row in rows.items() if offset >= 3000} == {f"key {n}" for n in range(100)}
        assert {offset for offset in rows if offset < 1500} == set(range(1300, 1500))
        assert len(turns) == 9 if colliding else 8 <= len(turns) <= 40
        folder.maintain(in_days(2))
        left = {int(row[0].split()[1]) for row in rows_at(topic.partitions[0]).values()}
        assert left == {n for n in range(500) if n < 100 or n >= 300 or n % 3 == 0}
