"""The common coordinates of all filters: principal components of the scaled filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats import Coordinates, Moments

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Basis:
    """Principal components of a set of scaled filters, and the bins that coefficients are counted in.

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

    def to_json(self) -> dict[str, Any]:
        """Return the basis as plain containers."""
        return {
            "n": self.n,
            "mean": self.mean.tolist(),
            "components": self.components.tolist(),
            "explained_variance_ratio": self.explained.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Basis:
        """Rebuild a basis from :meth:`to_json`."""
        arrays = [np.array(data[name], float) for name in ("mean", "components", "explained_variance_ratio")]
        return cls(int(data["n"]), *arrays)


def fit_basis(moments: Moments) -> Basis:
    """Fit the basis to the moments of scaled filters."""
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
