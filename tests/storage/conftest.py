"""Places where segments may be kept; how much the tests of faults try, and what they tell at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from headrace.storage import maintenance, segment_cache
from headrace.storage.remote_files import RemoteFiles

from .remotes import Place, Watched, s3_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as base:
        yield base


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_cache, "REMOTE_PAUSE_S", 0.0)


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A file system that Arrow does not know by itself."""
    watched = Watched(tmp_path / "elsewhere")
    return Place(
        "cold://bucket",
        lambda: RemoteFiles({"cold": watched.filesystem}),
        lambda: [f"cold:/{path.removeprefix(str(watched.folder))}" for path in map(str, watched.files())],
        watched,
    )


@pytest.fixture(params=["disk", "given", "subtree", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, here: Place) -> Place:
    match request.param:
        case "disk":
            folder = tmp_path / "cold disk"
            return Place(
                folder.as_uri(), RemoteFiles, lambda: sorted(p.as_uri() for p in folder.rglob("*") if p.is_file())
            )
        case "given":
            return here
        case "subtree":
            folder = tmp_path / "tree"
            folder.mkdir()
            tree = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
            return Place(
                "tree:///",
                lambda: RemoteFiles({"tree": tree}),
                lambda: sorted(f"tree:///{p.relative_to(folder)}" for p in folder.rglob("*") if p.is_file()),
            )
        case _:
            base = request.getfixturevalue("server").replace("where?", f"where/{tmp_path.name}?")
            filesystem, root = fs.FileSystem.from_uri(base)

            def files() -> list[str]:
                found = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
                return sorted(f"s3://{one.path}" for one in found if one.type == fs.FileType.File)

            return Place(base, RemoteFiles, files)


@pytest.fixture
def no_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maintenance happens when it is asked for only."""
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_S", 1e6)
