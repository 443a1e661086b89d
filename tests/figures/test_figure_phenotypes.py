"""Phenotypes: what a person would call a sun, spikes, symbols and a point is called so."""

from __future__ import annotations

import numpy as np
import pytest
from drawings import shapes_of_four_kinds

from filterdb.figures import PHENOTYPES, pair_counts, shape_of
from filterdb.figures.phenotype import reach, reduced


@pytest.mark.parametrize("kind", PHENOTYPES)
@pytest.mark.parametrize("bins", [128, 512])
def test_each_phenotype_is_known_by_its_shape(kind: str, bins: int) -> None:
    counts = pair_counts(*shapes_of_four_kinds()[kind].T, 3.3, bins=bins)
    assert shape_of(counts, 3.3).phenotype == kind


@pytest.mark.parametrize("size", [1_200, 3_000, 100_000])
@pytest.mark.parametrize("spreads", [(1, 1), (1.1, 0.4), (0.4, 0.4)])
def test_a_gaussian_is_a_sun_of_spread_one_whatever_its_width_and_number(size: int, spreads: tuple) -> None:
    xy = np.random.default_rng(size).normal(size=(size, 2)) * spreads
    shape = shape_of(pair_counts(*xy.T, 3.3), 3.3)
    assert shape.phenotype == "sun"
    assert shape.spread == pytest.approx(1, abs=0.2)
    assert shape.bimodality == pytest.approx(1 / 3, abs=0.06)


def test_measures_are_what_their_names_say() -> None:
    two = np.array([[-1.0, 0.0], [1.0, 0.0]]).repeat(1000, axis=0)
    shape = shape_of(pair_counts(*two.T, 3.3), 3.3)
    assert shape.bimodality == pytest.approx(1, abs=0.01)
    half = np.array([[0.0, 0.0], [2.0, 2.0]]).repeat(1000, axis=0)
    assert shape_of(pair_counts(*half.T, 3.3), 3.3).centre == pytest.approx(0.5)


def test_too_few_filters_have_no_phenotype() -> None:
    shape = shape_of(pair_counts(*np.zeros((2, 999)), 3.3), 3.3)
    assert (shape.phenotype, shape.filters) == ("few", 999)
    assert np.isnan(shape.spread)


def test_pairs_are_counted_as_numpy_counts_them() -> None:
    xy = np.random.default_rng(0).normal(size=(5000, 2)) * 1.7
    found = pair_counts(*xy.T, 3.3, bins=64)
    square = np.linspace(-3.3, 3.3, 65)
    expected, *_ = np.histogram2d(xy[:, 1], xy[:, 0], bins=[square, square])
    assert np.array_equal(found, expected)
    assert found.sum() < 5000


def test_bins_are_joined_and_none_is_lost() -> None:
    counts = np.arange(64).reshape(8, 8)
    assert reduced(counts, 4).shape == (4, 4)
    assert reduced(counts, 3).shape == (2, 2), "what divides the bins evenly"
    assert reduced(counts, 4).sum() == counts.sum()
    assert reduced(counts, 2, how=np.max)[1, 1] == 63


def test_the_square_of_3x3_filters_is_the_papers() -> None:
    assert reach(9) == pytest.approx(3.3)
