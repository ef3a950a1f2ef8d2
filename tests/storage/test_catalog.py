"""The catalog: entries in order, each change whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.storage.catalog import Catalog, CatalogEntry
from headrace.storage.errors import CorruptionError, NotSupportedError, OperationalError
from headrace.storage.files import faults


def entry(name: str, kind: str = "VIEW") -> CatalogEntry:
    return CatalogEntry(name, kind, f"CREATE {kind} \"{name}\" AS SELECT 'ü'", {"columns": ["a", 1, None]})


def test_entries_keep_their_order_and_come_back(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.json", durable=True)
    for name in ("b", "A", "c", "a"):
        catalog.put(entry(name))
    before = catalog.entries
    catalog.put(entry("A", "STREAM"))
    catalog.remove("c", "b", "nobody")
    assert list(before) == ["b", "A", "c", "a"]
    again = Catalog(tmp_path / "catalog.json", durable=True)
    assert list(again.entries.values()) == [entry("A", "STREAM"), entry("a")]
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.json"]


def test_a_change_that_cannot_be_saved_is_not_made(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.json", durable=True)
    catalog.put(entry("a"))
    seen: list[str] = []

    def fail_at(number: int) -> None:
        calls = 0

        def fault(operation: str, path: Path) -> None:
            nonlocal calls
            calls += 1
            seen.append(operation)
            if calls == number:
                raise OSError(28, "No space left on device")

        with faults(fault), pytest.raises(OperationalError, match="no space left"):
            catalog.put(entry("b"))

    for number in range(1, 6):
        fail_at(number)
        assert list(catalog.entries) == ["a"]
        expected = ["a"] if seen[-1] != "sync folder" else ["a", "b"]
        assert list(Catalog(tmp_path / "catalog.json", durable=True).entries) == expected
    assert set(seen) == {"create", "write", "sync", "rename", "sync folder"}


def test_every_single_bit_flip_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    Catalog(path, durable=False).put(entry("a"))
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            entries = Catalog(path, durable=False).entries
        except (CorruptionError, NotSupportedError):
            continue
        assert list(entries.values()) == [entry("a")]


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    Catalog(path, durable=False).put(entry("a"))
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "format": 3}))
    with pytest.raises(NotSupportedError, match="format 3"):
        Catalog(path, durable=False)
