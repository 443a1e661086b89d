"""What the metrics make of a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from filterdb.quality.metrics import FITTED_VALUES, random_entropy

LABELS: Final = ("random", "low_diversity", "degenerate")
"""Names of the labels."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where labels begin.

    Parameters
    ----------
    low_entropy
        Below it, a layer has low diversity.
    random_margin
        How far below T_H a layer already counts as degenerate.
    sparse
        The sparsity from which a layer of low diversity is degenerate.
    """

    low_entropy: float = 0.5
    random_margin: float = 0.02
    sparse: float = 0.14


def label(
    n: int,
    entropy: float,
    sparsity: float,
    thresholds: Thresholds = Thresholds(),
    *,
    values: int = FITTED_VALUES,
) -> dict[str, bool]:
    """Return which labels a layer earns; one without any filter earns none.

    Parameters
    ----------
    n
        Its number of filters that hold neither NaN nor Inf.
    entropy
        Its variance entropy.
    sparsity
        Its share of sparse filters.
    thresholds
        Where labels begin.
    values
        Values of a filter; thresholds are known for nine, and layers of other filters earn no label.
    """
    if values != FITTED_VALUES:
        return dict.fromkeys(LABELS, False)
    # T_H of one or two filters is below 0: their entropy, which is 0, would exceed it.
    random = random_entropy(n) if n > 2 else math.inf
    low = entropy < thresholds.low_entropy
    return {
        "random": entropy > random,
        "low_diversity": low,
        "degenerate": entropy >= random - thresholds.random_margin or (low and sparsity >= thresholds.sparse),
    }
