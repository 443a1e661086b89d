"""Which layers one is compared with, and where it stands among them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from filterdb.quality import find_peers, rank


def deep(*deciles: int) -> np.ndarray:
    return np.array(deciles, np.int64)


def test_peers_are_of_the_same_decile_and_at_most_twice_as_large_or_half_as_large() -> None:
    sizes = np.array([49, 50, 99, 100, 200, 201, 100])
    found = find_peers(100, 3, sizes, deep(3, 3, 3, 3, 3, 3, 4), least=4)
    assert (found.rows.tolist(), found.factor) == ([1, 2, 3, 4], 2)


def test_where_they_are_too_few_the_factor_doubles_until_they_are_enough() -> None:
    sizes = np.array([100, 300, 25, 850, 5000])
    found = find_peers(100, 0, sizes, deep(0, 0, 0, 0, 0), least=3)
    assert (found.rows.tolist(), found.factor) == ([0, 1, 2], 4)
    assert find_peers(100, 0, sizes, deep(0, 0, 0, 0, 0), least=4).factor == 16


def test_where_the_decile_has_too_few_all_of_it_are_peers() -> None:
    sizes = np.array([1, 10_000, 100])
    found = find_peers(100, 2, sizes, deep(2, 2, 5), least=3)
    assert (found.rows.tolist(), found.factor) == ([0, 1], math.inf)
    assert len(find_peers(100, 7, sizes, deep(2, 2, 5), least=3).rows) == 0


def test_a_layer_of_unknown_depth_has_peers_of_any_depth() -> None:
    found = find_peers(8, None, np.array([8, 9, 100]), deep(0, 9, -1), least=2)
    assert (found.rows.tolist(), found.factor) == ([0, 1], 2)


def test_layers_without_filters_are_like_the_smallest() -> None:
    assert len(find_peers(5, 2, np.array([0, 0, 0]), deep(2, 2, 2), least=3).rows) == 3
    assert find_peers(0, 2, np.array([1, 2, 900]), deep(2, 2, 2), least=2).rows.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "others", "percentile"),
    [
        (3.0, [1, 2, 4, 5], 50),
        (0.0, [0, 0, 0, 1], 37.5),
        (9.0, [1, 2, math.nan], 100),
        (0.0, [1, 2], 0),
        (math.nan, [1, 2], math.nan),
        (1.0, [math.nan], math.nan),
        (1.0, [], math.nan),
    ],
)
def test_equal_values_count_half_and_undefined_ones_not_at_all(
    value: float, others: list[float], percentile: float
) -> None:
    found = rank(value, np.array(others, np.float64))
    assert found.percentile == pytest.approx(percentile, nan_ok=True)
