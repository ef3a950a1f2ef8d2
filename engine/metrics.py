"""What is measured of a running dataflow: per node the rows that went in and out, and the time that took."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .operator import NO_WATERMARK


@dataclass
class Figures:
    """What one node has done since it began. Units: seconds of the engine's thread.

    `changes` counts the epochs in which its state may have become another one.
    """

    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    changes: int = 0
    watermark: int = NO_WATERMARK

    def go_on(self, before: Figures) -> None:
        """Count on from what was counted `before`."""
        self.__dict__.update(before.__dict__)

    def copy(self) -> Figures:
        """The figures as they are now."""
        return replace(self)


@dataclass(frozen=True)
class NodeState:
    """A node as it is at one moment, and the other views that it runs for.

    `kept` counts the rows or groups of its state; `oldest` is the time of those that go next.
    Units: bytes, of which `spilled_bytes` lie in files; `watermark` and `oldest` microseconds.
    """

    figures: Figures
    state_bytes: int
    watermark: int = NO_WATERMARK
    shared_with: tuple[str, ...] = ()
    oldest: int | None = None
    spilled_bytes: int = 0
    kept: int | None = None


@dataclass(frozen=True)
class ViewState:
    """All nodes of a view, inputs before what reads them, and what is kept beside them for its readers."""

    nodes: tuple[NodeState, ...]
    kept_bytes: int
