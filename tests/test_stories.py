"""Every story in tests/scripts comes out as written, whichever of the five ways it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.storage import limits
from tests import story as tales

SCRIPTS = Path(__file__).parent / "scripts"
PATHS = sorted(SCRIPTS.rglob("*.test"))


@pytest.mark.parametrize("way", tales.WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(SCRIPTS).with_suffix("").as_posix())
def test_story(
    path: Path, way: tales.Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(limits, "JOURNAL_STATE_BYTES", 1)  # a checkpoint has what went in, of the smallest state too
    monkeypatch.setattr(limits, "JOURNAL_SHARE", 1e6)
    story = tales.read(path)
    if reason := story.excepted.get(way.name):
        pytest.skip(reason)
    if request.config.getoption("--bless") and way is tales.WAYS[0]:
        path.write_text(story.blessed([*tales.tell(story, way, tmp_path)]))
        return
    outputs = tales.tell(story, way, tmp_path)
    for block, output in zip(story.blocks, outputs, strict=True):
        if difference := tales.difference(story, block, output):
            pytest.fail(difference, pytrace=False)


def test_there_are_stories() -> None:
    assert PATHS
