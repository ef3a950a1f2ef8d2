"""Side by side with a broker of Kafka's protocol, noida-db, on this machine: produce, consume, latency.

The broker gets messages of 100 bytes one by one from librdkafka (confluent-kafka), which batches them for 2 ms as our
producer does, and hands them out one by one, in lists of up to 10,000. headrace is used both so, a row at a time, and
as it is meant to be, in Arrow batches. What the two promise differs: noida-db keeps messages in memory and saves them
to disk as they change; rows of headrace are on the disk, synced, before they are acknowledged.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import headrace

from . import rows
from .latency import TICK_S, WARM_S, percentiles, send_on_schedule
from .table import Line, Missing

PORT = 19093
SERVER = {"bootstrap.servers": f"127.0.0.1:{PORT}"}
RATES = (1_000, 100_000)  # messages a second


def run(quick: bool) -> list[Line]:
    """Lines for the broker and for headrace; of 1M messages, or 0.1M if `quick`."""
    program = shutil.which("noida-db", path=str(Path(sys.executable).parent)) or shutil.which("noida-db")
    if program is None or find_spec("confluent_kafka") is None or find_spec("hdrh") is None:
        raise Missing("noida-db or a client is not installed: pip install 'headrace[bench,broker]'")
    count = 100_000 if quick else 1_000_000
    lines = []
    with _broker(program):
        produced, consumed = _throughput(count)
        lines += [
            Line("noida-db, produce, message by message", produced),
            Line("noida-db, consume, message by message", consumed),
        ]
        for rate in RATES:
            latencies, counts = _latency(rate, 1.0 if quick else 10.0)
            lines.append(Line(f"noida-db, end to end, {rate:,} messages/s", time=percentiles(latencies, counts)))
    return [*lines, *_headrace(count)]


@contextmanager
def _broker(program: str) -> Iterator[None]:
    """The broker runs within the block; only this machine can reach it."""
    folder = tempfile.mkdtemp(prefix="headrace-bench-")
    command = f"{program} start --only kafka --kafka-port {PORT} --host 127.0.0.1 --data-dir {folder}".split()
    if _answers():
        raise Missing(f"port {PORT} is in use")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(100):
            if process.poll() is not None:
                raise Missing(f"noida-db ended at once with status {process.returncode}")
            if _answers():
                break
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)  # `noida-db` is a script that starts the broker
        process.wait()
        shutil.rmtree(folder)


def _answers() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def _throughput(count: int) -> tuple[float, float]:
    """Messages a second that are produced, until all are acknowledged, and consumed."""
    producer, consumer = _clients("throughput")
    message = b"x" * rows.ROW_BYTES
    start = time.perf_counter()
    for number in range(count):
        producer.produce("throughput", message)
        if number % 10_000 == 9_999:
            producer.poll(0)
    producer.flush()
    produced = time.perf_counter() - start
    start = time.perf_counter()
    seen = 0
    while seen < count:
        seen += sum(message.error() is None for message in consumer.consume(10_000, timeout=1.0))
    consumed = time.perf_counter() - start
    consumer.close()
    return count / produced, count / consumed


def _clients(topic: str) -> tuple[Any, Any]:
    """A producer, and a consumer that begins at the first message of a new topic with one partition."""
    import confluent_kafka
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(SERVER)
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()
    options = {"linger.ms": 2, "acks": "all", "queue.buffering.max.messages": 2_000_000}
    return confluent_kafka.Producer({**SERVER, **options}), _consumer(topic)


def _consumer(topic: str) -> Any:
    import confluent_kafka

    consumer = confluent_kafka.Consumer({**SERVER, "group.id": "benchmark", "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    return consumer


def _latency(rate: int, seconds: float) -> Any:
    """Latencies on a fixed schedule, as in latency.py, and how many messages each is of."""
    topic = f"latency-{rate}"
    producer, consumer = _clients(topic)
    consumer.close()
    ticks, size = round((WARM_S + seconds) / TICK_S), round(rate * TICK_S)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    reader = spawn.Process(target=_receive, args=(topic, ticks * size, theirs))
    reader.start()
    assert ours.recv() == "ready"

    def send(due: int) -> None:
        message = due.to_bytes(8, "little") + b"x" * (rows.ROW_BYTES - 8)
        for _ in range(size):
            producer.produce(topic, message)
        producer.poll(0)

    send_on_schedule(ticks, send)
    producer.flush()
    arrived, due = ours.recv()
    reader.join()
    counted = due >= due[0] + round(WARM_S * 1e9)
    return (arrived - due)[counted], np.ones(int(counted.sum()), np.int64)


def _receive(topic: str, expected: int, answer: Connection) -> None:
    consumer = _consumer(topic)
    consumer.consume(1, timeout=0.5)  # which connects
    answer.send("ready")
    arrived, due = [], []
    while len(due) < expected:
        messages = consumer.consume(10_000, timeout=0.001)
        now = time.monotonic_ns()
        for message in messages:
            if message.error() is None:
                arrived.append(now)
                due.append(int.from_bytes(message.value()[:8], "little"))
    answer.send((np.array(arrived), np.array(due)))
    consumer.close()


def _headrace(count: int) -> Iterator[Line]:
    """The same with headrace, whose end-to-end latencies latency.py has."""
    few = count // 10  # row by row
    path = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with headrace.connect(path) as con:
            for name in ("single", "batched"):
                con.execute(f"CREATE STREAM {name} ({rows.COLUMNS})")
            row = rows.batch(1).to_pylist()[0]
            with con.producer("single") as producer:
                start = time.perf_counter()
                for _ in range(few):
                    producer.send(row)
                producer.flush()
                yield Line("headrace, produce, row by row", few / (time.perf_counter() - start))
            batches = [rows.batch(1000, 1000 * number) for number in range(8)]
            with con.producer("batched") as producer:
                start = time.perf_counter()
                for batch in itertools.islice(itertools.cycle(batches), count // 1000):
                    producer.send(batch)
                producer.flush()
                yield Line("headrace, produce, batches of 1,000", count / (time.perf_counter() - start))
            with con.consumer("single") as consumer:
                start = time.perf_counter()
                assert sum(1 for _ in itertools.islice(consumer.rows(), few)) == few
                yield Line("headrace, consume, row by row", few / (time.perf_counter() - start))
            with con.consumer("batched") as consumer:
                start = time.perf_counter()
                seen = 0
                while seen < count:
                    records = consumer.poll(10)
                    assert records is not None
                    seen += len(records)
                    records.batch.column("id").to_numpy().sum()
                yield Line("headrace, consume, batches, one column looked at", count / (time.perf_counter() - start))
    finally:
        shutil.rmtree(path)
