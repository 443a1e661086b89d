"""The distance between two groups of filters, from the counts of their coefficients.

A measure compares one component at a time and adds the components up, weighted by the variance they
explain. It works on whole stacks of counts at once, so that a matrix of groups and a thousand bootstrap
draws of one pair are the same call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import rel_entr

from filterdb.errors import UsageError, nearest

F64 = NDArray[np.float64]
Counts = NDArray[Any]

MEMORY = 64 << 20
"""How many bytes of temporary arrays a comparison of many pairs may take."""

_FLOOR = float(np.finfo(np.float32).eps)
"""What an empty bin holds, in density units, as the reference has it."""

_TEMPORARIES = 8
"""How many arrays of the size of one group's counts are alive while a pair is compared."""

_CACHE = 1 << 18
"""Bytes of counts of the draws that are compared at a time: what is alive stays in a processor's cache."""


def densities(counts: Counts, *, width: float) -> F64:
    """Turn counts a bin into the reference's probabilities: floored as densities, then normalized.

    Parameters
    ----------
    counts
        Bins along the last axis; whole or weighted. Without any count, the result is NaN.
    width
        Width of a bin.
    """
    density = _shares(counts, width)
    np.copyto(density, _FLOOR, where=density == 0)
    density *= 1 / _sums(density)
    return density


def kl_symmetric(p: F64, q: F64) -> F64:
    """Return KL(p || q) + KL(q || p) along the last axis, by the natural logarithm, not halved."""
    # Written so that no term is negative and swapping p and q changes no bit.
    ratio = np.maximum(p, q)
    ratio /= np.minimum(p, q)
    np.log(ratio, out=ratio)
    difference = np.subtract(p, q)
    np.abs(difference, out=difference)
    return np.asarray(np.einsum("...b,...b->...", difference, ratio))


def paper(p: Counts, q: Counts, *, width: float) -> F64:
    """Symmetric KL divergence of the floored densities, as the paper has it."""
    return kl_symmetric(densities(p, width=width), densities(q, width=width))


def paper_of_draws(p: Counts, q: Counts, *, width: float) -> F64:
    """As :func:`paper`, compiled: faster for thousands of draws, and equal but for rounding."""
    # Takes longer to load than a few hundred comparisons take otherwise.
    from filterdb.shift.compiled import kl_symmetric_floored

    p, q = (np.ascontiguousarray(side, dtype=np.float64) for side in (p, q))
    found, work = np.empty(p.shape[:-1]), np.empty((4, p.shape[-1]))
    rows = (-1, p.shape[-1])
    kl_symmetric_floored(p.reshape(rows), q.reshape(rows), width, _FLOOR, work, found.reshape(-1))
    return found


def jensen_shannon(p: Counts, q: Counts, *, width: float) -> F64:  # noqa: ARG001
    """Jensen-Shannon divergence in nats: at most log 2, and no floor is needed."""
    a, b = _shares(p), _shares(q)
    middle = (a + b) / 2
    divergence = (rel_entr(a, middle) + rel_entr(b, middle)).sum(axis=-1) / 2
    return np.asarray(np.maximum(divergence, 0))


def wasserstein(p: Counts, q: Counts, *, width: float) -> F64:
    """Wasserstein-1 distance in units of the coefficients: how far the mass has to move."""
    gap = np.cumsum(_shares(p) - _shares(q), axis=-1)
    return np.asarray(np.abs(gap[..., :-1]).sum(axis=-1) * width)


