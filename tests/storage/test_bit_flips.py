"""One bit of any file is another: that is an error or makes no difference, and is never a row or a place of a group."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

from headrace.storage.consumer_group import groups_in
from headrace.storage.errors import Error
from headrace.storage.group_offsets import RECORD_BYTES, SLOT_BYTES
from headrace.storage.verification import verify_folder

from .disk_recording import Image, read_image, write_image
from .invariants import Found, check_open, numbers_at
from .ledger import Ledger
from .sweep import Sweep, quick_folder
from .workload import CHAPTERS, TOPICS, append, open_folder


class Good(NamedTuple):
    """A folder as it is on the disk, and all that can be read of it."""

    image: Image
    found: Found
    ledger: Ledger

    @property
    def files(self) -> dict[str, list[str]]:
        """The files that say something, by what they are."""
        kinds: dict[str, list[str]] = {}
        for path, content in without_cache(self.image).items():
            if content and content.strip(b"\0"):
                kinds.setdefault(kind_of(path, content), []).append(path)
        return kinds


def without_cache(image: Image) -> Image:
    """With nothing fetched yet: what is elsewhere must be read there."""
    return {path: content for path, content in image.items() if not path.startswith("db/cache/")}


def kind_of(path: str, content: bytes) -> str:
    if path.startswith("elsewhere/"):
        return "segment elsewhere"
    name = path.rpartition("/")[2]
    if name.endswith(".arrow"):
        if ".g" in name:
            return "segment written anew"
        return "sealed segment" if content.endswith(b"ARROW1") else "active segment"
    if name.endswith((".idx", ".json")):
        return name.rpartition(".")[2] if "MANIFEST" not in name else "manifest"
    return "offsets" if "/offsets/" in path else name if name in ("CURRENT", "ctl", "transactions") else "lock"


def make(root: Path) -> tuple[Good, Good]:
    """One that was closed, and one whose process died."""
    ledger = Ledger()
    for chapter in CHAPTERS:
        with closing(open_folder(root)) as folder:
            chapter(folder, ledger)
    images = [read_image(root)]
    with closing(open_folder(root)) as folder:
        found = [check_open(folder, ledger)]
        before = ledger.copy()
        for name in TOPICS:
            append(folder, ledger, name, 5)
        found.append(check_open(folder, ledger))
        images.append(read_image(root))
    return Good(images[0], found[0], before), Good(images[1], found[1], ledger)


@pytest.mark.usefixtures("no_rounds")
def test_no_flipped_bit_is_ever_returned(sweep: Sweep) -> None:
    with quick_folder() as root:
        goods = make(root)
    chance = random.Random(11)
    outcomes: Counter[tuple[str, str]] = Counter()
    flips = 6000 if sweep.everything else 200
    for _ in range(flips):
        good = chance.choice(goods)
        kind = chance.choice(sorted(good.files))
        path = chance.choice(good.files[kind])
        content = bytearray(good.image[path] or b"")
        position = chance.choice(meaning(kind, content))
        bit = chance.randrange(8)
        content[position] ^= 1 << bit
        with quick_folder() as root:
            write_image({**without_cache(good.image), path: bytes(content)}, root)
            try:
                what = outcome(root, good, local=kind != "segment elsewhere")
                if what == "harmless" and kind == "sealed segment":  # where its footer says nothing
                    assert table_in(content) == table_in(good.image[path] or b"")
                    what = "padding"
                outcomes[kind, what] += 1
            except BaseException as error:
                error.add_note(f"bit {bit} of byte {position} of {path}, {len(content)} bytes")
                raise
    segments = ("active segment", "sealed segment", "segment written anew", "segment elsewhere")
    for kind in (*segments, "manifest", "CURRENT", "offsets"):
        assert outcomes[kind, "detected"], outcomes
        assert not outcomes[kind, "harmless"], outcomes
    sweep.count("bits flipped", flips, least=200)
    sweep.count("of them detected", sum(n for (_, what), n in outcomes.items() if what == "detected"), least=90)


@pytest.mark.usefixtures("no_rounds")
def test_what_verification_lets_pass_in_a_footer_is_read_by_any_program(sweep: Sweep) -> None:
    """Nothing of ours reads a footer, and bytes in it that mean nothing may be others."""
    undetected = tried = 0
    with quick_folder() as root:
        good, _ = make(root)
        path = min(good.files["sealed segment"], key=lambda path: len(good.image[path] or b""))
        content = good.image[path] or b""
        size = int.from_bytes(content[-10:-6], "little")
        for number in range(0, 8 * (size + 18), 1 if sweep.everything else 11):
            changed = bytearray(content)
            changed[-1 - number // 8] ^= 1 << number % 8
            (root / path).write_bytes(changed)
            tried += 1
            if not verify_folder(root / "db", [path.split("/")[2]]).findings:
                undetected += 1
                assert table_in(changed) == table_in(content), f"bit {number} from the end"
    assert 0 < undetected < tried / 3
    sweep.count("bits of a footer", tried, least=100)


def table_in(content: bytes | bytearray) -> pa.Table:
    """What any program finds in a sealed segment."""
    with pa.ipc.open_file(bytes(content)) as file:
        return file.read_all()


def meaning(kind: str, content: bytearray) -> list[int]:
    """The positions that a flip is worth trying at: nothing looks at zeros behind or between what is written."""
    size = len(bytes(content).rstrip(b"\0"))
    return [at for at in range(size) if kind != "offsets" or at % SLOT_BYTES < RECORD_BYTES]


def outcome(root: Path, good: Good, *, local: bool) -> str:
    """Whether the damage was noticed, by verification or by reading, or all is as it was.

    What is not `local` is compared with its checksum when it is fetched.
    """
    findings = verify_folder(root / "db").findings
    try:
        folder = open_folder(root)
    except Error:
        assert findings, "opening saw what verification did not"
        return "detected"
    refused = 0
    with closing(folder):
        assert set(folder.topics) == set(TOPICS)
        assert "view" in folder.catalog.entries
        for name, topic in folder.topics.items():
            for number, log in enumerate(topic.partitions):
                expected = good.found[name][number]
                try:
                    found = numbers_at(log, "extra" in topic.schema.names, good.ledger)
                except Error:
                    refused += 1
                    continue
                if topic.options.durability == "none" and found != expected:  # a power failure looks the same
                    assert findings
                    assert [*found.items()] == [*expected.items()][: len(found)]
                else:
                    assert found == expected
        for name in ("log", "lazy"):
            committed = {place.committed for place in groups_in(folder) if place.topic == name}
            assert committed <= {fact.value for fact in good.ledger.told("done", name)}, "a place that nobody committed"
    assert findings or not refused or not local, "reading saw what verification did not"
    return "detected" if findings or refused else "harmless"
