"""Footprints: how much of what an operator keeps lies in files, found by looking through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ..storage.memory import is_mapped, lies_in_file


def spilled_bytes(state: object) -> int:
    """Bytes of arrays and batches in files that `state`, an object of the engine, holds. Units: bytes."""
    total, seen, waiting = 0, set[int](), [state]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, np.ndarray):
            if is_mapped(each) and id(each.base) not in seen:
                seen.add(id(each.base))
                total += int(each.nbytes)
        elif isinstance(each, pa.RecordBatch):
            total += int(each.nbytes) if lies_in_file(each) else 0
        elif isinstance(each, pa.Table):
            waiting += each.to_batches()
        else:
            waiting += _parts(each)
    return total


def _parts(each: Any) -> Iterable[object]:
    if isinstance(each, Mapping):
        return list(each.values())
    if isinstance(each, list | tuple | deque | set):
        return list(each)
    if type(each).__module__.startswith("headrace.engine"):
        return list(getattr(each, "__dict__", {}).values())
    return ()
