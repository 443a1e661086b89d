"""What the metrics make of a layer."""

from __future__ import annotations

from dataclasses import dataclass

from filterdb.quality.metrics import random_entropy


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


def label(n: int, entropy: float, sparsity: float, thresholds: Thresholds = Thresholds()) -> dict[str, bool]:
    """Return which labels a layer earns.

    Parameters
    ----------
    n
        Its number of filters.
    entropy
        Its variance entropy.
    sparsity
        Its share of sparse filters.
    thresholds
        Where labels begin.
    """
    random = random_entropy(n)
    low = entropy < thresholds.low_entropy
    return {
        "random": entropy > random,
        "low_diversity": low,
        "degenerate": entropy >= random - thresholds.random_margin or (low and sparsity >= thresholds.sparse),
    }
