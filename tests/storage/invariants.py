"""What holds of a folder after any crash or fault: all that was acknowledged, in order, once; and it goes on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from headrace.storage.consumer import Consumer, Wanted
from headrace.storage.consumer_group import groups_in
from headrace.storage.folder import Folder
from headrace.storage.log import Log
from headrace.storage.readable import ReadableFolder
from headrace.storage.remote_segment import remote_uris
from headrace.storage.verification import verify_folder

from .ledger import KEYS, Ledger, text_of
from .workload import TOPICS, append, append_both, create, loader, maintain, open_folder, send

Found = dict[str, list[dict[int, int]]]  # by topic and partition the number at each offset


def check_after_crash(root: Path, ledger: Ledger) -> None:
    """Opens the folder and closes it, twice; what goes on in between is appended too."""
    with closing(open_folder(root)) as folder:
        found = check_open(folder, ledger)
        check_shared(folder, ledger)
        check_group(folder, ledger, found)
        later = ledger.copy()
        go_on(folder, later)
        assert later.errors == []
    assert verify_folder(root / "db").findings == []
    with closing(open_folder(root)) as folder:
        assert folder.notices == ()
        check_elsewhere(folder, root / "elsewhere")
        check_open(folder, later, in_order=False)
        check_shared(folder, later)


def check_open(folder: ReadableFolder, ledger: Ledger, *, in_order: bool = True) -> Found:
    """The rows that can be read are those acknowledged and perhaps others that were tried: in order, and none twice."""
    found: Found = {}
    for name in TOPICS:
        dropped = ledger.most("dropped", name)
        if name not in folder.topics:
            assert dropped or not ledger.told("created", name), f"{name} is gone"
            found[name] = []
            continue
        topic = folder.topic(name)
        found[name] = [numbers_at(log, "extra" in topic.schema.names, ledger) for log in topic.partitions]
        sent = {number for fact in ledger.of("rows", "loader") for number in fact.numbers.get(name, ())}
        for numbers in found[name] if in_order else ():
            for once in (True, False):  # what has a name is sent again, later than other rows
                rising = [number for number in numbers.values() if (number in sent) is not once]
                assert rising == sorted(rising), f"{name} is out of order"
        if name == "lazy" and in_order and not ledger.errors:
            tried = [number for fact in ledger.of("rows") for number in fact.numbers.get(name, ())]
            present = list(found[name][0].values())
            assert present == tried[: len(present)], "rows are gone before others that are there"
    for name in found:
        check_topic(folder, ledger, name, found[name])
    for fact in ledger.of("rows"):
        if len(fact.numbers) > 1:
            here = sum(
                number in numbers.values() for n, of in fact.numbers.items() for numbers in found[n] for number in of
            )
            assert here in (0, sum(map(len, fact.numbers.values()))), "half of an atomic append"
    return found


def numbers_at(log: Log, extra: bool, ledger: Ledger) -> dict[int, int]:
    """The number of each row by its offset; all its other columns say the same."""
    names = ["_offset", "key", "number", "text", *(["extra"] if extra else [])]
    batches = log.read(log.start_offset, log.end_offset, names)
    table = pa.Table.from_batches(batches).to_pydict() if batches else {name: [] for name in names}
    offsets, numbers = table["_offset"], table["number"]
    assert offsets == sorted(set(offsets)), "offsets that do not rise"
    assert table["key"] == [number % KEYS for number in numbers]
    assert table["text"] == [text_of(number) for number in numbers]
    if extra:
        changed, exactly = ledger.most("column", "log"), bool(ledger.told("column", "log"))
        for number, value in zip(numbers, table["extra"], strict=True):
            assert value == 7 if number <= changed else value == 2 * number or (value == 7 and not exactly)
    return dict(zip(offsets, numbers, strict=True))


def check_topic(folder: ReadableFolder, ledger: Ledger, name: str, found: list[dict[int, int]]) -> None:
    present = [number for numbers in found for number in numbers.values()]
    assert len(present) == len(set(present)), f"{name} has rows twice"
    tried = {number for fact in ledger.of("rows") for number in fact.numbers.get(name, ())}
    told = {number for fact in ledger.told("rows") for number in fact.numbers.get(name, ())}
    dropped = ledger.most("dropped", name)
    if ledger.told("dropped", name):
        tried = {number for number in tried if number > dropped}
    if dropped and not any(number <= dropped for number in present):
        told = {number for number in told if number > dropped}
    assert set(present) <= tried, f"{name} has rows that nobody wrote"
    if name == "prices":
        for key in range(KEYS):
            last = max((number for number in told if number % KEYS == key), default=0)
            assert max((number for number in present if number % KEYS == key), default=0) >= last
        return
    if name == "clicks":
        told -= {number for fact in ledger.of("expired") for number in fact.numbers.get(name, ())}
    if name in ("log", "cold") and found:
        start = folder.topic(name).partitions[0].start_offset
        assert ledger.least("start", name) <= start <= ledger.most("start", name)
        for fact in ledger.told("rows", name):
            gone = max(0, start - fact.places[0].start)
            told -= set(fact.numbers[name][:gone])
    assert told <= set(present), f"{name} has lost rows"
    for fact in ledger.told("rows", name):
        for place in fact.places:
            at = found[place.partition] if found else {}
            here = {at[offset] for offset in range(place.start, place.end) if offset in at}
            assert here <= set(fact.numbers[name]) or fact.numbers[name][0] <= dropped, f"{name} has rows elsewhere"


def check_shared(folder: Folder, ledger: Ledger) -> None:
    """The catalog, the schema and what the named producer has sent."""
    if ledger.told("catalog"):
        assert "view" in folder.catalog.entries
    if ledger.told("column", "log"):
        assert "extra" in folder.topic("log").schema.names
    if {"left", "right"} <= folder.topics.keys():
        with loader(folder) as producer:
            assert ledger.least("rows", "loader") <= producer.last_sequence <= ledger.most("rows", "loader")


def check_group(folder: Folder, ledger: Ledger, found: Found) -> None:
    """No commit is lost, none is ahead, and a consumer that goes on gets each row from there on."""
    places = {place.topic: place.committed or 0 for place in groups_in(folder)}
    for name in ("log", "lazy"):
        committed = places.get(name, 0)
        assert committed <= ledger.most("done", name)
        if name not in folder.topics:
            assert committed == 0
            continue
        (log,) = folder.topic(name).partitions
        least = ledger.least("done", name)  # of `lazy` the rows may be gone, and then the group goes on with new ones
        assert (least if name == "log" else min(least, log.end_offset)) <= committed <= log.end_offset
        seen: dict[int, int] = {}
        with closing(Consumer(folder, {name: Wanted()}, group="mailer", auto_commit=False)) as consumer:
            while (records := consumer.poll(0)) is not None:
                seen |= zip(records.offsets.tolist(), records.batch.column("number").to_pylist(), strict=True)
            consumer.commit()
        assert seen == {offset: number for offset, number in found[name][0].items() if offset >= committed}


def check_elsewhere(folder: Folder, elsewhere: Path) -> None:
    """After a round, what is elsewhere is what the manifests name, and no more."""
    files = {file.relative_to(elsewhere).as_posix() for file in elsewhere.rglob("*") if file.is_file()}
    logs = folder.topic("cold").partitions
    assert files == {uri.removeprefix("cold://").lstrip("/") for log in logs for uri in remote_uris(log.segments)}


def go_on(folder: Folder, ledger: Ledger) -> None:
    """What was sent under the name is sent again from the start, and all topics get more rows."""
    create(folder, ledger, [name for name in TOPICS if name not in folder.topics])
    with loader(folder) as producer:
        last = producer.last_sequence
        for fact in ledger.of("rows", "loader"):
            before = [folder.topic(name).partitions[0].end_offset for name in ("left", "right")]
            send(producer, fact.numbers, fact.value)
            after = [folder.topic(name).partitions[0].end_offset for name in ("left", "right")]
            assert (before == after) or fact.value > last, "a retry was appended twice"
    ledger.facts = [replace(fact, acked=0) if fact.subject == "loader" else fact for fact in ledger.facts]
    for name in TOPICS:
        append(folder, ledger, name, 3)
    append_both(folder, ledger, 2)
    maintain(folder, ledger)
    append(folder, ledger, "log", 1)
