"""A schema that changes: old rows read as the new schema has them; what could not be read is refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.storage.errors import NotSupportedError, ProgrammingError
from headrace.storage.folder import Folder
from headrace.storage.schema import AddColumn, Change, DropColumn, RenameColumn, WidenColumn
from headrace.storage.topic import Topic, TopicOptions

SCHEMA = pa.schema([("id", pa.int32()), ("name", pa.string()), ("at", pa.timestamp("us"))])
OPTIONS = TopicOptions(event_time="at", segment_bytes=2000)


def rows(topic: Topic) -> list[dict[str, object]]:
    (partition,) = topic.partitions
    batches = partition.read(partition.start_offset, partition.end_offset)
    return pa.Table.from_batches(batches, topic.schema).to_pylist()


def append(topic: Topic, *values: object) -> None:
    columns = [pa.array([value], field.type) for value, field in zip(values, topic.schema, strict=True)]
    topic.append(pa.RecordBatch.from_arrays(columns, schema=topic.schema))


def test_old_rows_read_as_the_new_schema_has_them(tmp_path: Path) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, key=["id"], options=OPTIONS)
        topic.evolve(AddColumn(pa.field("early", pa.bool_())))  # while it is empty
        append(topic, 1, "a", 1, True)
        topic.evolve(AddColumn(pa.field("price", pa.float32()), pa.scalar(1.5, pa.float32())))
        append(topic, 2, "b", 2, False, 7.0)
        topic.evolve(RenameColumn("name", "title"))
        topic.evolve(DropColumn("early"))
        topic.evolve(WidenColumn("price", pa.float64()))
        topic.evolve(WidenColumn("id", pa.int64()))
        topic.evolve(RenameColumn("at", "moment"))
        topic.evolve(AddColumn(pa.field("early", pa.string())))  # another column than the dropped one
        append(topic, 3, "c", 3, 9.25, "yes")
    for _ in range(2):
        with closing(Folder.open(tmp_path)) as folder:
            topic = folder.topic("log")
            assert topic.schema.names == ["id", "title", "moment", "price", "early"]
            assert topic.schema.field("id").type == pa.int64()
            assert topic.options.event_time == "moment"
            found = [(row["id"], row["title"], row["price"], row["early"]) for row in rows(topic)]
            assert found == [(1, "a", 1.5, None), (2, "b", 7.0, None), (3, "c", 9.25, "yes")]
            assert topic.partitions[0].event_times(0, 3) == (1, 3)
            picked = topic.partitions[0].read(0, 2, ["price", "_offset", "early"])
            assert pa.Table.from_batches(picked).to_pydict() == {
                "price": [1.5, 7.0],
                "_offset": [0, 1],
                "early": [None, None],
            }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (DropColumn("id"), 'cannot drop column "id"'),
        (DropColumn("at"), 'cannot drop column "at"'),
        (DropColumn("nothing"), 'no column "nothing"'),
        (RenameColumn("name", "id"), "exists already"),
        (AddColumn(pa.field("name", pa.int8())), "exists already"),
        (AddColumn(pa.field("_offset", pa.int8())), "cannot name a column"),
        (AddColumn(pa.field("must", pa.int8(), nullable=False)), "without a default"),
        (AddColumn(pa.field("enum", pa.dictionary(pa.int8(), pa.string()))), "cannot store"),
        (WidenColumn("name", pa.int64()), "from string to int64"),
        (WidenColumn("id", pa.int16()), "from int32 to int16"),
        (WidenColumn("id", pa.float64()), "from int32 to double"),
    ],
)
def test_what_old_rows_could_not_be_read_by_is_refused(tmp_path: Path, change: Change, said: str) -> None:
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", SCHEMA, key=["id"], options=OPTIONS)
        append(topic, 1, "a", 1)
        before = (tmp_path / "topics" / "log" / "topic.json").read_bytes()
        with pytest.raises((ProgrammingError, NotSupportedError), match=said):
            topic.evolve(change)
        assert topic.schema == SCHEMA
        assert (tmp_path / "topics" / "log" / "topic.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        (pa.int8(), pa.int64(), -128),
        (pa.uint32(), pa.int64(), 2**32 - 1),
        (pa.int32(), pa.float64(), -(2**31)),
        (pa.int64(), pa.decimal128(20, 1), 2**63 - 1),
        (pa.decimal128(5, 2), pa.decimal128(9, 4), "123.45"),
        (pa.date32(), pa.timestamp("us"), 20_000),
        (pa.timestamp("s"), pa.timestamp("us"), 1_000_000),
    ],
    ids=str,
)
def test_a_wider_type_holds_every_value(tmp_path: Path, old: pa.DataType, new: pa.DataType, value: object) -> None:
    written = pa.scalar(value).cast(old) if isinstance(value, str) else pa.scalar(value, old)
    with closing(Folder.open(tmp_path)) as folder:
        topic = folder.create_topic("log", pa.schema([("value", old)]))
        topic.append(pa.record_batch({"value": pa.array([written.as_py()], old)}))
        topic.evolve(WidenColumn("value", new))
        (read,) = topic.partitions[0].read(0, 1)
        assert read.column(0).type == new
        assert read.column(0)[0] == written.cast(new)
