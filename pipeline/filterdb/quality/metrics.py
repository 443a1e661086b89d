"""Quality metrics of a layer, as functions of its statistics; ``docs/metrics.md`` has the formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from filterdb.stats import Moments, RecordStats, measure_record
from filterdb.types import Filters

METRICS: Final = (
    "n",
    "sparsity",
    "variance_entropy",
    "variance_entropy_norm",
    "variance_entropy_clean",
    "variance_entropy_clean_norm",
    "orthogonality",
    "norm_l1",
    "norm_l2",
    "norm_l1_norm",
    "norm_l2_norm",
)
"""Names and order of the metrics: torchconvquality's."""

FITTED_VALUES: Final = 9
"""T_H is a fit to random filters of this many values: to 3x3 kernels."""

_NO_VARIANCE: Final = 1e-24
"""Variance below this share of the uncentred second moment is rounding.

Sums of squares in double precision leave less than 1e-28 where all filters are equal. One value of a billion
that differs in float32's last bit makes more than 1e-24.
"""


_NO_CHANNELS: Final = (
    "no orthogonality: the number of output channels is not known, or they are too many to compare"
)
_ONE_CHANNEL: Final = "one output channel has no other to be orthogonal to"
_SINGLE_VALUES: Final = "filters of one value have no variance entropy"


def random_entropy(n: int) -> float:
    """Return T_H: the variance entropy that a layer of n random filters has, as a fit."""
    if n < 1:
        return math.nan
    scale, offset, slope, base = 1.2618047, 2.30436435, 0.88767525, -0.31050834
    return scale / (1 + math.exp(-slope * (math.log2(n) - offset))) + base


def sparsity(stats: RecordStats) -> float:
    """Return the share of filters whose magnitudes are all below 1 % of the layer's largest."""
    return (stats.finite - stats.dense.n) / stats.finite if stats.finite else math.nan


def variance_entropy(moments: Moments) -> tuple[float, str]:
    """Return the entropy of the explained variance, base 10, and a reason where it is degenerate.

    Parameters
    ----------
    moments
        Moments of the filters.
    """
    if moments.n == 0:
        return math.nan, "no filter is left"
    if len(moments.mean) == 1:
        return math.nan, _SINGLE_VALUES
    if moments.n == 1:
        return 0.0, "one filter has no variance"
    total = float(np.trace(moments.scatter))
    second_moment = total + moments.n * float(moments.mean @ moments.mean)
    if total <= second_moment * _NO_VARIANCE:
        return 0.0, "the filters do not vary"
    share = np.clip(np.linalg.eigvalsh(moments.scatter) / total, 0, None)
    share = share[share > 0]
    return max(0.0, -float(share @ np.log10(share))), ""


def orthogonality(stats: RecordStats) -> float:
    """Return how orthogonal output channels are: 1 where all pairs are, less where they align."""
    n = stats.channels
    return min(max(1 - stats.overlap / (n * (n - 1)), 0.0), 1.0) if n > 1 else math.nan


def norms(stats: RecordStats) -> dict[str, float]:
    """Return the L1 and L2 norm of the whole weight, as it is and standardized."""
    count = stats.finite * len(stats.raw.mean)
    varies = _values_vary(stats)
    deviation = math.sqrt(stats.square_deviation / (count - 1)) if varies else math.nan
    return {
        "norm_l1": stats.l1,
        "norm_l2": math.sqrt(_square(stats)),
        "norm_l1_norm": stats.absolute_deviation / deviation,
        # The sum of squared standardized values is one less than their number, by definition.
        "norm_l2_norm": math.sqrt(count - 1) if varies else math.nan,
    }


def _square(stats: RecordStats) -> float:
    """Return the sum of squares of all values."""
    count = stats.finite * len(stats.raw.mean)
    return stats.square_deviation + count * float(stats.raw.mean.mean()) ** 2


def _values_vary(stats: RecordStats) -> bool:
    return stats.square_deviation > _square(stats) * _NO_VARIANCE


def record_quality(stats: RecordStats) -> dict[str, float | int | str]:
    """Return every metric of a layer, and the reasons of those that are undefined or degenerate.

    Parameters
    ----------
    stats
        The layer's statistics.
    """
    entropy, reason = variance_entropy(stats.raw)
    clean, clean_reason = variance_entropy(stats.dense)
    reasons = [reason, *_further_reasons(stats)]
    if stats.dense.n < stats.finite and clean_reason and clean_reason != reason:
        reasons.append(f"without sparse filters: {clean_reason}")
    return {
        "n": stats.n,
        "sparsity": sparsity(stats),
        "variance_entropy": entropy,
        "variance_entropy_norm": _normalized(entropy, stats.raw),
        "variance_entropy_clean": clean,
        "variance_entropy_clean_norm": _normalized(clean, stats.dense),
        "orthogonality": orthogonality(stats),
        **norms(stats),
        "reason": "; ".join(part for part in reasons if part),
    }


def _further_reasons(stats: RecordStats) -> Iterator[str]:
    """Say why metrics other than the entropy are undefined; where no filter is left, that says it all."""
    width = len(stats.raw.mean)
    if not stats.finite:
        return
    if width not in (1, FITTED_VALUES):
        yield f"T_H is known for filters of 9 values, not of {width}"
    elif width != 1 and {stats.finite, stats.dense.n} & {1, 2}:
        yield "T_H is below 0 for one or two filters"
    if stats.channels < 2:
        yield _ONE_CHANNEL if stats.channels else _NO_CHANNELS
    if not _values_vary(stats):
        yield "all values are equal"


def layer_quality(filters: Filters, *, out_channels: int) -> dict[str, float | int | str]:
    """Return every metric of a layer that is in memory.

    Parameters
    ----------
    filters
        Its filters; those with NaN or Inf are left out.
    out_channels
        How many output channels they belong to.
    """
    rows = np.ascontiguousarray(filters, dtype=np.float32)
    stats = measure_record(lambda start, stop: rows[start:stop], n=len(rows), out_channels=out_channels)
    return record_quality(stats)


def _normalized(entropy: float, moments: Moments) -> float:
    """Divide by T_H, which is negative below three filters and then normalizes nothing."""
    known = moments.n > 2 and len(moments.mean) == FITTED_VALUES
    return entropy / random_entropy(moments.n) if known else math.nan
