"""The disk refuses any call of a program that uses all of the log: clear errors, reads go on, nothing is lost."""

from __future__ import annotations

import errno
import os
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.storage.consumer import Consumer, Wanted
from headrace.storage.errors import OperationalError
from headrace.storage.files import faults
from headrace.storage.folder import Folder
from headrace.storage.tail import TailFolder

from .disk_recording import Image, read_image, write_image
from .invariants import check_after_crash, check_open, numbers_at
from .ledger import SCHEMA, Ledger, rows
from .sweep import Sweep, quick_folder
from .workload import CHAPTERS, Chapter, open_folder

READS = {"open", "read", "map", "stat", "list"}
TAKES_ROOM = {"write", "allocate", "create", "rename", "make folder"}


class Failing(NamedTuple):
    """Which calls fail, and how: number `first` alone, or with `full` from it on each that takes room on the disk."""

    code: int
    full: bool
    first: int

    @property
    def sqlstate(self) -> str:
        return "53100" if self.code == errno.ENOSPC else "58030"


class Disk:
    """Given to `faults`, it counts the calls and refuses those that `failing` says."""

    def __init__(self, failing: Failing) -> None:
        self.failing = failing
        self.calls = 0
        self.refused = 0

    def __call__(self, operation: str, path: Path) -> None:
        self.calls += 1
        code, full, first = self.failing
        if self.calls == first if not full else self.calls >= first and operation in TAKES_ROOM:
            self.refused += 1
            raise OSError(code, os.strerror(code))


@pytest.mark.usefixtures("no_rounds")
@pytest.mark.parametrize(
    ("code", "full"),
    [(errno.EIO, False), (errno.ENOSPC, True), (errno.ENOSPC, False)],
    ids=["EIO", "full disk", "ENOSPC"],
)
def test_any_call_may_fail(code: int, full: bool, sweep: Sweep) -> None:
    tried = 0
    image: Image = {}
    ledger = Ledger()
    with quick_folder() as root:
        for chapter in CHAPTERS:
            first, struck = 1, True
            while struck:
                write_image(image, root)
                struck = run(root, ledger.copy(), chapter, Failing(code, full, first))
                tried += struck
                first += sweep.every(37)
            write_image(image, root)
            ledger.errors.clear()
            with closing(open_folder(root)) as folder:
                chapter(folder, ledger)
            assert ledger.errors == []
            image = read_image(root)
    sweep.count(f"calls refused by {'a full disk' if full else errno.errorcode[code]}", tried, least=40)


@pytest.mark.usefixtures("no_rounds")
def test_reads_go_on_while_nothing_can_be_written() -> None:
    """In a folder that was open, of segments mapped before and not; and in one opened then for reading only."""
    ledger = Ledger()
    refused = 0

    def broken(operation: str, path: Path) -> None:
        nonlocal refused
        if operation not in READS:
            refused += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with quick_folder() as root:
        for chapter in CHAPTERS:
            with closing(open_folder(root)) as folder:
                chapter(folder, ledger)
        with closing(open_folder(root)) as folder:
            found = check_open(folder, ledger)
        folder = open_folder(root)
        with faults(broken):
            assert check_open(folder, ledger) == found  # nothing was mapped yet
            assert refused == 0
            for chapter in (one for one in CHAPTERS[1:] if one.__name__ != "changing"):  # which has been done
                before = len(ledger.told("rows")), len(ledger.told("done")), len(ledger.errors)
                chapter(folder, ledger)
                assert (len(ledger.told("rows")), len(ledger.told("done"))) == before[:2]
                assert len(ledger.errors) - before[2] > 5
                assert check_open(folder, ledger) == found
            with closing(Consumer(folder, {name: Wanted() for name in found})) as consumer:
                seen = 0
                while (records := consumer.poll(0)) is not None:
                    seen += len(records)
                assert seen == sum(len(numbers) for logs in found.values() for numbers in logs)
            with closing(TailFolder(root / "db")) as reading:
                for name in found.keys() - {"cold"}:  # of which it would have to keep what it fetches
                    topic = reading.topic(name)
                    again = [numbers_at(log, "extra" in topic.schema.names, ledger) for log in topic.partitions]
                    assert again == found[name]
            with ledger.trying("closed"):
                folder.close()
        assert all(error.headline.startswith("could not") for error in ledger.errors)
        assert refused > 0
        check_after_crash(root, ledger)


def test_who_could_not_begin_holds_nothing(tmp_path: Path) -> None:
    """Whoever keeps the error keeps no lock with it: the folder opens, and the group's partitions are free."""
    errors: list[OperationalError] = []
    calls, struck = 0, True
    while struck:
        calls += 1
        struck = False
        with faults(Disk(Failing(errno.EIO, False, calls))):
            try:
                folder = Folder.open(tmp_path)
            except OperationalError as error:
                errors.append(error)
                struck = True
        with closing(folder if not struck else Folder.open(tmp_path)):
            pass
    opened, calls, struck = calls, 0, True
    assert opened > 3
    with closing(Folder.open(tmp_path)) as folder:
        folder.create_topic("log", SCHEMA, partitions=2).append(rows([1, 2, 3]), partition=1)
        while struck:
            calls += 1
            struck = False
            with faults(Disk(Failing(errno.EIO, False, calls))):
                try:
                    consumer = Consumer(folder, {"log": Wanted()}, group="mailer")
                except OperationalError as error:
                    errors.append(error)
                    struck = True
            with closing(consumer if not struck else Consumer(folder, {"log": Wanted()}, group="mailer")) as consumer:
                assert len(consumer.assignment) == 2
    assert calls > 10


def run(root: Path, ledger: Ledger, chapter: Chapter, failing: Failing) -> bool:
    """The chapter, on such a disk, and what holds then; whether the disk came to refuse anything."""
    disk = Disk(failing)
    try:
        folder = None
        with faults(disk), ledger.trying("open"):
            folder = open_folder(root)
        if folder is not None:
            with faults(disk):
                chapter(folder, ledger)
            with faults(disk) if failing.full else nullcontext():
                check_open(folder, ledger)
            with faults(disk), ledger.trying("close"):
                folder.close()
        for error in ledger.errors:
            assert error.headline.startswith("could not"), error.headline
        if ledger.errors:
            assert disk.refused
            first = ledger.errors[0]
            assert os.strerror(failing.code).lower() in first.headline
            assert first.sqlstate == failing.sqlstate or first.headline.startswith("could not tend")  # a notice
        check_after_crash(root, ledger)
    except BaseException as error:
        error.add_note(f"{chapter.__name__}: {failing}; {[one.report() for one in ledger.errors]}")
        raise
    return disk.refused > 0
