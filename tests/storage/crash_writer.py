"""Run as a process of its own by test_crash.py: appends numbered rows for ever and says which are acknowledged."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pyarrow as pa

from headrace.storage.folder import Folder
from headrace.storage.topic import Topic, TopicOptions

SCHEMA = pa.schema([("writer", pa.int32()), ("number", pa.int64()), ("text", pa.string())])


def write(topic: Topic, writer: int, start: int) -> None:
    """Appends one row after the other; prints `writer number` once a row and all before it are durable."""
    number = start
    while True:
        size = 1 + number % 5
        numbers = range(number, number + size)
        columns = [
            pa.array([writer] * size, pa.int32()),
            pa.array(numbers, pa.int64()),
            pa.array([f"row {n}" * (n % 40) for n in numbers]),
        ]
        wait = number % 3 != 0
        topic.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), partition=writer % 2, wait=wait)
        number += size
        if wait:
            os.write(1, f"{writer} {number}\n".encode())


def main(path: str, *starts: str) -> None:
    folder = Folder.open(Path(path))
    if "log" not in folder.topics:
        folder.create_topic("log", SCHEMA, partitions=2, options=TopicOptions(segment_bytes=40_000))
    for writer, start in enumerate(starts):
        threading.Thread(target=write, args=(folder.topic("log"), writer, int(start)), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
