"""The frame of OVER, as text has it and as the operator counts it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
from sqlglot import exp

from ..engine.over_frames import Frame
from ..engine.value_order import measurable
from ..storage.errors import Error
from .blocks import Unplannable
from .intervals import DAY_US, constant_us
from .relations import Column


def frame_of(window: exp.Window, keys: Sequence[Column], *, measured: bool) -> Frame:
    """The frame of a window ordered by `keys`; `measured`: by one that decides alone, so that values have distances.

    Raises: Unplannable for frames that the operator does not know.
    """
    spec = window.args.get("spec")
    if spec is None:
        return Frame() if keys else Frame("rows")
    if spec.args.get("exclude"):
        raise Unplannable("OVER with EXCLUDE")
    kind = spec.args["kind"].upper()
    sides = (
        (spec.args.get("start"), spec.args.get("start_side")),
        (
            spec.args.get("end") or "CURRENT ROW",
            spec.args.get("end_side"),
        ),
    )
    if kind != "RANGE":
        start, end = (_count(*side) for side in sides)
        return Frame("rows" if start is None and end is None else kind.lower(), start, end)
    if not keys:
        return Frame("rows")
    low, high = (_distance(bound, side, keys[0] if measured else None) for bound, side in sides)
    if low is None and high is None:
        return Frame("rows")
    return Frame() if low is None and high == 0 else Frame("range", low, high)


def _count(bound: object, side: str | None) -> int | None:
    """How many rows or groups after the row itself a frame begins or ends; None for all."""
    if isinstance(bound, exp.Literal) and bound.is_int:
        return _signed(int(bound.name), side)
    if str(bound).upper() == "CURRENT ROW":
        return 0
    if str(bound).upper() == "UNBOUNDED":
        return None
    raise Unplannable("OVER with a frame that is not constant")


def _distance(bound: object, side: str | None, key: Column | None) -> int | float | None:
    """How far after the row's own value a frame begins or ends, in what the column counts in; None for all."""
    if not isinstance(bound, exp.Expr):
        return _count(bound, side)
    if key is None or not measurable(key.arrow):
        raise Unplannable("OVER with a RANGE frame over what has no distances")
    kind = key.arrow
    if isinstance(bound, exp.Interval):
        try:
            length = constant_us(bound, None, "a frame")
        except Error:
            raise Unplannable("OVER with a RANGE frame in months") from None
        if pa.types.is_timestamp(kind) and kind.unit == "us":
            return _signed(length, side)
        if pa.types.is_date32(kind) and length % DAY_US == 0:
            return _signed(length // DAY_US, side)
    elif isinstance(bound, exp.Literal) and not bound.is_string and not pa.types.is_timestamp(kind):
        number = Decimal(bound.name)
        if pa.types.is_floating(kind):
            return float(number) * _signed(1, side)
        scaled = number.scaleb(kind.scale if pa.types.is_decimal(kind) else 0)
        if scaled == int(scaled):
            return _signed(int(scaled), side)
    raise Unplannable("OVER with a frame that is not constant")


def _signed(length: int, side: str | None) -> int:
    return -length if (side or "").upper() == "PRECEDING" else length
