"""Variances, covariances, correlations and regressions by slot, from exact sums of doubles and of their products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..storage.hashing import fixed_values
from .delta import Weights
from .exact_sums import Doubles, ExactSums
from .slot_array import Mask, Slots, where
from .specials import Specials
from .sums import SlotState, slots_table, table_columns

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What is known of the rows of some slots: how many, the means of y and x, and sums of products of deviations.

    `xx` is the sum of (x - mean of x) squared, and so on. With one column there is only y. `counts` are at least 1.
    """

    counts: Floats
    mean_y: Floats
    yy: Floats
    mean_x: Floats
    xx: Floats
    xy: Floats

    @property
    def spread_y(self) -> Floats:
        """`yy`, but 0 for a single row even if it is infinite, as DuckDB has it."""
        return np.where(self.counts == 1, 0.0, self.yy)

    @property
    def spread_x(self) -> Floats:
        """The same of x."""
        return np.where(self.counts == 1, 0.0, self.xx)


class Moments(SlotState):
    """Sums of y, and of x if there are two columns of doubles, of their squares and of their product.

    State: per slot 2 exact sums, or 5 with two columns.
    """

    def __init__(self, columns: int) -> None:
        self._pair = columns == 2
        names = ("y", "yy", "x", "xx", "xy") if self._pair else ("y", "yy")
        self._sums = {name: ExactSums() for name in names}
        self._specials = {name: Specials() for name in names if len(name) == 1}

    def reserve(self, size: int) -> None:
        for part in self._parts():
            part.reserve(size)

    def update(
        self, slots: Slots, columns: Sequence[pa.Array], weights: Weights | None, counts: npt.NDArray[np.int64]
    ) -> None:
        floats = {name: fixed_values(column, np.float64) for name, column in zip("yx", columns, strict=False)}
        finite = {name: special.take(slots, floats[name], weights) for name, special in self._specials.items()}
        for name, sums in self._sums.items():
            left, right = name[0], name[-1]
            masks = [mask for mask in (finite[left], finite[right]) if mask is not None]
            rows = where(np.logical_and.reduce(masks)) if masks else slice(None)
            chosen = None if weights is None else weights[rows]
            numbers = Doubles(floats[left][rows])
            if len(name) == 1:
                sums.add(slots[rows], numbers, chosen)
            else:
                other = numbers if left == right else Doubles(floats[right][rows])
                sums.add_products(slots[rows], numbers, other, chosen)

    def absorb(self, slots: Slots, other: SlotState, sources: Slots, counts: npt.NDArray[np.int64]) -> None:
        assert isinstance(other, Moments)
        for name, sums in self._sums.items():
            sums.absorb(slots, other._sums[name], sources)
        for name, special in self._specials.items():
            special.absorb(slots, other._specials[name], sources)

    def read(self, slots: Slots, counts: npt.NDArray[np.int64]) -> Figures:
        """The figures of `slots`, which hold `counts` rows; where these are 0, anything."""
        counts = np.maximum(counts, 1)
        mean_y, rest_y = self._mean("y", slots, counts)
        yy = self._deviations("yy", slots, "y", mean_y, rest_y)
        mean_x, xx, xy = mean_y, yy, yy
        if self._pair:
            mean_x, rest_x = self._mean("x", slots, counts)
            xx = self._deviations("xx", slots, "x", mean_x, rest_x)
            xy = self._deviations("xy", slots, "y", mean_x, rest_x)
        odd_y, odd_x = (self._specials[name].held_by(slots) for name in ("y", "x" if self._pair else "y"))
        return Figures(
            counts.astype(np.float64),
            self._specials["y"].added_to(mean_y, slots),
            np.where(odd_y, np.nan, yy),
            self._specials["x" if self._pair else "y"].added_to(mean_x, slots),
            np.where(odd_x, np.nan, xx),
            np.where(odd_x | odd_y, np.nan, xy),
        )

    def _mean(self, name: str, slots: Slots, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The double next to the mean of the finite numbers, and by how much the mean is more, or almost."""
        sums = self._sums[name]
        mean = sums.read(slots) / counts
        mean += sums.less_multiple(slots, mean, counts) / counts  # what the division lost
        return mean, sums.less_multiple(slots, mean, counts) / counts

    def _deviations(self, name: str, slots: Slots, other: str, mean: Floats, rest: Floats) -> Floats:
        """The sum of products less the mean of the one times the sum of the other: that of products of deviations."""
        sums = self._sums[other]
        found = self._sums[name].less_product(slots, mean, sums) - rest * sums.read(slots)
        return found if name == "xy" else np.maximum(found, 0.0)

    def keep(self, slots: Slots) -> None:
        for part in self._parts():
            part.keep(slots)

    def snapshot(self, size: int) -> dict[str, pa.Table]:
        tables = {n: pa.table({"slot": np.arange(size), **sums.columns(size)}) for n, sums in self._sums.items()}
        specials = {f"special {n}": slots_table(special.arrays, size) for n, special in self._specials.items()}
        return tables | specials

    def restore(self, snapshot: dict[str, pa.Table]) -> None:
        for name, sums in self._sums.items():
            table = snapshot[name]
            columns = {column: table[column].to_numpy() for column in table.column_names if column != "slot"}
            sums.load(columns, table.num_rows)
        for name, special in self._specials.items():
            special.load(table_columns(snapshot[f"special {name}"]))

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self._parts())

    def _parts(self) -> list[ExactSums | Specials]:
        return [*self._sums.values(), *self._specials.values()]


@dataclass(frozen=True)
class Statistic:
    """A number computed from figures; NULL for less than `rows_min` rows and where `absent` says so."""

    compute: Callable[[Figures], Floats]
    rows_min: int = 1
    absent: Callable[[Figures], Mask] | None = None


def _slope(f: Figures) -> Floats:
    return f.xy / f.xx


def _intercept(f: Figures) -> Floats:
    return f.mean_y - _slope(f) * f.mean_x


def _correlation(f: Figures) -> Floats:
    found: Floats = (f.xy / f.counts) / (np.sqrt(f.xx / f.counts) * np.sqrt(f.yy / f.counts))
    return found


STATISTICS: Final[Mapping[str, Statistic]] = {
    "var_pop": Statistic(lambda f: f.spread_y / f.counts),
    "var_samp": Statistic(lambda f: f.yy / (f.counts - 1), rows_min=2),
    "stddev_pop": Statistic(lambda f: np.sqrt(f.spread_y / f.counts)),
    "stddev_samp": Statistic(lambda f: np.sqrt(f.yy / (f.counts - 1)), rows_min=2),
    "sem": Statistic(lambda f: np.sqrt(f.yy / f.counts) / np.sqrt(f.counts)),
    "covar_pop": Statistic(lambda f: f.xy / f.counts),
    "covar_samp": Statistic(lambda f: f.xy / (f.counts - 1), rows_min=2),
    "corr": Statistic(_correlation),
    "regr_avgx": Statistic(lambda f: f.mean_x),
    "regr_avgy": Statistic(lambda f: f.mean_y),
    "regr_sxx": Statistic(lambda f: f.spread_x),
    "regr_syy": Statistic(lambda f: f.spread_y),
    "regr_sxy": Statistic(lambda f: f.xy),
    "regr_slope": Statistic(_slope),
    "regr_intercept": Statistic(_intercept, absent=lambda f: ~np.isfinite(_intercept(f))),
    "regr_r2": Statistic(
        lambda f: np.where(f.spread_y == 0, 1.0, _correlation(f) ** 2), absent=lambda f: f.spread_x == 0
    ),
}
