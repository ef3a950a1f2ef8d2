"""The soak, for a few seconds: the rest of it is `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.kills import run


@pytest.mark.parametrize("bounded", [False, True])
def test_a_few_kills(tmp_path: Path, bounded: bool) -> None:
    seen = run(
        tmp_path,
        kills=1 if bounded else 2,
        seconds=None,
        rate=20_000,
        batch=500,
        lives_s=(0.3, 0.7),
        bounded=bounded,
        seed=7,
        tell=print,
    )
    assert seen.rows > 0
