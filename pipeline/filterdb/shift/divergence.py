"""The distance between two groups of filters: a weighted sum of symmetric KL divergences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_FLOOR = float(np.finfo(np.float32).eps)
"""What an empty bin holds, in density units, as the reference has it."""


@dataclass(frozen=True, slots=True)
class ShiftMatrix:
    """D between every two groups of an axis.

    Parameters
    ----------
    groups
        Names of the groups, in the order of rows and columns.
    values
        D, symmetric, zero on the diagonal.
    """

    groups: tuple[str, ...]
    values: NDArray[np.float64]

    def pairs(self) -> pd.DataFrame:
        """Return the upper triangle in long form."""
        a, b = np.triu_indices(len(self.groups), k=1)
        names = np.array(self.groups, dtype=object)
        frame = pd.DataFrame({"group_a": names[a], "group_b": names[b], "D": self.values[a, b]})
        return frame.astype({"group_a": "str", "group_b": "str"})


def densities(counts: NDArray[np.int64], *, width: float) -> NDArray[np.float64]:
    """Turn counts a bin into the reference's probabilities: floored as densities, then normalized.

    Parameters
    ----------
    counts
        Bins along the last axis.
    width
        Width of a bin.
    """
    total = counts.sum(axis=-1, keepdims=True)
    density = counts / (np.maximum(total, 1) * width)
    density = np.where(density == 0, _FLOOR, density)
    return np.asarray(density / density.sum(axis=-1, keepdims=True))


def kl_symmetric(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return KL(p || q) + KL(q || p) along the last axis, by the natural logarithm, not halved."""
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def shift_matrix(
    groups: Sequence[str],
    counts: NDArray[np.int64],
    *,
    weights: NDArray[np.float64],
    width: float,
    ordered: bool = False,
) -> ShiftMatrix:
    """Compute D between every two groups.

    Parameters
    ----------
    groups
        Names.
    counts
        Groups x components x bins.
    weights
        Weight of each component: its explained variance ratio.
    width
        Width of a bin.
    ordered
        Keep the order of the groups, instead of ascending column mean.
    """
    p = densities(counts, width=width)
    values = np.zeros((len(groups), len(groups)))
    for i in range(len(groups)):
        values[i] = kl_symmetric(p[i], p) @ weights
    values = (values + values.T) / 2
    order = np.arange(len(groups)) if ordered else np.argsort(values.mean(axis=0), kind="stable")
    return ShiftMatrix(tuple(groups[i] for i in order), values[np.ix_(order, order)])
