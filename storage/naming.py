"""Names of streams and consumer groups as names of folders, and back."""

from __future__ import annotations

import re
from urllib.parse import unquote

from .errors import ProgrammingError
from .limits import TOPIC_NAME_BYTES_MAX


def folder_name(name: str) -> str:
    """A name as a folder name: other bytes than a-z, 0-9, `_`, `-` and inner dots as %xx.

    Holds: different names, also if they differ in case only, have different folders on every file system.
    """
    return re.sub(rb"^\.|[^a-z0-9_.-]", lambda found: b"%%%02x" % found[0][0], name.encode()).decode()


def original_name(folder: str) -> str:
    """The name that `folder_name` made this folder's name of."""
    return unquote(folder)


def checked_folder_name(name: str, what: str) -> str:
    """The folder name of a new `what`. Raises: ProgrammingError if it is longer than file systems allow."""
    encoded = folder_name(name)
    if len(encoded) > TOPIC_NAME_BYTES_MAX:
        raise ProgrammingError(
            f'cannot make a {what} with the name "{name[:40]}...": it is too long',
            detail=f"Its folder would need {len(encoded)} of at most {TOPIC_NAME_BYTES_MAX} characters.",
        )
    return encoded
