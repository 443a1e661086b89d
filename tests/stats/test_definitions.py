"""Moments, basis, range and counts equal their definitions, on filters of every kind and number."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

import reference
from filter_kinds import KINDS, WITHOUT_VARIANCE, filters_of
from filterdb import stats
from filterdb.shift.divergence import measure
from filterdb.stats import Task
from filterdb.types import Filters, RowRange
from stats.measured import Measured, in_memory, measured

VARIED = [kind for kind in KINDS if kind not in WITHOUT_VARIANCE]
SIZES = [(1, 9), (2, 9), (255, 9), (256, 9), (513, 9), (300, 25), (300, 8), (300, 2), (300, 1)]
CASES = [
    *itertools.product(KINDS, SIZES),
    *itertools.product(("random", "trained", "large mean", "constant"), [(70_000, 9)]),
]
every_case = pytest.mark.parametrize(("kind", "size"), CASES)

EDGE = 1e-6
"""How far from the edge of a bin, in bins, a coefficient may be counted on the other side."""


@functools.cache
def case(kind: str, size: tuple[int, int]) -> tuple[Filters, Measured]:
    filters = filters_of(kind, *size)
    return filters, measured(filters)


def moments_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.astype(np.float64)
    mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
    return mean, (rows - mean).T @ (rows - mean)


@every_case
def test_moments_equal_their_definition(kind: str, size: tuple[int, int]) -> None:
    filters, found = case(kind, size)
    sets = {
        "raw": filters,
        "dense": filters[~reference.sparse(filters)],
        "scaled": reference.scaled(filters),
    }
    for name, rows in sets.items():
        moments = found.cube.moments(name)
        mean, scatter = moments_of(rows)
        assert moments.n == len(rows), name
        largest = float(np.abs(rows).max(initial=0))
        np.testing.assert_allclose(moments.mean, mean, rtol=1e-9, atol=1e-12 * largest, err_msg=name)
        # What float64 leaves of the centred squares of equal values is no variance.
        spread = np.sqrt(np.outer(scatter.diagonal(), scatter.diagonal())) + 1e-22 * len(rows) * largest**2
        assert (np.abs(moments.scatter - scatter) <= 1e-9 * spread).all(), name


@every_case
def test_mean_and_explained_variance_equal_their_definition(kind: str, size: tuple[int, int]) -> None:
    filters, found = case(kind, size)
    mean, _, explained = reference.basis(filters)
    np.testing.assert_allclose(found.basis.mean, mean, rtol=1e-9, atol=1e-15)
    if (filters == filters[0]).all():
        assert found.basis.explained.tolist() == [1 / size[1]] * size[1]
        return
    explained = np.pad(explained, (0, size[1] - len(explained)))
    # Components without variance explain what the rounding of the others leaves, not 0.
    np.testing.assert_allclose(found.basis.explained, explained, rtol=1e-9, atol=1e-15)


@every_case
def test_components_are_orthonormal_and_signed_by_their_first_largest_loading(
    kind: str, size: tuple[int, int]
) -> None:
    components = case(kind, size)[1].basis.components
    np.testing.assert_allclose(components @ components.T, np.eye(size[1]), atol=1e-12)
    for row in components:
        largest = np.abs(row).max() * (1 - 1e-9)
        assert next(loading for loading in row if abs(loading) >= largest) > 0


@pytest.mark.parametrize(
    "kind", ["random", "trained", "large mean", "sparse", "duplicates", "mixed magnitudes"]
)
@pytest.mark.parametrize("size", [(513, 9), (70_000, 9), (300, 25)])
def test_components_equal_their_definition(kind: str, size: tuple[int, int]) -> None:
    filters, found = case(kind, size)
    _, components, explained = reference.basis(filters)
    # An error in the moments turns a component by that error over its distance from the next one.
    gap = -np.diff(explained, append=0, prepend=2)
    tolerance = 1e-11 / np.minimum(gap[:-1], gap[1:])
    assert tolerance.max() < 1e-6
    assert (np.abs(found.basis.components - components).max(axis=1) < tolerance).all()


@every_case
def test_the_range_is_that_of_the_coefficients_that_are_counted(kind: str, size: tuple[int, int]) -> None:
    filters, found = case(kind, size)
    read, tasks, where = in_memory(filters), [Task(RowRange(0, size[0]), 1, False)], found.basis.coordinates
    low, high = stats.find_range(read, tasks, where).tolist()
    coefficients = reference.coefficients(filters, found.basis.mean, found.basis.components)
    assert (low, high) == pytest.approx((coefficients.min(), coefficients.max()), rel=1e-12, abs=1e-14)
    if low == high:
        return
    whole, above, below = (
        int(stats.count(read, tasks, where, *limits, 70).sum())
        for limits in [(low, high), (np.nextafter(low, 9), high), (low, np.nextafter(high, -9))]
    )
    # To the last bit: whoever moves one end inwards loses the extreme value, and nothing lies outside.
    assert whole == filters.size
    assert above < whole
    assert below < whole


@pytest.mark.parametrize("size", SIZES)
def test_filters_that_are_known_to_be_finite_are_scanned_to_the_same_bits(size: tuple[int, int]) -> None:
    filters, found = case("trained", size)
    known, unknown = (Task(RowRange(0, size[0]), 1, finite) for finite in (True, False))
    read, where = in_memory(filters), found.basis.coordinates
    assert (
        stats.find_range(read, [known], where).tolist() == stats.find_range(read, [unknown], where).tolist()
    )
    limits = found.cube.low, found.cube.low + 70 * found.cube.bin_width
    counts = [stats.count(read, [task], where, *limits, 70) for task in (known, unknown)]
    assert np.array_equal(*counts)


@every_case
def test_counts_equal_the_histogram_but_at_the_edges_of_bins(kind: str, size: tuple[int, int]) -> None:
    filters, found = case(kind, size)
    low, width, counts = found.cube.low, found.cube.bin_width, found.cube.counts[0].astype(np.int64)
    coefficients = reference.coefficients(filters, found.basis.mean, found.basis.components)
    assert (counts.sum(axis=1) == len(filters)).all()
    inner = np.arange(1, 70)
    for place, column in zip(counts.cumsum(axis=1)[:, :-1], np.sort(coefficients.T), strict=True):
        at_least = np.searchsorted(column, low + (inner - EDGE) * width, side="left")
        at_most = np.searchsorted(column, low + (inner + EDGE) * width, side="right")
        assert (at_least <= place).all()
        assert (place <= at_most).all()


@pytest.mark.parametrize("kind", VARIED)
@pytest.mark.parametrize("size", [(513, 9), (300, 25)])
def test_a_distance_equals_its_definition_from_the_filters_on(kind: str, size: tuple[int, int]) -> None:
    filters = filters_of(kind, *size)
    third = len(filters) // 3
    mean, components, explained = reference.basis(filters)
    coefficients = reference.coefficients(filters, mean, components)
    low, high = coefficients.min(), coefficients.max()
    p, q = (reference.histogram(part, low, high) for part in (coefficients[:third], coefficients[third:]))
    expected = reference.drift(p, q, explained, (high - low) / 70)
    found = measured(filters, [third, len(filters) - third])
    a, b = found.cube.counts.astype(np.int64)
    distance = measure("paper")(a, b, weights=found.basis.explained, width=found.cube.bin_width)
    assert expected > 0.01
    assert float(distance) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", WITHOUT_VARIANCE)
def test_filters_that_are_all_alike_lie_in_one_bin_and_at_no_distance(kind: str) -> None:
    found = measured(filters_of(kind, 600), [200, 400])
    assert np.count_nonzero(found.cube.counts, axis=2).max() == 1
    assert found.cube.counts.sum(axis=2).tolist() == [[200] * 9, [400] * 9]
    a, b = found.cube.counts.astype(np.int64)
    assert measure("paper")(a, b, weights=found.basis.explained, width=found.cube.bin_width) == 0


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (1.0, -1.0), (0.0, 1e-308), (0.0, np.inf)])
def test_a_range_that_cannot_be_divided_is_refused(low: float, high: float) -> None:
    filters, found = case("random", (2, 9))
    with pytest.raises((ValueError, ZeroDivisionError)):
        stats.count(
            in_memory(filters), [Task(RowRange(0, 2), 1, True)], found.basis.coordinates, low, high, 70
        )


@pytest.mark.parametrize("n", [600, 140_000])
def test_blocks_and_chunks_end_where_they_end_without_losing_a_filter(n: int) -> None:
    filters = filters_of("random", n)
    filters[::97] = np.nan
    filters[5::101, 3] = -np.inf
    found = measured(filters)
    good = reference.finite(filters)
    assert found.cube.rows["n"][0] == n
    assert found.cube.rows["finite"][0] == len(good)
    assert found.cube.counts[0].sum(axis=1).tolist() == [len(good)] * 9
    mean, scatter = moments_of(good)
    np.testing.assert_allclose(found.cube.moments("raw").mean, mean, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(
        found.cube.moments("raw").scatter, scatter, rtol=1e-9, atol=1e-9 * scatter.max()
    )
