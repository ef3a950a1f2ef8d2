"""Arrays and batches beyond a limit lie in files, with the same values, and go when nobody holds them."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.storage.errors import OperationalError
from headrace.storage.files import faults
from headrace.storage.memory import Memory, current, is_mapped

SMALL = 1 << 10


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "spill", limit=4 * SMALL, smallest=SMALL)


def test_what_has_no_room_lies_in_a_file_and_is_counted(memory: Memory) -> None:
    arrays = [memory.array(256, np.int64, start) for start in (0, 7, -1)]
    assert [is_mapped(array) for array in arrays] == [False, False, True]
    assert [int(array[255]) for array in arrays] == [0, 7, -1]
    assert (memory.resident, memory.spilled) == (4 * SMALL, 2 * SMALL)
    del arrays
    assert (memory.resident, memory.spilled) == (0, 0)


def test_small_arrays_never_do(memory: Memory) -> None:
    arrays = [memory.array(64, np.int64) for _ in range(100)]
    assert not any(is_mapped(array) for array in arrays)
    assert memory.resident == 0


def test_an_array_keeps_its_values_as_it_grows_out_of_memory_and_on(memory: Memory) -> None:
    array = memory.array(256, np.int64)
    array[:] = np.arange(256)
    for size in (400, 1000, 5000):
        room = len(array)
        array = memory.grown(array, size, start=9)
        assert array[:256].tolist() == list(range(256))
        assert (array[room:] == 9).all()
        array[room:] = -3
        assert (array[256:] == -3).all()
    assert is_mapped(array)
    assert (memory.resident, memory.spilled) == (0, 40_000)


def test_files_have_no_names_that_could_be_left_behind(memory: Memory, tmp_path: Path) -> None:
    array = memory.array(10_000, np.int64)
    assert is_mapped(array)
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_batch_that_has_no_room_has_the_same_rows(memory: Memory) -> None:
    batch = pa.record_batch({"n": pa.array([*range(2000), None]), "s": pa.array(["x" * (n % 7) for n in range(2001)])})
    before = memory.resident
    there = memory.batch(batch)
    assert there.equals(batch)
    assert memory.resident == before
    assert memory.spilled >= batch.nbytes
    assert there.slice(1000, 10).equals(batch.slice(1000, 10))


def test_a_lower_limit_moves_what_is_there_the_largest_first(memory: Memory) -> None:
    class Holder:
        def __init__(self, size: int) -> None:
            self.values = memory.array(size, np.int64, 5)
            memory.watch(self)

        @property
        def bytes(self) -> int:
            return self.values.nbytes

        def move(self) -> None:
            self.values = memory.moved(self.values)

    small, large = Holder(128), Holder(300)
    memory.set_limit(2 * SMALL)
    assert (is_mapped(small.values), is_mapped(large.values)) == (False, True)
    assert (large.values == 5).all()


def test_a_full_disk_is_an_error_before_anything_is_written(memory: Memory) -> None:
    def full(operation: str, path: Path) -> None:
        if operation == "allocate":
            raise OSError(errno.ENOSPC, "No space left on device")

    kept = memory.array(1000, np.int64, 3)
    with faults(full):
        with pytest.raises(OperationalError, match="no space left"):
            memory.array(1000, np.int64)
        with pytest.raises(OperationalError, match="no space left"):
            memory.grown(kept, 5000)
    assert (kept == 3).all()
    assert memory.spilled == 8000


def test_a_thread_has_the_memory_of_the_block_it_is_in(memory: Memory) -> None:
    outside = current()
    with memory.used():
        assert current() is memory
    assert current() is outside
