"""Densities: the streaming one is KDEpy's own, and the one from bins agrees with it."""

from __future__ import annotations

import numpy as np
import pytest
from drawings import HIGH, LOW, coefficient_sets
from KDEpy import FFTKDE
from KDEpy.bw_selection import silvermans_rule

from filterdb.figures import binned_densities, densities
from filterdb.figures.density import (
    bin_linearly,
    grid_over,
    quartile_distance,
    silverman,
    smoothed,
    spread_bins,
)

GRID = grid_over(LOW, HIGH)


def masses_of(values: np.ndarray, blocks: int = 7) -> np.ndarray:
    return sum(bin_linearly(part, GRID) for part in np.array_split(values, blocks))


def area_between(a: np.ndarray, b: np.ndarray) -> float:
    """Half the area between two densities: 0 where they are one, 1 where they have nothing in common."""
    return float(np.abs(a - b).sum() * (GRID[1] - GRID[0]) / 2)


def test_binning_block_by_block_and_smoothing_at_the_end_is_fftkde_of_all_values_at_once() -> None:
    for values in coefficient_sets(1)[0]:
        whole = FFTKDE(bw=0.07).fit(values).evaluate(GRID)
        assert smoothed(masses_of(values), GRID, 0.07) == pytest.approx(whole, abs=1e-12)


def test_mass_is_kept_and_values_outside_of_the_grid_are_left_out() -> None:
    values = np.array([-1.0, 0.25, 2.0, 99.0, -99.0])
    assert bin_linearly(values, GRID).sum() == pytest.approx(3)
    assert bin_linearly(np.array([50.0]), GRID).sum() == 0


def test_the_bandwidth_is_kdepys_silverman_without_the_values() -> None:
    for values in coefficient_sets(2)[1]:
        masses = masses_of(values)
        found = silverman(len(values), values.std(ddof=1), quartile_distance(masses, GRID))
        assert found == pytest.approx(silvermans_rule(values[:, None]), rel=2e-3)


def test_the_density_of_every_filter_and_that_of_the_bins_agree() -> None:
    sets = coefficient_sets(3, size=20_000)
    counts = np.array([[np.histogram(v, 70, (LOW, HIGH))[0] for v in one] for one in sets])
    deviations = np.array([[v.std(ddof=1) for v in one] for one in sets])
    exact = densities(np.array([[masses_of(v) for v in one] for one in sets]), GRID, deviations)
    binned = binned_densities(counts, LOW, HIGH, deviations)
    gaps = [area_between(exact.values[i], binned.values[i]) for i in np.ndindex(3, 9)]
    assert max(gaps) < 0.015
    assert exact.exact
    assert not binned.exact
    # Bins that were counted over another range would be seen.
    moved = binned_densities(counts, LOW + 0.3, HIGH + 0.3, deviations)
    # On the grid of its own, which begins elsewhere: so compare where the peaks are.
    peaks = [one.grid[one.values[0, 0].argmax()] for one in (exact, moved)]
    assert abs(peaks[1] - peaks[0]) > 0.2


def test_a_density_has_the_area_one_and_no_comb_even_where_filters_are_many() -> None:
    edges = np.linspace(LOW, HIGH, 71)
    shape = np.exp(-(((edges[:-1] + edges[1:]) / 2) ** 2) / 2)
    counts = np.round(shape / shape.sum() * 1e8).astype(np.int64)[None, None]
    found = binned_densities(counts, LOW, HIGH, np.array([[1.0]]))
    density, step = found.values[0, 0], GRID[1] - GRID[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    rising = np.diff(density)[density[1:] > 1e-4 * density.max()]
    assert np.count_nonzero(np.diff(np.sign(rising))) == 1, "one peak"


def test_mass_stays_in_its_bin() -> None:
    counts = np.zeros(70, np.int64)
    counts[[10, 40]] = 300, 700
    spread = spread_bins(counts, LOW, HIGH, GRID)
    edges = np.linspace(LOW, HIGH, 71)
    assert spread.sum() == pytest.approx(1000)
    inside = (edges[10] - 0.01 < GRID) & (edges[11] + 0.01 > GRID)
    assert spread[inside].sum() == pytest.approx(300, rel=1e-6)


@pytest.mark.parametrize(
    "values", [np.zeros(50), np.array([0.5]), np.concatenate([np.zeros(900), np.linspace(-1, 1, 100)])]
)
def test_values_that_hardly_vary_have_a_density_too(values: np.ndarray) -> None:
    found = densities(masses_of(values)[None, None], GRID, np.array([[values.std()]]))
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.bandwidth).all()
    assert found.bandwidth.min() >= GRID[1] - GRID[0]


def test_a_group_without_a_coefficient_has_no_density() -> None:
    counts = np.zeros((2, 1, 70), np.int64)
    counts[0, 0, 30] = 5
    found = binned_densities(counts, LOW, HIGH, np.zeros((2, 1)))
    assert np.isfinite(found.values[0]).all()
    assert np.isnan(found.values[1]).all()