@dataclass(frozen=True, slots=True)
class Measure:
    """A way to compare two groups.

    Parameters
    ----------
    name
        What it is called in configurations and results.
    component
        Compares counts along their last axis, one component at a time.
    kinked
        It is a sum of absolute values, whose bootstrap draws show too little of the bias.
    of_draws
        The same as ``component`` but for rounding, for thousands of pairs of one shape.
    """

    name: str
    component: Callable[..., F64]
    kinked: bool = False
    of_draws: Callable[..., F64] | None = None

    def __call__(self, p: Counts, q: Counts, *, weights: F64, width: float) -> F64:
        """Compare stacks of groups (..., components, bins), which broadcast against each other.

        Parameters
        ----------
        p, q
            Counts.
        weights
            Weight of each component: its explained variance ratio.
        width
            Width of a bin.
        """
        return np.asarray((self.component(p, q, width=width) * weights).sum(axis=-1))

    def drawn(self, p: F64, q: F64, *, weights: F64, width: float) -> F64:
        """Compare thousands of draws (draws, components, bins), each with its counterpart.

        Parameters
        ----------
        p, q, weights, width
            As for a call.
        """
        if self.of_draws is not None:
            return np.asarray((self.of_draws(p, q, width=width) * weights).sum(axis=-1))
        step = max(1, _CACHE // p[:1].nbytes)
        parts = ((p[start : start + step], q[start : start + step]) for start in range(0, len(p), step))
        return np.concatenate([self(*part, weights=weights, width=width) for part in parts])


_MEASURES = {
    one.name: one
    for one in (
        Measure("paper", paper, of_draws=paper_of_draws),
        Measure("jensen_shannon", jensen_shannon),
        Measure("wasserstein", wasserstein, kinked=True),
    )
}
MEASURES = tuple(_MEASURES)
"""Names of all measures."""


def measure(name: str) -> Measure:
    """Return a measure by its name."""
    if name not in _MEASURES:
        close = nearest(name, MEASURES)
        raise UsageError(
            f"there is no measure {name!r}",
            expected=f"one of {', '.join(MEASURES)}",
            hint=f"did you mean {close!r}?" if close else None,
        )
    return _MEASURES[name]


def pairwise(
    counts: Counts, *, weights: F64, width: float, by: str = "paper", memory: int = MEMORY
) -> tuple[F64, NDArray[np.intp], NDArray[np.intp]]:
    """Compare every two groups, of one set of groups or of many replicates of it.

    Parameters
    ----------
    counts
        (..., groups, components, bins).
    weights
        Weight of each component.
    width
        Width of a bin.
    by
        Name of the measure.
    memory
        Bytes of temporary arrays; it changes no bit of the result.

    Returns
    -------
        The distances (..., pairs), and the first and second group of each pair: the upper triangle.
    """
    compare = measure(by)
    *outer, groups, components, bins = counts.shape
    a, b = np.triu_indices(groups, k=1)
    stack = counts.reshape(math.prod(outer), groups, components, bins)
    found = np.empty((len(stack), len(a)))
    step = max(1, memory // (8 * _TEMPORARIES * components * bins))
    for start in range(0, found.size, step):
        replicate, pair = np.divmod(np.arange(start, min(start + step, found.size)), len(a))
        p, q = stack[replicate, a[pair]], stack[replicate, b[pair]]
        found.reshape(-1)[start : start + step] = compare(p, q, weights=weights, width=width)
    return found.reshape(*outer, len(a)), a, b


@dataclass(frozen=True, slots=True)
class ShiftMatrix:
    """D between every two groups of an axis.

    Parameters
    ----------
    groups
        Names of the groups, in the order of rows and columns.
    values
        D, symmetric, zero on the diagonal; NaN beside a group without filters.
    sizes
        How many filters each group has, or their weight.
    measure
        Name of the measure.
    """

    groups: tuple[str, ...]
    values: F64
    sizes: F64
    measure: str = "paper"

    def frame(self) -> pd.DataFrame:
        """Return the matrix as a table with the groups as index and columns."""
        names = list(self.groups)
        return pd.DataFrame(self.values, index=pd.Index(names, dtype="str"), columns=names)

    def pairs(self) -> pd.DataFrame:
        """Return the upper triangle in long form."""
        a, b = np.triu_indices(len(self.groups), k=1)
        names = np.array(self.groups, dtype=object)
        frame = pd.DataFrame({"group_a": names[a], "group_b": names[b], "D": self.values[a, b]})
        return frame.astype({"group_a": "str", "group_b": "str"})


def shift_matrix(
    groups: Sequence[str],
    counts: Counts,
    *,
    weights: F64,
    width: float,
    ordered: bool = False,
    by: str = "paper",
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
        Keep the order of the groups, instead of ascending column mean; groups without filters come last.
    by
        Name of the measure.
    """
    distances, *_ = pairwise(counts, weights=weights, width=width, by=by)
    sizes = counts[:, 0].sum(axis=-1).astype(np.float64)
    return arrange(groups, distances, sizes, ordered=ordered, by=by)


def arrange(
    groups: Sequence[str], distances: F64, sizes: F64, *, ordered: bool = False, by: str = "paper"
) -> ShiftMatrix:
    """Make a matrix of the distances of all pairs, in the order of its rows.

    Parameters
    ----------
    groups
        Names.
    distances
        D of every pair, the upper triangle row by row; NaN where it is not known.
    sizes
        Size of each group.
    ordered
        Keep the order of the groups, instead of ascending column mean; groups without filters come last.
    by
        Name of the measure.
    """
    values = np.zeros((len(groups), len(groups)))
    a, b = np.triu_indices(len(groups), k=1)
    values[a, b] = values[b, a] = distances
    known = ~np.isnan(values)
    np.fill_diagonal(known, val=False)
    compared = known.any(axis=0)
    mean = np.full(len(groups), np.inf)
    mean[compared] = np.nansum(values[:, compared], axis=0) / max(1, np.count_nonzero(compared))
    order = np.arange(len(groups)) if ordered else np.lexsort((mean, sizes == 0))
    names = tuple(groups[i] for i in order)
    return ShiftMatrix(names, values[np.ix_(order, order)], sizes[order], by)


def cross(
    p: Counts, q: Counts, *, weights: F64, width: float, by: str = "paper", memory: int = MEMORY
) -> F64:
    """Compare every group of one set with every group of another, in the same coordinates.

    Parameters
    ----------
    p, q
        Groups x components x bins.
    weights
        Weight of each component.
    width
        Width of a bin.
    by
        Name of the measure.
    memory
        Bytes of temporary arrays; it changes no bit of the result.
    """
    compare = measure(by)
    found = np.empty((len(p), len(q)))
    step = max(1, memory // (8 * _TEMPORARIES * p[0].size)) if len(p) else 1
    for start in range(0, found.size, step):
        a, b = np.divmod(np.arange(start, min(start + step, found.size)), len(q))
        found.reshape(-1)[start : start + step] = compare(p[a], q[b], weights=weights, width=width)
    return found


def _shares(counts: Counts, width: float = 1) -> F64:
    total = _sums(counts)
    return np.asarray(counts * (1 / np.where(total > 0, total * width, np.nan)))


def _sums(values: Counts) -> F64:
    """Sum along the last axis, and keep it; for short rows this is twice as fast as ``sum``."""
    return np.asarray(np.einsum("...b->...", values, dtype=np.float64)[..., None])
