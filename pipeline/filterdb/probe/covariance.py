"""The covariance of features, summed up block by block in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from filterdb.probe.pooling import columns

Floats: TypeAlias = NDArray[np.float64]

_CANCELS: Final = 1e-3
_NARROW: Final = 32
# BLAS multiplies small matrices without packing them first, and a symmetric product of few rows slowly.
_SMALL: Final = 1 << 19
_BLOCK: Final = 1 << 17


class Covariance:
    """The covariance of features, summed up block by block about the mean, in float64.

    Parameters
    ----------
    width
        How many features there are.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self.scatter = np.zeros((width, width))
        self.finite = True

    def add(self, features: NDArray[Any]) -> None:
        """Take features of the shape that :func:`~filterdb.probe.pooling.pooled` returns."""
        narrow = features.ndim == 3 and features.shape[1] <= _NARROW
        # What is not finite shows in the mean, which needs no warning.
        with np.errstate(all="ignore"):
            for count, mean, scatter in (_of_pieces if narrow else _of_columns)(features):
                if not np.isfinite(mean).all():
                    self.finite = False
                if not self.finite:
                    return
                self._merge(count, mean, scatter)

    def _merge(self, count: int, mean: Floats, scatter: Floats) -> None:
        """Merge a block, exactly (Chan)."""
        step, total = mean - self.mean, self.count + count
        self.scatter += scatter
        self.scatter += np.outer(step, step) * (self.count * count / total)
        self.mean += step * (count / total)
        self.count = total

    @property
    def square(self) -> float:
        """The mean square of all features, summed."""
        return float(np.trace(self.scatter)) / self.count + float(self.mean @ self.mean)

    def eigenvalues(self) -> Floats:
        """Return the eigenvalues of the covariance, the largest first; none is below zero."""
        return np.asarray(np.maximum(np.linalg.eigvalsh(self.scatter / self.count)[::-1], 0.0))


def _of_columns(features: NDArray[Any]) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield the number, the mean and the scatter of blocks of observations."""
    for block in columns(features):
        count = block.shape[1]
        mean = block.mean(axis=1)
        raw = block @ block.T
        scatter = raw - count * np.outer(mean, mean)
        if _cancels(scatter, raw):
            block -= mean[:, None]
            scatter = block @ block.T
        yield count, mean, scatter


def _of_pieces(features: NDArray[Any]) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield the same of few features at many places, as products of small matrices."""
    for block in _pieces(features):
        width = block.shape[1] - 1
        count = block.shape[0] * block.shape[2]
        raw = _product(block)
        mean = raw[:, width] / count
        scatter = raw[:, :width] - count * np.outer(mean, mean)
        if _cancels(scatter, raw):
            block[:, :width] -= mean[:, None]
            scatter = _product(block)[:, :width]
        yield count, mean, scatter


def _cancels(scatter: Floats, raw: Floats) -> bool:
    """Tell whether a mean is so large beside the spread that the spread has lost its digits.

    To take the mean off products costs one pass less than to centre first.
    """
    return bool((scatter.diagonal() < _CANCELS * raw.diagonal()).any())


def _product(block: Floats) -> Floats:
    """Return the products of features, and in the last column their sums."""
    return np.asarray((block[:, :-1] @ block.swapaxes(1, 2)).sum(axis=0))


def _pieces(features: NDArray[Any]) -> Iterator[Floats]:
    """Yield features as float64 blocks of the shape (pieces, features, observations); the last feature is 1.

    A piece is some places of one row, or all places of some rows.
    """
    rows, width, places = features.shape
    longest = max(1, _SMALL // (width * (width + 1)))
    together = min(max(1, longest // places), rows)
    whole = rows - rows % together
    for start in range(0, places, longest):
        found = features[:whole, :, start : start + longest]
        grouped = found.reshape(-1, together, width, found.shape[2]).swapaxes(1, 2)
        step = max(1, _BLOCK // (width * together * found.shape[2]))
        for first in range(0, len(grouped), step):
            yield _widened(grouped[first : first + step])
    if whole < rows:
        yield _widened(features[None, whole:].swapaxes(1, 2))


def _widened(part: NDArray[Any]) -> Floats:
    """Return a part of the shape (pieces, features, rows, places) as a block, with one more feature."""
    pieces, width, *observed = part.shape
    block = np.empty((pieces, width + 1, *observed))
    block[:, :width] = part
    block[:, width] = 1
    return block.reshape(pieces, width + 1, -1)
