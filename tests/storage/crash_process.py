"""Run as a process of its own by test_crash.py: three producers and two consumers, who say what they were told."""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from pathlib import Path

from headrace.storage.consumer import Consumer, Wanted
from headrace.storage.folder import Folder
from headrace.storage.producer import Producer
from headrace.storage.topic import TopicOptions

from .ledger import SCHEMA, rows
from .workload import prepared

TOPICS = {
    "plain": TopicOptions(segment_bytes=40_000),
    "loaded": TopicOptions(segment_bytes=20_000),
    "left": TopicOptions(segment_bytes=30_000),
    "right": TopicOptions(segment_bytes=30_000),
}


def tell(*words: object) -> None:
    """One line, in one write; all of it is true by now."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def append(folder: Folder, start: int) -> None:
    """The producer without a name: numbers from `start` on; what it was not told of may be there or not."""
    with Producer(folder, ["plain"], prepared, lambda stream, places: None) as producer:
        number = start
        for turn in count():
            size = 1 + turn % 5
            delivery = producer.send(rows(list(range(number, number + size))), partition=turn % 2)
            number += size
            if turn % 3 == 0:
                delivery.result()
                producer.flush()
                tell("plain", number)


def load(folder: Folder) -> None:
    """The one with a name: sequence n is row n, sent from the first that is not there, after some that are."""
    with Producer(folder, ["loaded"], prepared, lambda stream, places: None, name="loader") as producer:
        last = producer.last_sequence
        tell("sequence", last)
        for sequence in count(max(1, last - 5)):
            delivery = producer.send(rows([sequence]), sequence=sequence)
            if sequence % 4 == 0:
                delivery.result()
                tell("loaded", sequence)


def pay(folder: Folder, start: int) -> None:
    """The one whose sends are atomic: a row in `left` for each in `right`."""
    with Producer(folder, ["left", "right"], prepared, lambda stream, places: None) as producer:
        for number in count(start):
            with producer.atomic() as together:
                together("left", rows([number]))
                together("right", rows([number]))
            tell("paid", number)


def read(folder: Folder) -> None:
    """A consumer of the group: what it commits was read before."""
    consumer = Consumer(folder, {"plain": Wanted()}, group="readers", auto_commit=False, max_rows=11)
    while True:
        records = consumer.poll()
        assert records is not None
        tell("read", records.partition, records.offsets[0], records.end_offset)
        consumer.commit(records)
        tell("done", records.partition, records.end_offset)


def maintain(folder: Folder) -> None:
    while True:
        for notice in folder.maintain():
            tell("notice", notice)
        threading.Event().wait(0.01)


def main(path: str, plain: str, paid: str) -> None:
    folder = Folder.open(Path(path))
    for name, options in TOPICS.items():
        if name not in folder.topics:
            folder.create_topic(name, SCHEMA, partitions=1 if name == "right" else 2, key=["key"], options=options)
    work = [
        (append, int(plain)),
        (load,),
        (pay, int(paid)),
        (read,),
        (read,),
        (maintain,),
    ]
    for does, *start in work:
        threading.Thread(target=does, args=(folder, *start), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
