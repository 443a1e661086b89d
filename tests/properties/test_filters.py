"""What holds for any filters: their scale does not matter, metrics have ranges, statistics add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import reference
from filter_kinds import KINDS, filters_of
from filterdb import stats
from filterdb.quality import label, layer_quality
from filterdb.shift import Basis, fit_basis
from filterdb.stats import Coordinates, Moments, Task, merge_records
from filterdb.types import Filters, RowRange
from stats.measured import in_memory, measured

kinds = st.sampled_from(sorted(KINDS))
seeds = st.integers(0, 999)
values = st.floats(-3.4028234663852886e38, 3.4028234663852886e38, width=32)


def coefficients(filters: Filters, basis: Basis) -> np.ndarray:
    """Return the coefficients that are counted, bit for bit: the range of one filter along one component."""
    tasks = [Task(RowRange(row, row + 1), 1, True) for row in range(len(filters))]
    columns = []
    for j in range(len(basis.components)):
        component = np.ascontiguousarray(np.tile(basis.components[j], (len(basis.components), 1)))
        where = Coordinates(component, np.full(len(component), basis.coordinates.offset[j]))
        extremes = [stats.find_range(in_memory(filters), [task], where) for task in tasks]
        assert all(low == high for low, high in extremes)
        columns.append([low for low, _ in extremes])
    return np.array(columns).T


@pytest.fixture(scope="module")
def basis() -> Basis:
    return measured(filters_of("trained", 4_000)).basis


@given(seed=seeds, power=st.integers(-60, 60))
@settings(max_examples=20)
def test_a_power_of_two_leaves_coefficients_bit_for_bit(basis: Basis, seed: int, power: int) -> None:
    filters = filters_of("random", 12, seed=seed)
    moved = np.ldexp(filters, power)
    assert np.array_equal(coefficients(moved, basis), coefficients(filters, basis))


@given(seed=seeds, factor=st.floats(1e-15, 1e15))
@settings(max_examples=20)
def test_any_factor_leaves_coefficients_to_the_rounding_of_float32(
    basis: Basis, seed: int, factor: float
) -> None:
    filters = filters_of("random", 12, seed=seed)
    before, after = (coefficients(f, basis) for f in (filters, filters * np.float32(factor)))
    # Both products are rounded, by half a unit in the last place, and so are both ratios: 4 x 2**-24 a value.
    bound = 4 * 2.0**-24 * np.abs(basis.components).sum(axis=1)
    assert (np.abs(after - before) <= bound * (1 + 1e-6)).all()


def test_the_coefficients_that_are_counted_equal_their_definition(basis: Basis) -> None:
    filters = filters_of("trained", 40)
    expected = reference.coefficients(filters, basis.mean, basis.components)
    np.testing.assert_allclose(coefficients(filters, basis), expected, rtol=0, atol=1e-14)


@given(weight=arrays(np.float32, (4, 3, 3, 3), elements=values))
@settings(max_examples=100)
def test_metrics_of_whatever_values_stay_in_their_ranges(weight: np.ndarray) -> None:
    assert_in_range(layer_quality(weight.reshape(-1, 9), out_channels=4), 12)


@given(kind=kinds, seed=seeds, n=st.sampled_from([1, 2, 3, 24, 600]), out=st.sampled_from([1, 0, -1]))
@settings(max_examples=100)
def test_metrics_of_every_kind_stay_in_their_ranges(kind: str, seed: int, n: int, out: int) -> None:
    out_channels = {1: 1, 0: n, -1: n // 2 if n % 2 == 0 else 1}[out]
    found = layer_quality(filters_of(kind, n, seed=seed), out_channels=out_channels)
    assert_in_range(found, n)


def assert_in_range(found: dict[str, float | int | str], n: int) -> None:
    def inside(name: str, low: float, high: float) -> bool:
        value = found[name]
        return math.isnan(value) or low <= value <= high

    most = math.log10(9) + 1e-12
    count = 9 * n
    assert found["n"] == n
    assert inside("sparsity", 0, 1)
    assert inside("variance_entropy", 0, most)
    assert inside("variance_entropy_clean", 0, most)
    assert inside("orthogonality", 0, 1)
    norm = found["norm_l2"]
    assert norm * (1 - 1e-9) <= found["norm_l1"] <= norm * math.sqrt(count) * (1 + 1e-9)
    assert inside("norm_l2_norm", math.sqrt(count - 1), math.sqrt(count - 1))
    assert inside("norm_l1_norm", 0, count)
    labels = label(n, found["variance_entropy"], found["sparsity"])
    assert labels["degenerate"] or not labels["random"]


@given(seed=seeds, sizes=st.lists(st.integers(1, 700), min_size=2, max_size=6), data=st.data())
@settings(max_examples=40)
def test_merged_rows_of_the_cube_equal_a_measurement_of_their_filters(
    seed: int, sizes: list[int], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["random", "trained", "large mean", "zero filters", "mixed magnitudes"]))
    parts = [filters_of(kind, size, seed=seed + i) for i, size in enumerate(sizes)]
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)).filter(any)))
    found = measured(np.concatenate(parts), sizes)
    subset = np.concatenate([part for part, keep in zip(parts, kept, strict=True) if keep])
    alone = measured(subset)
    for name in ("raw", "scaled"):
        merged, expected = found.cube.moments(name, kept), alone.cube.moments(name)
        assert merged.n == expected.n
        largest = np.abs(expected.mean).max()
        np.testing.assert_allclose(merged.mean, expected.mean, rtol=1e-12, atol=1e-14 * largest)
        spread = expected.scatter.diagonal().max()
        # Two values in 1e-9 of the spread: the mean may be a million times the deviation.
        np.testing.assert_allclose(merged.scatter, expected.scatter, rtol=1e-9, atol=1e-9 * spread)
    own, of_rows = alone.basis, fit_basis(found.cube.moments("scaled", kept))
    np.testing.assert_allclose(of_rows.explained, own.explained, rtol=0, atol=1e-9)
    codes = np.where(kept, 0, -1)
    assert np.array_equal(
        found.cube.group_counts(codes, 1)[0],
        stats.count(
            in_memory(subset),
            [Task(RowRange(0, len(subset)), 1, True)],
            found.basis.coordinates,
            found.cube.low,
            found.cube.high,
            70,
        )[0],
    )


@given(seed=seeds, sizes=st.lists(st.integers(0, 3), min_size=1, max_size=40))
@settings(max_examples=60)
def test_empty_records_add_nothing_to_moments(seed: int, sizes: list[int]) -> None:
    filters = filters_of("random", max(1, sum(sizes)), seed=seed)
    parts = np.split(filters[: sum(sizes)], np.cumsum(sizes)[:-1])
    empty = np.full((1, 9), np.nan, np.float32)
    rows = [measured(part if len(part) else empty).cube.rows for part in parts]
    merged = merge_records(np.concatenate(rows), "raw")
    assert merged.n == sum(sizes)
    if merged.n:
        expected: Moments = measured(filters[: sum(sizes)]).cube.moments("raw")
        np.testing.assert_allclose(merged.mean, expected.mean, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(merged.scatter, expected.scatter, rtol=1e-9, atol=1e-15)
    else:
        assert not merged.scatter.any()
