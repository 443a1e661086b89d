"""Distances between groups: held to the definitions, and to what a distance must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

import reference
from filterdb.errors import UsageError
from filterdb.shift.divergence import MEASURES, densities, measure, pairwise, shift_matrix

COMPONENTS, BINS, WIDTH = 3, 7, 0.25
WEIGHTS = np.array([0.5, 0.3, 0.2])

cells = st.one_of(st.just(0), st.integers(1, 10_000_000))
counted = arrays(np.int64, (4, COMPONENTS, BINS), elements=cells).map(lambda c: c + (np.arange(BINS) == 3))
by_name = pytest.mark.parametrize("by", MEASURES)


def by_definition(by: str, p: np.ndarray, q: np.ndarray) -> float:
    if by == "paper":
        return reference.drift(p, q, WEIGHTS, WIDTH)
    total, places = 0.0, WIDTH * np.arange(BINS)
    for a, b, weight in zip(p, q, WEIGHTS, strict=True):
        if by == "wasserstein":
            total += weight * wasserstein_distance(places, places, a, b)
            continue
        a, b = a / a.sum(), b / b.sum()
        for one in (a, b):
            total += (
                weight * sum(x * np.log(2 * x / (y + z)) for x, y, z in zip(one, a, b, strict=True) if x) / 2
            )
    return total


@by_name
@given(counts=counted)
def test_every_measure_is_its_definition(by: str, counts: np.ndarray) -> None:
    found, a, b = pairwise(counts, weights=WEIGHTS, width=WIDTH, by=by)
    expected = [by_definition(by, counts[i], counts[j]) for i, j in zip(a, b, strict=True)]
    assert np.allclose(found, expected, rtol=1e-10, atol=1e-14)


@by_name
@given(counts=counted)
def test_a_measure_is_symmetric_not_negative_and_zero_for_the_same(by: str, counts: np.ndarray) -> None:
    p, q = counts[:2], counts[2:]
    forth = measure(by)(p, q, weights=WEIGHTS, width=WIDTH)
    assert (forth >= 0).all()
    assert np.array_equal(forth, measure(by)(q, p, weights=WEIGHTS, width=WIDTH))
    assert np.array_equal(measure(by)(p, p, weights=WEIGHTS, width=WIDTH), np.zeros(2))
    assert np.allclose(measure(by)(p * 3, q, weights=WEIGHTS, width=WIDTH), forth, rtol=1e-9, atol=1e-14)


@by_name
@given(counts=counted, scale=st.sampled_from([1, 1e-9, 1 / 3]))
def test_draws_are_compared_as_single_groups_are(by: str, counts: np.ndarray, scale: float) -> None:
    p, q = scale * counts[:2], scale * counts[2:]
    drawn = measure(by).drawn(p, q, weights=WEIGHTS, width=WIDTH)
    np.testing.assert_allclose(drawn, measure(by)(p, q, weights=WEIGHTS, width=WIDTH), rtol=1e-13, atol=1e-15)
    assert (drawn >= 0).all()
    assert np.array_equal(drawn, measure(by).drawn(q, p, weights=WEIGHTS, width=WIDTH))
    assert np.array_equal(measure(by).drawn(p, p, weights=WEIGHTS, width=WIDTH), np.zeros(2))


def test_a_draw_without_filters_has_no_distance_and_leaves_others_alone() -> None:
    p = np.arange(2.0 * COMPONENTS * BINS).reshape(2, COMPONENTS, BINS)
    q = p[::-1].copy()
    p[0] = 0
    drawn = measure("paper").drawn(p, q, weights=WEIGHTS, width=WIDTH)
    assert np.isnan(drawn[0])
    assert drawn[1] == pytest.approx(by_definition("paper", p[1], q[1]), rel=1e-12)


@pytest.mark.parametrize("ratio", [1 + 1e-12, 1.4999, 1.5, 2**0.5, 2, 3, 2.0**20, 1e7])
def test_logarithms_of_any_ratio_are_right_in_draws(ratio: float) -> None:
    p, q = np.array([[1.0, 1, ratio]]), np.array([[ratio, 1, 1.0]])
    share = 1 / (2 + ratio)
    expected = 2 * (ratio - 1) * share * np.log(ratio)
    drawn = measure("paper").drawn(p[:, None], q[:, None], weights=np.ones(1), width=1.0)
    assert drawn[0] == pytest.approx(expected, rel=1e-14 + 1e-15 / (ratio - 1))


@given(counts=counted)
def test_jensen_shannon_is_at_most_log_two(counts: np.ndarray) -> None:
    found, *_ = pairwise(counts, weights=WEIGHTS, width=WIDTH, by="jensen_shannon")
    assert (found <= np.log(2) + 1e-12).all()


def test_wasserstein_is_how_far_the_mass_moves() -> None:
    p, q = np.zeros((2, COMPONENTS, BINS), int)
    p[:, 1], q[:, 5] = 10, 3
    assert measure("wasserstein")(p, q, weights=WEIGHTS, width=WIDTH) == pytest.approx(4 * WIDTH)


def test_an_empty_bin_holds_epsilon_as_a_density() -> None:
    found = densities(np.array([0, 4, 0, 4]), width=0.5)
    eps = float(np.finfo(np.float32).eps)
    assert found == pytest.approx(np.array([eps, 1, eps, 1]) / (2 + 2 * eps), rel=1e-15)


def test_weights_below_one_filter_are_shares_all_the_same() -> None:
    counts = np.array([1.0, 3.0])
    assert np.allclose(densities(counts / 1000, width=1), densities(counts, width=1), rtol=1e-14)


@by_name
@given(counts=counted, memory=st.integers(1, 20_000))
def test_replicates_and_chunks_change_no_bit(by: str, counts: np.ndarray, memory: int) -> None:
    stack = np.stack([counts, counts[::-1], counts * 2])
    options = {"weights": WEIGHTS, "width": WIDTH, "by": by}
    together, *_ = pairwise(stack, **options, memory=memory)
    apart = [pairwise(one, **options)[0] for one in stack]
    assert together.shape == (3, 6)
    assert np.array_equal(together, apart)


@by_name
def test_the_matrix_is_ordered_by_column_mean(by: str) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (5, COMPONENTS, BINS))
    found = shift_matrix("abcde", counts, weights=WEIGHTS, width=WIDTH, by=by)
    assert (np.diff(found.values.mean(axis=0)) >= 0).all()
    kept = shift_matrix("abcde", counts, weights=WEIGHTS, width=WIDTH, by=by, ordered=True)
    assert kept.groups == tuple("abcde")
    order = [kept.groups.index(group) for group in found.groups]
    assert np.array_equal(found.values, kept.values[np.ix_(order, order)])
    assert np.array_equal(found.sizes, counts[order, 0].sum(axis=1))
    assert found.measure == by
    assert np.array_equal(found.values, found.values.T)


def test_the_long_form_is_the_upper_triangle() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (3, COMPONENTS, BINS))
    matrix = shift_matrix(["x", "y", "z"], counts, weights=WEIGHTS, width=WIDTH, ordered=True)
    pairs = matrix.pairs()
    assert pairs[["group_a", "group_b"]].values.tolist() == [["x", "y"], ["x", "z"], ["y", "z"]]
    assert pairs["D"].tolist() == matrix.values[np.triu_indices(3, 1)].tolist()


def test_a_group_without_filters_has_no_distance_and_comes_last() -> None:
    counts = np.random.default_rng(0).integers(1, 9, (3, COMPONENTS, BINS))
    full = shift_matrix(["a", "c"], counts[[0, 2]], weights=WEIGHTS, width=WIDTH)
    counts[1] = 0
    found = shift_matrix(["a", "empty", "c"], counts, weights=WEIGHTS, width=WIDTH)
    assert found.groups == (*full.groups, "empty")
    assert np.isnan(found.values[2, :2]).all()
    assert np.array_equal(found.values[:2, :2], full.values)


@pytest.mark.parametrize("groups", [0, 1])
def test_fewer_than_two_groups_have_no_pairs(groups: int) -> None:
    counts = np.ones((groups, COMPONENTS, BINS), int)
    found = shift_matrix(["a"][:groups], counts, weights=WEIGHTS, width=WIDTH)
    assert found.values.shape == (groups, groups)
    assert len(found.pairs()) == 0


def test_an_unknown_measure_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'wasserstein'"):
        measure("wasserstien")
