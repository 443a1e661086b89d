"""Count, mean and centred second moment of rows: exact to merge, safe around a large mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.types import Filters

BLOCK_ROWS = 8_192
"""Rows that are summed together before anything is merged, so that results depend on no batch size."""


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
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Return the moments of no rows."""
        return cls(0, np.zeros(width), np.zeros((width, width)))


def finite_rows(filters: Filters) -> Filters:
    """Return the filters without those that hold a NaN or an infinity."""
    finite = np.isfinite(filters).all(axis=1)
    return filters if finite.all() else filters[finite]


def scaled(filters: Filters) -> Filters:
    """Divide each filter by its largest magnitude; a zero filter stays zero."""
    largest = np.abs(filters).max(axis=1, keepdims=True, initial=0)
    return np.asarray(np.divide(filters, largest, out=np.zeros_like(filters), where=largest > 0))


def moments_of(rows: Filters) -> Moments:
    """Compute moments in blocks of fixed height, merged pairwise in row order."""
    parts = [_block(rows[start : start + BLOCK_ROWS]) for start in range(0, len(rows), BLOCK_ROWS)]
    return merge(parts, rows.shape[1])


def _block(rows: Filters) -> Moments:
    values = rows.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    return Moments(len(rows), mean, centred.T @ centred)


def merge(parts: Sequence[Moments], width: int) -> Moments:
    """Merge the moments of parts pairwise, as a balanced tree over their order.

    Parameters
    ----------
    parts
        Moments of disjoint rows.
    width
        Values a row, for when there is no part.
    """
    level = [part for part in parts if part.n]
    if not level:
        return Moments.empty(width)
    while len(level) > 1:
        pairs = [_pair(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def _pair(a: Moments, b: Moments) -> Moments:
    n, delta = a.n + b.n, b.mean - a.mean
    return Moments(
        n, a.mean + delta * (b.n / n), a.scatter + b.scatter + np.outer(delta, delta) * (a.n * b.n / n)
    )
