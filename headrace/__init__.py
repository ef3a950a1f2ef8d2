"""headrace: a SQL-first streaming database for Python.

>>> import headrace
>>> con = headrace.connect()
>>> _ = con.execute("CREATE STREAM clicks (page VARCHAR)")
>>> _ = con.execute("CREATE MATERIALIZED VIEW hits AS SELECT page, count(*) AS n FROM clicks GROUP BY page")
>>> _ = con.execute("INSERT INTO clicks VALUES ('/'), ('/docs'), ('/')")
>>> con.execute("SELECT * FROM hits ORDER BY page").fetchall()
[('/', 2), ('/docs', 1)]
>>> con.close()
"""

from .sql.cursors import Cursor
from .sql.dbapi import (
    Binary,
    Connection,
    Date,
    Status,
    Time,
    Timestamp,
    apilevel,
    connect,
    paramstyle,
    threadsafety,
)
from .storage.consumer import Consumer, Record, Records
from .storage.deliveries import Delivery
from .storage.errors import (
    CorruptionError,
    DatabaseError,
    DataError,
    Error,
    FolderLockedError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OffsetOutOfRangeError,
    OperationalError,
    Position,
    ProgrammingError,
    Warning,
)
from .storage.producer import Producer

__version__ = "0.1.0"

__all__ = [
    "Binary",
    "Connection",
    "Consumer",
    "CorruptionError",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "Delivery",
    "Error",
    "FolderLockedError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OffsetOutOfRangeError",
    "OperationalError",
    "Position",
    "Producer",
    "ProgrammingError",
    "Record",
    "Records",
    "Status",
    "Time",
    "Timestamp",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]
