"""Densities of coefficients, apart from any drawing: from the bins of the cube, or of every filter.

The exact way bins coefficients linearly on a fine grid, block by block, and smooths the grid at the end:
this is what KDEpy's FFTKDE does with data that is in memory, so that no more than the grid is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from KDEpy import FFTKDE
from KDEpy.binning import linear_binning
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

F64 = NDArray[np.float64]

POINTS: Final = 1024
"""Points of the grid that densities are known on."""

_MARGIN: Final = 0.06
"""Room beside the range of coefficients, as a share of it: a smoothed density ends beyond the last value."""

_QUARTILES: Final = 1.3489795003921634
"""Distance of the quartiles of a standard normal distribution."""


def grid_over(low: float, high: float, *, points: int = POINTS) -> F64:
    """Return the points on which the densities of coefficients in a range are computed."""
    margin = _MARGIN * (high - low)
    return np.linspace(low - margin, high + margin, points)


@dataclass(frozen=True, slots=True)
class Densities:
    """Densities of coefficients.

    Parameters
    ----------
    grid
        The points that they are known on.
    values
        Groups x components x points; NaN where a group has no coefficient.
    bandwidth
        Of the smoothing: groups x components.
    exact
        Whether every filter was read, rather than the bins of the cube.
    """

    grid: F64
    values: F64
    bandwidth: F64
    exact: bool


def bin_linearly(values: F64, grid: F64) -> F64:
    """Share every value between the two points of a grid that it lies between.

    Parameters
    ----------
    values
        What is binned; what lies outside of the grid is left out.
    grid
        Equidistant points.
    """
    inside = values[(values > grid[0]) & (values < grid[-1])]
    if not len(inside):
        return np.zeros(len(grid))
    return np.asarray(linear_binning(inside, grid)).reshape(-1) * len(inside)


def spread_bins(counts: NDArray[np.int64], low: float, high: float, grid: F64) -> F64:
    """Move counts of wide bins to a fine grid: the mass stays in its bin, and runs smoothly across borders.

    Parameters
    ----------
    counts
        Counts of equal bins.
    low, high
        The range that they divide.
    grid
        Equidistant points, which reach beyond the range.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    step = grid[1] - grid[0]
    borders = np.append(grid - step / 2, grid[-1] + step / 2)
    smooth = PchipInterpolator(edges, cumulative)(np.clip(borders, low, high))
    return np.asarray(np.clip(np.diff(smooth), 0, None))


def silverman(n: float, deviation: float, quartiles: float) -> float:
    """Return Silverman's bandwidth, as KDEpy computes it.

    Parameters
    ----------
    n
        Number of values.
    deviation
        Their standard deviation.
    quartiles
        Distance between their quartiles.
    """
    if n < 2:
        return 1.0
    sigma = min(deviation, quartiles / _QUARTILES) or deviation
    return float(sigma * (n * 3 / 4) ** (-1 / 5))


def quartile_distance(masses: F64, grid: F64) -> float:
    """Return the distance between the quartiles of masses on a grid."""
    step = grid[1] - grid[0]
    cumulative = np.concatenate([[0.0], np.cumsum(masses)]) / masses.sum()
    borders = np.append(grid - step / 2, grid[-1] + step / 2)
    rising = np.concatenate([[True], np.diff(cumulative) > 0])
    first, third = np.interp([0.25, 0.75], cumulative[rising], borders[rising])
    return float(third - first)


def smoothed(masses: F64, grid: F64, bandwidth: float) -> F64:
    """Return the density of masses on a grid, smoothed with a Gaussian by KDEpy's FFTKDE."""
    held = masses > 0
    data, weights = grid[held], masses[held]
    # FFTKDE wants room on either side of the data.
    padded = _padded(grid)
    return np.asarray(FFTKDE(bw=bandwidth).fit(data, weights).evaluate(padded))[1:-1]


def densities(
    masses: F64, grid: F64, deviations: F64, *, least: float = 0.0, exact: bool = True
) -> Densities:
    """Smooth the masses of groups with Silverman's bandwidth.

    Parameters
    ----------
    masses
        Groups x components x points of the grid.
    grid
        Equidistant points.
    deviations
        Standard deviation of the coefficients: groups x components.
    least
        The bandwidth is no smaller: masses that come from wide bins know nothing finer.
    exact
        Whether the masses come from every filter.
    """
    groups, count, points = masses.shape
    values = np.full((groups, count, points), np.nan)
    bandwidths = np.full((groups, count), np.nan)
    floor = max(least, grid[1] - grid[0])
    for group, i in np.ndindex(groups, count):
        total = masses[group, i].sum()
        if total <= 0:
            continue
        wanted = silverman(
            float(total), float(deviations[group, i]), quartile_distance(masses[group, i], grid)
        )
        bandwidths[group, i] = used = max(wanted, floor)
        values[group, i] = smoothed(masses[group, i], grid, used)
    return Densities(grid, values, bandwidths, exact)


def binned_densities(counts: NDArray[np.int64], low: float, high: float, deviations: F64) -> Densities:
    """Return densities from the counts of a cube, without reading a filter.

    Parameters
    ----------
    counts
        Groups x components x bins.
    low, high
        The range that the bins divide.
    deviations
        Standard deviation of the coefficients: groups x components.
    """
    grid = grid_over(low, high)
    masses = np.stack([[spread_bins(one, low, high, grid) for one in group] for group in counts])
    return densities(masses, grid, deviations, least=(high - low) / counts.shape[-1] / 2, exact=False)


def _padded(grid: F64) -> F64:
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    return np.linspace(grid[0] - step, grid[-1] + step, len(grid) + 2)
