"""Count, mean and centred second moment of rows: exact to merge, safe around a large mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Statistics of n rows of k values.

    Parameters
    ----------
    n
        Number of rows.
    mean
        Their mean, k values.
    scatter
        Sum of the outer products of the centred rows, k x k.
    """

    n: int
    mean: F64
    scatter: F64


def merge(n: NDArray[np.int64], mean: F64, scatter: F64) -> Moments:
    """Merge the moments of disjoint sets of rows pairwise, as a balanced tree over their order (Chan).

    Parameters
    ----------
    n
        Rows of each set.
    mean
        Sets x k.
    scatter
        Sets x k x k.
    """
    filled = n > 0
    count, mean, scatter = n[filled].astype(np.float64), mean[filled], scatter[filled]
    if not len(count):
        return Moments(0, np.zeros(mean.shape[1]), np.zeros(scatter.shape[1:]))
    while len(count) > 1:
        odd = len(count) % 2
        a, b = slice(0, len(count) - odd, 2), slice(1, len(count) - odd, 2)
        total = count[a] + count[b]
        delta = mean[b] - mean[a]
        share = count[b] / total
        merged = scatter[a] + scatter[b]
        merged += (count[a] * share)[:, None, None] * delta[:, :, None] * delta[:, None, :]
        centre = mean[a] + delta * share[:, None]
        last = slice(len(count) - odd, None)
        count = np.concatenate([total, count[last]])
        mean = np.concatenate([centre, mean[last]])
        scatter = np.concatenate([merged, scatter[last]])
    return Moments(int(count[0]), mean[0], scatter[0])
