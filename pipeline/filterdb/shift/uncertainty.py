"""How far to trust a distance between two groups, given that models, not filters, are the sample.

The filters of one model resemble each other, so a thousand filters of one model say little more than the
model does. Whoever permutes or resamples filters or layers finds a difference almost everywhere. Here the
model is the unit. For every pair of groups:

- The null distribution. Where no model has records in both groups, models are exchangeable: their labels are
  permuted whole. Where models have records in both groups (depth, labels), the labels of a model's records
  are permuted inside the model. Sizes move with the labels: where one group's layers are the smaller ones, as
  along depth, weigh by layers, or p answers for the sizes too.
- The interval. The distance of finite samples is too large, about as much as a bootstrap draw is too large
  again. The basic interval, which reflects the draws about the estimate, subtracts that bias; it covers the
  distance between the mean distributions of the populations that the models were drawn from. Two corrections
  keep that promise for few models and small distances: the quantiles lie as far out as Student's distribution
  does beyond the normal one; and the interval begins at 0 wherever the permutations do not exclude 0.

Neither the order of models, records and groups, nor other groups, nor chunks and threads change a bit of a
pair's numbers.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit
from threadpoolctl import threadpool_limits

from filterdb.shift.divergence import Measure, measure
from filterdb.shift.resampling import Resampling, bootstrapped, permuted
from filterdb.shift.units import F64, Ints, Pair, Units, Weighting

FEWEST_MODELS: Final = 5
"""Models a group needs before anything is said about its uncertainty."""

_NUMBERS: Final = ("D", "null_mean", "excess", "low", "high", "p", "p_holm")
_COUNTS: Final = tuple(f"{what}_{side}" for what in ("filters", "layers", "models") for side in "ab")

COLUMNS: Final = ("group_a", "group_b", *_NUMBERS, "measure", *_COUNTS, "reason")
"""Columns of the table that :func:`uncertainty` returns."""

_TIE: Final = 1e-9
"""Relative difference below which a permuted distance equals the observed one."""

_DEFAULT: Final = Resampling()


def uncertainty(
    axis: str,
    groups: Sequence[str],
    counts: NDArray[Any],
    codes: Ints,
    models: NDArray[Any],
    *,
    weights: F64,
    width: float,
    by: str = "paper",
    weighting: Weighting = "filters",
    resampling: Resampling = _DEFAULT,
) -> pd.DataFrame:
    """Compare every two groups of an axis, and say how far chance alone would come.

    Parameters
    ----------
    axis
        Name of the axis, which keys the random streams together with the names of the two groups.
    groups
        Names of the groups.
    counts
        Records x components x bins.
    codes
        The group of each record; -1 for none.
    models
        The model of each record.
    weights
        Weight of each component.
    width
        Width of a bin.
    by
        Name of the measure.
    weighting
        What counts alike: see :func:`weigh`.
    resampling
        Seeds and numbers of draws.

    Returns
    -------
        One row a pair. ``reason`` is empty, or says why the numbers beside D are NaN.
    """
    units = Units.of(counts, codes, models, weighting)
    sizes = units.sizes(len(groups))
    comparison = Comparison(axis, groups, units, measure(by), weights, width, resampling)
    pairs = list(itertools.combinations(range(len(groups)), 2))
    rows = []
    for (a, b), found in zip(pairs, comparison.of_all(pairs), strict=True):
        beside = {
            f"{column}_{side}": size[group]
            for column, size in sizes.items()
            for side, group in zip("ab", (a, b), strict=True)
        }
        rows.append({"group_a": groups[a], "group_b": groups[b]} | found | {"measure": by} | beside)
    return _frame(rows)


def holm(p: F64) -> F64:
    """Adjust p values for their number, by Holm's method; NaN stays and does not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares pairs of the groups of one axis.

    Parameters
    ----------
    axis
        Name of the axis.
    groups
        Names of the groups.
    units
        The records.
    compare
        The measure.
    weights
        Weight of each component.
    width
        Width of a bin.
    how
        Seeds and numbers of draws.
    """

    axis: str
    groups: Sequence[str]
    units: Units
    compare: Measure
    weights: F64
    width: float
    how: Resampling

    def of_all(self, pairs: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Compare pairs, several at once."""
        threads = self.how.threads or os.cpu_count() or 1
        # Pairs are small for BLAS, whose own threads would only wait for each other.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.of, pairs))

    def of(self, groups: tuple[int, int]) -> dict[str, Any]:
        """Compare two groups."""
        # In a fixed order: the streams must not see which group is listed first.
        first, second = sorted(groups, key=lambda group: self.groups[group])
        names = self.groups[first], self.groups[second]
        pair = Pair.of(self.units, first, second)
        p, q = (rows.sum(axis=0) for rows in pair.sums())
        observed = float(self.compare(*self._shaped(p, q), weights=self.weights, width=self.width)[0])
        reason = _too_few(pair, names)
        row = dict.fromkeys(_NUMBERS, np.nan) | {"D": observed, "reason": reason}
        return row if reason else row | self.chance(pair, names, p + q, observed)

    def chance(self, pair: Pair, names: tuple[str, str], total: F64, observed: float) -> dict[str, float]:
        """Say how far chance alone would come, and where the distance of the populations may lie."""
        null, drawn = self.null(pair, names, total), self.bootstrap(pair, names)
        mean, tail = float(null.mean()), (1 - self.how.level) / 2
        p = (1 + int((null >= observed * (1 - _TIE)).sum())) / (1 + len(null))
        # A draw of models may leave a group empty where few of many models have records in it.
        wide = _widened(tail, min(pair.held[:2]))
        short, far = np.nanquantile(drawn, [wide, 1 - wide])
        least = 2 * observed - far if p <= tail else 0.0
        most = max(2 * observed - short, far if self.compare.kinked else 0.0)
        row = {"null_mean": mean, "excess": observed - mean, "p": p}
        return row | {"low": max(0.0, float(least)), "high": float(most)}

    def null(self, pair: Pair, names: tuple[str, str], total: F64) -> F64:
        """Return the distances of permuted groups."""
        rng, how = self.how.stream(self.axis, *names, "null"), self.how
        draws = permuted(pair.strata(), rng, how.permutations, how.memory)
        return np.concatenate([self.distances(p, total - p) for p in draws])

    def bootstrap(self, pair: Pair, names: tuple[str, str]) -> F64:
        """Return the distances of groups whose models are drawn again."""
        rng, how = self.how.stream(self.axis, *names, "draw"), self.how
        draws = bootstrapped(pair, rng, how.draws, how.memory)
        return np.concatenate([self.distances(p, q) for p, q in draws])

    def distances(self, p: F64, q: F64) -> F64:
        """Compare draws of flat counts, row by row."""
        return self.compare.drawn(*self._shaped(p, q), weights=self.weights, width=self.width)

    def _shaped(self, *counts: F64) -> list[F64]:
        """Give flat counts their components and bins."""
        shape = (-1, len(self.weights), counts[0].shape[-1] // len(self.weights))
        return [side.reshape(shape) for side in counts]


def _too_few(pair: Pair, names: tuple[str, str]) -> str:
    """Say why nothing can be said about the pair; empty where something can."""
    *alone, both = pair.held
    few = [
        f"{n} model{'s' * (n != 1)} in {name!r}"
        for n, name in zip(alone, names, strict=True)
        if n < FEWEST_MODELS
    ]
    if not few and 0 < both < FEWEST_MODELS:
        few = [f"{both} models with records in both groups"]
    return f"only {' and '.join(few)}, {FEWEST_MODELS} needed" if few else ""


def _widened(tail: float, models: int) -> float:
    """Return the tail of the normal distribution beyond Student's quantile for so many models."""
    return float(ndtr(-stdtrit(models - 1, 1 - tail)))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    types = (
        dict.fromkeys(COLUMNS, "str") | dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(_COUNTS, "int64")
    )
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["p_holm"] = holm(frame["p"].to_numpy(np.float64))
    return frame.astype(types)
