"""Shapes that the coefficients of a layer or group take, apart from any drawing.

The paper tells four by eye: the sun, a cloud much like a Gaussian's; spikes, where filters gather in a few
hot spots and hardly vary; symbols, of several heaps or otherwise far from a Gaussian; and the point, where
most coefficients lie in the centre because filters are zero. The rule here is ours, and so are its
thresholds: it measures these four descriptions on a histogram of the first two coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import fast_histogram
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

Phenotype = Literal["sun", "spikes", "symbols", "point", "few"]
PHENOTYPES: Final[tuple[Phenotype, ...]] = ("sun", "spikes", "symbols", "point")

BINS: Final = 512
REACH: Final = 1.1
"""Half the side of a scatter density, as a multiple of the length that a scaled filter can have: its values
are at most 1, so that it is 3.3 for 3x3 filters."""

_COARSE: Final = ((4_000, 16), (40_000, 32))
"""Bins a side in which the area is measured, for fewer filters than this; 64 for more."""


def reach(values: int) -> float:
    """Return how far the square of a scatter density goes from zero, for filters of so many values."""
    return REACH * math.sqrt(values)


def pair_counts(x: F64, y: F64, limit: float, *, bins: int = BINS) -> NDArray[np.uint32]:
    """Count pairs of coefficients in a square, rows by y and columns by x.

    Parameters
    ----------
    x, y
        The coefficients.
    limit
        The square goes from minus this to this; what lies outside is not counted.
    bins
        Bins a side.
    """
    found = fast_histogram.histogram2d(y, x, bins=bins, range=((-limit, limit), (-limit, limit)))
    return np.asarray(found).astype(np.uint32)


def reduced(counts: NDArray[Any], side: int, *, how: Any = np.sum) -> NDArray[Any]:
    """Join bins of a square to fewer, larger ones.

    Parameters
    ----------
    counts
        (..., bins, bins).
    side
        Bins a side that are wanted; as many as divide the bins evenly, and no more.
    how
        Joins what falls together: ``numpy.sum``, or ``numpy.max`` for what is only looked at.
    """
    bins = counts.shape[-1]
    side = next(one for one in range(min(side, bins), 0, -1) if bins % one == 0)
    factor = bins // side
    blocks = counts.reshape(*counts.shape[:-2], side, factor, side, factor)
    return np.asarray(how(how(blocks, axis=-1), axis=-2))


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a phenotype begins.

    Parameters
    ----------
    fewest
        Filters below which nothing is said.
    radius, centre
        Point: at least this share of the filters lies within this distance of the origin.
    hot
        Spikes: the filters cover at most this share of the area of a Gaussian of the same covariance.
    spread
        Symbols: they cover more than that, but at most this share.
    bimodality
        Symbols, too: a coefficient's bimodality coefficient is at least this; a uniform distribution has 5/9.
    """

    fewest: int = 1_000
    radius: float = 0.25
    centre: float = 0.5
    hot: float = 0.15
    spread: float = 0.5
    bimodality: float = 0.6


@dataclass(frozen=True, slots=True)
class Shape:
    """What the first two coefficients of a set of filters look like.

    Parameters
    ----------
    filters
        How many filters.
    centre
        Share of them near the origin.
    spread
        Area that they cover, as a share of that of a Gaussian of the same covariance.
    bimodality
        The larger of the two bimodality coefficients.
    phenotype
        The name of it; ``few`` where there are too few filters to say.
    """

    filters: int
    centre: float
    spread: float
    bimodality: float
    phenotype: Phenotype


def shape_of(counts: NDArray[Any], limit: float, rule: Rule = Rule()) -> Shape:
    """Name the shape of a scatter density.

    Parameters
    ----------
    counts
        Counts of the first two coefficients in a square.
    limit
        Where the square ends.
    rule
        Thresholds.
    """
    total = int(counts.sum())
    if total < rule.fewest:
        return Shape(total, math.nan, math.nan, math.nan, "few")
    mass = counts / total
    bins = len(mass)
    places = (np.arange(bins) + 0.5) / bins * 2 * limit - limit
    centre = float(mass[np.hypot(places[:, None], places) <= rule.radius].sum())
    spread = _spread(mass, places, total)
    bimodality = max(_bimodality(mass.sum(axis=axis), places) for axis in (0, 1))
    kind: Phenotype = "sun"
    if centre >= rule.centre:
        kind = "point"
    elif spread <= rule.hot:
        kind = "spikes"
    elif spread <= rule.spread or bimodality >= rule.bimodality:
        kind = "symbols"
    return Shape(total, centre, spread, bimodality, kind)


def _spread(mass: F64, places: F64, total: int) -> float:
    """Compare the area that a distribution covers, by its entropy, with a Gaussian's of its covariance."""
    wanted = next((bins for most, bins in _COARSE if total < most), 64)
    coarse = reduced(mass, min(wanted, len(mass)))
    side = (places[-1] - places[0]) / (len(places) - 1) * len(places) / len(coarse)
    held = coarse[coarse > 0]
    # Miller and Madow's correction: few filters in many bins look more gathered than they are.
    entropy = -float(held @ np.log(held)) + (len(held) - 1) / (2 * total)
    x, y = mass.sum(axis=0), mass.sum(axis=1)
    centred = [places - weights @ places for weights in (x, y)]
    both = centred[1] @ mass @ centred[0]
    # Sheppard's correction, the other way round: the bins themselves have a width.
    variances = [float(w @ c**2) + side**2 / 12 for w, c in zip((x, y), centred, strict=True)]
    determinant = max(variances[0] * variances[1] - both**2, 1e-300)
    gaussian = math.log(2 * math.pi * math.e * math.sqrt(determinant) / side**2)
    return math.exp(entropy - gaussian)


def _bimodality(weights: F64, places: F64) -> float:
    """Return (skewness² + 1) / kurtosis: 1/3 for a Gaussian, 5/9 for a uniform, 1 for two points."""
    centred = places - weights @ places
    second, third, fourth = (float(weights @ centred**power) for power in (2, 3, 4))
    if second <= 0 or fourth <= 0:
        return math.nan
    return (third**2 / second**3 + 1) / (fourth / second**2)
