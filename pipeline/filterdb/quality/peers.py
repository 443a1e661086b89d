"""A layer among its peers: the layers of other models that lie as deep and are about as large."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_PEERS: Final = 20
"""How many peers a layer has at least, if there are so many at its depth."""

NEAR: Final = 2.0
"""Layers are about as large if they have up to this many times as many filters, or as few."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The layers that one is compared with.

    Parameters
    ----------
    rows
        Their places.
    factor
        By which factor their number of filters differs at most; infinite where any size was taken.
    """

    rows: NDArray[np.int64]
    factor: float


def find_peers(
    n: int,
    decile: int | None,
    sizes: NDArray[np.int64],
    deciles: NDArray[np.int64],
    *,
    least: int = LEAST_PEERS,
) -> Peers:
    """Find the layers of the same depth decile whose number of filters is similar.

    Similar means within a factor of :data:`NEAR`. Where these are fewer than ``least``, the factor is doubled
    until they are enough; where the decile has fewer than ``least`` layers, all of them are peers.

    Parameters
    ----------
    n
        How many filters the layer has.
    decile
        Its depth decile; none where its depth is not known, and then layers of any depth are peers.
    sizes, deciles
        Filters and depth decile of each layer that may be a peer.
    least
        How many peers are enough.
    """
    rows = np.arange(len(sizes)) if decile is None else np.flatnonzero(deciles == decile)
    if len(rows) < least:
        return Peers(rows, math.inf)
    # Whole numbers: n * factor is exact, and so is the border. A layer without filters is like one
    # of a single filter: results may come from anywhere.
    ours, theirs = max(n, 1), np.maximum(sizes[rows], 1)
    smaller, larger = np.minimum(theirs, ours), np.maximum(theirs, ours)
    factor = NEAR
    while np.count_nonzero(larger <= smaller * factor) < least:
        factor *= 2
    return Peers(rows[larger <= smaller * factor], factor)


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a value stands among others, in shares of them.

    Parameters
    ----------
    below, above
        Share of the others that are less, and that are more.
    """

    below: float
    above: float

    @property
    def percentile(self) -> float:
        """Percentage of the others that are less, where equal ones count half; NaN where there is none."""
        return 50 * (1 + self.below - self.above)


def rank(value: float, others: NDArray[np.float64]) -> Rank:
    """Find where a value stands among others; those that are NaN are left out.

    Parameters
    ----------
    value
        A metric of a layer.
    others
        The same of its peers.
    """
    known = others[~np.isnan(others)]
    if math.isnan(value) or not len(known):
        return Rank(math.nan, math.nan)
    return Rank(
        np.count_nonzero(known < value) / len(known),
        np.count_nonzero(known > value) / len(known),
    )
