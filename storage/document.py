"""A document: a small JSON file that is replaced whole and carries its own checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from .errors import CorruptionError, NotSupportedError
from .files import read_file, save_file

FORMAT = 2
FORMATS = (1, FORMAT)  # those that can be read; what a format added has a default in those before


def save_document(path: Path, content: Mapping[str, Any], *, durable: bool) -> None:
    """The file holds `content`, JSON values all the way down; the order of its names is kept."""
    canonical = _canonical(content)
    lines = canonical.replace(',{"', ',\n{"')  # within a text a quote has a backslash before it
    head = f'{{"format": {FORMAT}, "crc32c": "{_crc32c(canonical)}", "content":\n'
    save_file(path, f"{head}{lines}\n}}\n".encode(), durable=durable)


def load_document(path: Path) -> dict[str, Any]:
    """What was saved.

    Raises: CorruptionError if it is not what was saved; NotSupportedError if a later headrace saved it.
    """
    try:
        document = json.loads(read_file(path))
        stated, checksum, content = document["format"], document["crc32c"], document["content"]
        intact = isinstance(content, dict) and checksum == _crc32c(_canonical(content))
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact:
        raise CorruptionError(
            f'cannot read "{path}": its checksum does not match',
            detail="The file was changed or damaged after headrace wrote it.",
            hint="Restore it from a copy of the folder.",
        )
    if stated not in FORMATS:
        raise NotSupportedError(
            f'cannot read "{path}": it has format {stated}',
            detail=f"This headrace knows formats up to {FORMAT}.",
            hint="Open the folder with a later headrace.",
        )
    return dict(content)


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _crc32c(canonical: str) -> str:
    return f"{google_crc32c.value(canonical.encode()):08x}"
