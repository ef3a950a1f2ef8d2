"""The shell's own settings from a file: config.toml in the user's folder for such files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .console import Settings, UsageError
from .formats import FORMATS

# setting: the values it may have
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "format": tuple(FORMATS),
    "expanded": ("on", "off", "auto"),
    "timing": (True, False),
    "changelog": (True, False),
    "pager": (True, False),
    "keys": ("emacs", "vi"),
}


def config_path() -> Path:
    """Where the file is looked for."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "headrace" / "config.toml"


def configure(settings: Settings, path: Path) -> None:
    """Sets what the file says, if it is there; a format that is set already stays.

    Raises: UsageError that names the file and what in it is not understood; what comes before that counts.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"could not read {path}: {error}") from error
    for name, value in said.items():
        if name not in CHOICES:
            raise UsageError(f'{path} sets "{name}", which is no setting: there are {", ".join(CHOICES)}')
        if not any(value == choice and type(value) is type(choice) for choice in CHOICES[name]):
            allowed = ", ".join(str(choice).lower() if choice in (True, False) else choice for choice in CHOICES[name])
            raise UsageError(f"{path} sets {name} to {value!r}: choose {allowed}")
        if name != "format" or settings.format is None:
            setattr(settings, name, value)
