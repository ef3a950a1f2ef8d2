"""The log of a table: how the rows that there are follow from it, and the versions that they have had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ..engine.reading import Reading
from ..storage.last_rows import WEIGHT_COLUMN
from ..storage.schema import OFFSET_COLUMN
from . import plan as p
from .relations import Column, Relation, schema_of
from .types import connect, quote, scan_sql

if TYPE_CHECKING:
    from .database import Database


def changelog(relation: Relation, table: str) -> p.Changelog:
    """How the rows of a table, or its versions, follow from the log of `table`."""
    logged = (*relation.columns, Column(WEIGHT_COLUMN, "TINYINT", pa.int8()))
    return p.Changelog(p.Scan(table, logged, None), relation.key, relation.columns)


def rows_of_log(database: Database, relation: Relation, table: str, reading: Reading) -> pa.Table:
    """The same rows as of `reading`, found in another way: by DuckDB, in the whole log."""
    topic = database.log.topic(table)
    extra = (Column(WEIGHT_COLUMN, "TINYINT", pa.int8()), Column(OFFSET_COLUMN, "BIGINT", pa.int64()))
    columns = (*relation.columns, *extra)
    batches = [
        batch
        for partition, end in zip(topic.partitions, reading.streams[table], strict=True)
        for batch in partition.read_all(end, [column.name for column in columns])
    ]
    connection = connect(threads=None)
    try:
        connection.register("log/arrow", pa.Table.from_batches(batches, schema=schema_of(columns)))
        connection.execute(f"CREATE TEMP VIEW log AS {scan_sql('log/arrow', columns)}")
        items = ", ".join(quote(column.name) for column in relation.columns)
        if relation.key:
            key = ", ".join(quote(name) for name in relation.key)
            last = f"row_number() OVER (PARTITION BY {key} ORDER BY {OFFSET_COLUMN} DESC) = 1"
            sql = f"SELECT {items} FROM (FROM log QUALIFY {last}) WHERE {WEIGHT_COLUMN} > 0"
        else:
            came, went = (f"SELECT {items} FROM log WHERE {WEIGHT_COLUMN} {sign} 0" for sign in (">", "<"))
            sql = f"{came} EXCEPT ALL {went}"
        return connection.sql(sql).to_arrow_table().cast(relation.schema)
    finally:
        connection.close()
