"""Half of the tests of operators have what checkpoints keep of many keys, however few there are."""

from __future__ import annotations

import zlib

import pytest

from headrace.engine import key_index


@pytest.fixture(autouse=True)
def what_is_stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other half make it anew from the keys, as of few; a test is always of the same half."""
    if zlib.crc32(request.node.nodeid.encode()) % 2:
        monkeypatch.setattr(key_index, "STORED_KEYS", 1)
