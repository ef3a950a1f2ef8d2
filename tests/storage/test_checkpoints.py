"""Checkpoints on disk: whole or not there, whatever fails; what is damaged is passed over; what is the same stays."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.storage import limits
from headrace.storage.checkpoints import Checkpoint, Checkpoints, stream_of
from headrace.storage.errors import OperationalError
from headrace.storage.files import faults

from .disk_recording import SECTOR_BYTES, Loss, Recording, write_image
from .sweep import quick_folder
from .test_faults import fail

Tables = dict[str, pa.Table]
LARGE = limits.CHECKPOINT_TABLE_BYTES // 8


def tables_of(number: int) -> Tables:
    """What the state was at one time: two small tables and a large one."""
    return {
        "0.keys": pa.table({"key": list(range(number)), "text": [f"key {n}" for n in range(number)]}),
        "0.rows": pa.table({"rows": pa.array([number] * 3, pa.int64())}),
        "1.rows": pa.table({"rows": pa.array([number] * LARGE, pa.int64())}),
    }


def save(store: Checkpoints, number: int) -> Checkpoint:
    buffers = {name: stream_of(table) for name, table in tables_of(number).items()}
    return store.save({"epoch": number}, buffers.items(), {})


def found(path: Path) -> tuple[int, Tables] | None:
    """The epoch and the tables of the newest checkpoint that is whole."""
    loaded = Checkpoints(path, durable=True).load()
    return None if loaded is None else (loaded[0].content["epoch"], loaded[1])


def test_the_newest_is_found_and_older_ones_go(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "c", durable=True)
    assert store.load() is None
    for number in (1, 2, 3, 4):
        save(store, number)
        assert found(tmp_path / "c") == (number, tables_of(number))
    documents = [path.name for path in sorted((tmp_path / "c").glob("*.json"))]
    assert documents == ["00000003.json", "00000004.json"]
    assert {path.name[:8] for path in (tmp_path / "c").iterdir()} == {"00000003", "00000004"}


def test_tables_that_are_the_same_are_not_written_again(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, durable=False)
    last = save(store, 5)
    assert last.written == last.bytes > limits.CHECKPOINT_TABLE_BYTES
    changed = pa.table({"rows": pa.array([7], pa.int64())})
    for epoch in (6, 7, 8):
        same = {name: place for name, place in last.tables.items() if name != "0.rows"}
        last = store.save({"epoch": epoch}, {"0.rows": stream_of(changed)}.items(), same)
        assert last.written < 1000
        assert last.bytes > limits.CHECKPOINT_TABLE_BYTES
    assert found(tmp_path) == (8, {**tables_of(5), "0.rows": changed})


def test_any_flipped_bit_or_missing_byte_and_the_one_before_is_taken(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, durable=False)
    save(store, 1)
    save(store, 2)
    chance = random.Random(7)
    for path in sorted(tmp_path.glob("00000002*")):
        content = path.read_bytes()
        places = range(len(content)) if len(content) < 200 else chance.sample(range(len(content)), 40)
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= 1 << chance.randrange(8)
            for left in (bytes(damaged), content[:place]):
                path.write_bytes(left)
                again = Checkpoints(tmp_path, durable=False)
                loaded = again.load()
                assert loaded is not None
                if path.suffix == ".json" and loaded[0].content["epoch"] == 2:
                    assert loaded[1] == tables_of(2)  # the bit was in a space between two words
                    continue
                assert (loaded[0].content["epoch"], loaded[1]) == (1, tables_of(1))
                assert "checkpoint 2 was passed over" in again.notices[0]
        path.unlink()
        assert found(tmp_path) == (1, tables_of(1))
        path.write_bytes(content)
    assert found(tmp_path) == (2, tables_of(2))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_the_disk_refuses_any_call(code: int) -> None:
    with quick_folder() as path:
        store = Checkpoints(path, durable=True)
        save(store, 1)
        for call in range(1, 100):
            error: Exception | None = None
            try:
                with faults(fail(code, first=call, last=call)):
                    save(store, call + 1)
            except OperationalError as refusal:
                error = refusal
            if error is None and call > 30:
                break
            assert error is None or os.strerror(code).lower() in str(error)
            epoch, tables = found(path) or (0, {})
            assert epoch >= 1
            assert tables == tables_of(epoch)
            save(store, 1000 + call)
            assert found(path) == (1000 + call, tables_of(1000 + call))
        else:
            raise AssertionError("no save ended without a fault")
        assert call < 60


def test_power_fails_after_any_call() -> None:
    """The newest checkpoint whose `save` had returned is there, or one that came after."""
    with quick_folder() as root, quick_folder() as image:
        recording = Recording(root)
        done = [(0, 0)]  # calls of the disk, and the epoch that was saved by then
        with faults(recording):
            for number in (1, 2, 3):
                save(Checkpoints(root / "c", durable=True), number)
                done.append((recording.calls, number))
        recording.finish()
        tried = 0
        for call, disk in recording.replay():
            least = max(epoch for calls, epoch in done if calls <= call)
            for loss in (Loss(1.0), Loss(0.0), Loss(0.5), Loss(0.5, SECTOR_BYTES)):
                write_image(disk.after(loss, random.Random(call)), image)
                epoch, tables = found(image / "c") or (0, {})
                assert epoch >= least, f"after call {call} with {loss}"
                assert tables == (tables_of(epoch) if epoch else {})
                tried += 1
        assert tried > 100
