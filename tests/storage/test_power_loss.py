"""The process dies after any call of the disk, or its power goes: what was acknowledged is there when it is opened."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.storage.files import faults

from .disk_recording import SECTOR_BYTES, Loss, Recording, write_image
from .invariants import check_after_crash
from .ledger import Ledger
from .sweep import Sweep, quick_folder
from .workload import CHAPTERS, open_folder

NOTHING_LOST = Loss(1.0)
LOSSES = (Loss(0.0), Loss(0.5), Loss(0.9), Loss(0.5, SECTOR_BYTES), Loss(0.1), Loss(0.9, SECTOR_BYTES))


@pytest.fixture(scope="module")
def recorded() -> tuple[Recording, Ledger]:
    """All chapters, recorded call by call, and what they were told meanwhile."""
    with quick_folder() as root:
        return record(root)


def record(root: Path) -> tuple[Recording, Ledger]:
    recording = Recording(root)
    ledger = Ledger(calls=lambda: recording.calls)
    with faults(recording):
        for chapter in CHAPTERS:
            folder = open_folder(root)
            chapter(folder, ledger)
            with ledger.trying("closed"):
                folder.close()
    recording.finish()
    assert ledger.errors == []
    return recording, ledger


def test_a_process_that_dies_after_any_call(recorded: tuple[Recording, Ledger], sweep: Sweep) -> None:
    """Nothing that was written is lost, as the kernel has it; but what comes next was never done."""
    recording, ledger = recorded
    tried = try_all(recording, ledger, [NOTHING_LOST], sweep.every(19))
    sweep.count("crash points, of a process that dies", tried, least=60)


def test_power_that_fails_after_any_call(recorded: tuple[Recording, Ledger], sweep: Sweep) -> None:
    """What was not synced is lost, or there in part; so are names, where the folder was not synced."""
    recording, ledger = recorded
    tried = try_all(recording, ledger, LOSSES, sweep.every(71))
    sweep.count("images after a power failure", tried, least=100)


def try_all(recording: Recording, ledger: Ledger, losses: Sequence[Loss], every: int) -> int:
    """How many images were opened: of all calls and losses each so manieth."""
    number = tried = 0
    with quick_folder() as root:
        for call, disk in recording.replay():
            for loss in losses:
                number += 1
                if number % every:
                    continue
                write_image(disk.after(loss, random.Random(call)), root)
                try:
                    check_after_crash(root, ledger.at(call, powered=loss == NOTHING_LOST))
                except BaseException as error:
                    error.add_note(f"after call {call}, {recording.operations[call - 1]}, with {loss}")
                    raise
                tried += 1
    return tried
