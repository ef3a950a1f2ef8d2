"""What a checkpoint has is written to and grows in memory, without a copy, and the checkpoint stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from headrace.engine.slot_array import SlotArray
from headrace.storage import checkpoints as checkpoints_module
from headrace.storage import private_maps
from headrace.storage.checkpoints import Checkpoints, stream_of
from headrace.storage.memory import Memory, is_mapped
from headrace.storage.private_maps import Room

ROWS = 5001


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_maps, "ADOPTED_BYTES_MIN", 4096)
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_TABLE_BYTES", 0)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    memory = Memory(tmp_path / "spill", smallest=1024)
    with memory.used():
        yield memory
    memory.close()


def saved(folder: Path) -> Checkpoints:
    """A checkpoint with numbers, small numbers, numbers of which one is NULL, and texts."""
    checkpoints = Checkpoints(folder / "checkpoints", durable=False)
    numbers = np.arange(ROWS)
    table = pa.table(
        {
            "number": numbers,
            "small": numbers.astype(np.int32),
            "null": pa.array([None, *range(1, ROWS)], pa.int64()),
            "text": [str(number) for number in range(ROWS)],
        }
    )
    checkpoints.save({}, {"t": stream_of(table)}.items(), {})
    return checkpoints


def columns(checkpoints: Checkpoints) -> dict[str, npt.NDArray[np.int64]]:
    loaded = checkpoints.load()
    assert loaded is not None
    table = loaded[1]["t"]
    return {name: table[name].to_numpy() for name in ("number", "small", "null")}


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((folder / "checkpoints").glob("*.arrow")))


@pytest.mark.parametrize("start", [0, -1])
@pytest.mark.parametrize("name", ["number", "small"])
def test_a_column_is_written_to_and_grows_where_it_lies(name: str, start: int, memory: Memory, tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    before = content(tmp_path)
    column = columns(checkpoints)[name]
    array = SlotArray(column.dtype, start)
    array.load(column)
    assert isinstance(array.values.base, Room)
    assert memory.resident == 2 * column.nbytes
    expected = column.copy()
    for size in (ROWS, ROWS + 1, ROWS + 600, 2 * ROWS):
        room = array.values.base
        array.reserve(size)
        assert array.values.base is room, "nothing is copied while there is room"
        expected = np.append(expected, np.full(size - len(expected), start, column.dtype))
        assert array.values[:size].tolist() == expected.tolist()
        array.values[size // 3 : size] += 5
        expected[size // 3 :] += 5
    assert column.tolist() == list(range(ROWS)), "those who read the file see what is in it"
    array.reserve(2 * ROWS + 1)
    assert not isinstance(array.values.base, Room)
    assert array.values[: 2 * ROWS].tolist() == expected.tolist()
    assert (array.values[2 * ROWS :] == start).all()
    assert content(tmp_path) == before
    array.load(columns(checkpoints)[name])
    assert array.values[:ROWS].tolist() == list(range(ROWS)), "and so does the next one"


def test_a_part_of_it_grows_elsewhere(memory: Memory, tmp_path: Path) -> None:
    array = SlotArray(np.int64, start=-1, appended=True)
    array.load(columns(saved(tmp_path))["number"])
    part, copying = array.freeze()
    assert copying is None
    array.reserve(ROWS + 10)
    array[np.arange(ROWS, ROWS + 10)] = 7
    part.reserve(ROWS + 20)
    part[np.arange(ROWS, ROWS + 20)] = 8
    assert part.values[ROWS - 1 : ROWS + 20].tolist() == [ROWS - 1, *[8] * 20]
    assert array.values[ROWS - 1 : ROWS + 10].tolist() == [ROWS - 1, *[7] * 10]


def test_memory_is_given_back(memory: Memory, tmp_path: Path) -> None:
    array = SlotArray(np.int64)
    array.load(columns(saved(tmp_path))["number"])
    assert memory.resident == 2 * 8 * ROWS
    held = array.values[7:9]
    del array
    assert held.tolist() == [7, 8]
    del held
    assert memory.resident == 0


def test_of_a_file_that_is_another_one_by_now_there_is_a_copy(memory: Memory, tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    column = columns(checkpoints)["number"]
    (path,) = (tmp_path / "checkpoints").glob("*.0.arrow")
    written = path.read_bytes()
    path.unlink()
    for _ in range(2):
        array = SlotArray(np.int64)
        array.load(column)
        assert not isinstance(array.values.base, Room)
        assert array.values[:ROWS].tolist() == list(range(ROWS))
        path.write_bytes(written[::-1])


def test_what_cannot_be_taken_as_it_is_is_copied(memory: Memory, tmp_path: Path) -> None:
    found = columns(saved(tmp_path))
    for dtype, column in (
        (np.int64, found["small"]),  # of another width
        (np.int64, found["number"][::-1]),
        (np.int64, found["number"][:500]),  # fewer than are worth it
        (np.int64, found["number"].copy()),  # in no file
        (np.float64, found["null"]),
    ):
        array = SlotArray(dtype)
        array.load(column)
        assert not isinstance(array.values.base, Room)
        assert np.array_equal(array.values[: len(column)], column, equal_nan=True)


def test_beyond_the_limit_it_lies_in_a_file_of_its_own(tmp_path: Path) -> None:
    size = 8 * ROWS
    memory = Memory(tmp_path / "spill", limit=3 * size + size // 2, smallest=1024)
    with memory.used():
        arrays = [SlotArray(np.int64) for _ in range(3)]
        counted = []
        for array in arrays:
            array.load(columns(saved(tmp_path))["number"])
            counted.append((memory.resident // size, memory.spilled // size))
        assert counted == [(2, 0), (3, 0), (3, 1)], "with room for as many more; without; in a file"
        assert [isinstance(array.values.base, Room) for array in arrays] == [True, True, False]
        for array in arrays:
            array.reserve(ROWS + 100)
            array[np.arange(ROWS, ROWS + 100)] = 7
            assert array.values[: ROWS + 100].tolist() == [*range(ROWS), *[7] * 100]
    memory.close()


def test_it_moves_to_a_file_when_there_is_less_room(memory: Memory, tmp_path: Path) -> None:
    array = SlotArray(np.int64)
    array.load(columns(saved(tmp_path))["number"])
    array.values[3] = 99
    memory.set_limit(0)
    assert is_mapped(array.values)
    assert memory.resident == 0
    assert array.values[:5].tolist() == [0, 1, 2, 99, 4]
