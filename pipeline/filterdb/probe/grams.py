"""The sums that CKA is made of: U-centred Gram matrices of the layers of a model, batch by batch.

HSIC with the unbiased estimate is an inner product of such matrices, so that all pairs of layers are one
product of two matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.probe.engine import Activations, Tap, Workers
from filterdb.probe.runtime import Array

VARIANCE: Final = 1e-12
"""A layer does not vary whose variance is a smaller share of its mean square: float32 rounds to 1e-7."""

_BLOCK: Final = 1 << 19
"""Values that are summed at once: what stays near the processor."""

_APART: Final = 8
"""Unused values behind each row of a block: rows that are powers of two apart push each other out."""

Floats = NDArray[np.float64]


class Grams:
    """What makes the matrices of a model's layers, a batch at a time.

    Parameters
    ----------
    activations
        The model and its data.
    workers
        Who multiplies.
    """

    def __init__(self, activations: Activations, workers: Workers) -> None:
        self.count, self._workers = len(activations.taps), workers
        groups = activations.passes(min(activations.setup.batch, len(activations.rows)))
        self._readers = [activations.open(group) for group in groups]

    def of(self, rows: NDArray[np.intp]) -> Batch:
        """Return the matrices of some rows of the data."""
        batch = Batch.of(self.count, len(rows))
        for reader in self._readers:
            self._workers.each(batch.take, reader.read(rows))
        return batch


@dataclass(frozen=True, slots=True)
class Batch:
    """The matrices of one batch, one row a layer, and how much each layer varies.

    Parameters
    ----------
    centred
        U-centred Gram matrices; zero where a layer is not finite.
    variance, square
        Variance and mean square of each layer, times rows.
    finite
        Which layers hold neither NaN nor infinity.
    """

    centred: Floats
    variance: Floats
    square: Floats
    finite: NDArray[np.bool_]

    @classmethod
    def of(cls, count: int, n: int) -> Batch:
        """Return room for some layers over some rows."""
        return cls(np.zeros((count, n * n)), np.zeros(count), np.zeros(count), np.ones(count, bool))

    def take(self, tap: Tap, values: Array) -> None:
        """Take the activations of a layer."""
        place = tap.position
        gram, self.variance[place], self.square[place] = gram_of(values)
        self.finite[place] = bool(np.isfinite(gram).all())
        if self.finite[place]:
            self.centred[place] = u_centred(gram).reshape(-1)


@dataclass(slots=True)
class Sums:
    """Sums over batches, one after the other.

    Parameters
    ----------
    hsic
        Of each layer of the one model with each of the other.
    a, b
        What each layer of the two is by itself.
    """

    hsic: Floats
    a: Own
    b: Own

    @classmethod
    def of(cls, count_a: int, count_b: int) -> Sums:
        """Return sums of no batch yet."""
        return cls(np.zeros((count_a, count_b)), Own.of(count_a), Own.of(count_b))

    def add(self, a: Batch, b: Batch, n: int) -> None:
        """Add a batch of some rows."""
        scale = n * (n - 3)
        self.hsic += a.centred @ b.centred.T / scale
        self.a.add(a, scale)
        self.b.add(b, scale)


@dataclass(slots=True)
class Own:
    """What the layers of one model are by themselves, summed over batches.

    Parameters
    ----------
    hsic
        Of each layer with itself.
    variance, square, finite
        As :class:`Batch` has them.
    """

    hsic: Floats
    variance: Floats
    square: Floats
    finite: NDArray[np.bool_]

    @classmethod
    def of(cls, count: int) -> Own:
        """Return sums of no batch yet."""
        return cls(np.zeros(count), np.zeros(count), np.zeros(count), np.ones(count, bool))

    def add(self, batch: Batch, scale: int) -> None:
        """Add a batch."""
        self.hsic += np.einsum("ij,ij->i", batch.centred, batch.centred) / scale
        self.variance += batch.variance
        self.square += batch.square
        self.finite &= batch.finite

    def reasons(self) -> tuple[str, ...]:
        """Return why each layer has no CKA; empty where it has."""
        return tuple(map(self._reason, range(len(self.hsic))))

    def _reason(self, i: int) -> str:
        if not self.finite[i]:
            return "its activations hold NaN or infinity"
        if self.square[i] == 0:
            return "all its activations are zero"
        if self.variance[i] <= VARIANCE * self.square[i]:
            return "its activations do not vary"
        # With an estimate that is unbiased, what hardly varies can come out below zero.
        return "" if self.hsic[i] > 0 else "its HSIC with itself is not above zero"


def bytes_each(rows: int) -> int:
    """Return what :func:`gram_of` and :func:`u_centred` take for one layer, at most."""
    return 8 * rows * (_columns(rows) + _APART + 4 * rows)


def _columns(rows: int) -> int:
    # Of many rows, enough columns that a product of matrices is worth it.
    return max(_BLOCK // rows, 1024)


def gram_of(features: NDArray[Any]) -> tuple[Floats, float, float]:
    """Return the Gram matrix of features about their mean, their variance, and their mean square, times rows.

    Parameters
    ----------
    features
        One row a row of data, of any further shape.
    """
    flat = features.reshape(len(features), -1)
    rows, width = flat.shape
    gram = np.zeros((rows, rows))
    square = 0.0
    step = min(width, _columns(rows))
    block = np.empty((rows, step + _APART))
    with np.errstate(all="ignore"):
        for start in range(0, width, step):
            found = flat[:, start : start + step]
            part = block[:, : found.shape[1]]
            part[...] = found
            mean = part.mean(axis=0)
            square += rows * float(mean @ mean)
            # U-centring makes nothing of the mean, but beside a large one the differences lose their digits.
            part -= mean
            gram += part @ part.T
    variance = float(np.trace(gram))
    return gram, variance, variance + square


def u_centred(gram: Floats) -> Floats:
    """Return a Gram matrix with its diagonal left out and its rows and columns brought to zero.

    Parameters
    ----------
    gram
        A symmetric matrix of at least four rows.
    """
    n = len(gram)
    centred = gram.copy()
    np.fill_diagonal(centred, 0.0)
    sums = centred.sum(axis=1)
    centred += sums.sum() / ((n - 1) * (n - 2)) - (sums[:, None] + sums[None, :]) / (n - 2)
    np.fill_diagonal(centred, 0.0)
    return centred
