"""The common coordinates of all filters: principal components of the scaled filters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.stats import Coordinates, Moments

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Basis:
    """Principal components of a set of scaled filters.

    Parameters
    ----------
    n
        How many filters it was fitted to.
    mean
        Their mean.
    components
        One component a row, by falling variance.
    explained
        Share of the variance that each component explains.
    """

    n: int
    mean: F64
    components: F64
    explained: F64

    @property
    def coordinates(self) -> Coordinates:
        """What a scan needs in order to compute coefficients."""
        return Coordinates(np.ascontiguousarray(self.components), self.components @ self.mean)

    def project(self, scaled: NDArray[np.float32]) -> F64:
        """Return the coefficients of scaled filters, one row each."""
        return (scaled.astype(np.float64) - self.mean) @ self.components.T


def fit_basis(moments: Moments) -> Basis:
    """Fit the basis to the moments of scaled filters.

    Parameters
    ----------
    moments
        Of any set of filters: those of a set of records are merged from the cube, and no filter is read.
    """
    values, vectors = np.linalg.eigh(moments.scatter)
    components = vectors[:, ::-1].T
    variance = np.clip(values[::-1], 0, None)
    total = variance.sum()
    explained = variance / total if total > 0 else np.full(len(variance), 1 / len(variance))
    return Basis(moments.n, moments.mean, components * _signs(components)[:, None], explained)


def _signs(components: F64) -> F64:
    """Make the first of the largest loadings positive: the range of coefficients depends on it."""
    magnitude = np.abs(components)
    largest = magnitude >= magnitude.max(axis=1, keepdims=True) * (1 - 1e-9)
    first = largest.argmax(axis=1)
    return np.where(components[np.arange(len(components)), first] < 0, -1.0, 1.0)
