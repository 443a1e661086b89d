"""Coordinates: what they are fitted to, what makes them the same, and how they are read with distrust."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cubes import counted, filters_of, fitted, statistics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

import reference
from filterdb.shift import CoordinateSystem, fit_basis
from filterdb.stats import bounds, merge_records
from filterdb.types import Kernel

SIZES = (40, 3, 700, 1, 90, 260)
RECORDS = filters_of(SIZES)


@given(chosen=st.lists(st.booleans(), min_size=len(SIZES), max_size=len(SIZES)).filter(any))
@settings(max_examples=40)
def test_the_basis_of_any_records_is_the_pca_of_their_filters_alone(chosen: list[bool]) -> None:
    filters = np.concatenate([one for one, keep in zip(RECORDS, chosen, strict=True) if keep])
    if len(filters) < 10:
        # Fewer filters than values leave the last components to chance.
        return
    moments = merge_records(statistics(RECORDS)[np.array(chosen)], "scaled")
    found, expected = fit_basis(moments), PCA().fit(reference.scaled(filters))
    assert found.n == len(filters)
    assert np.allclose(found.mean, expected.mean_, rtol=1e-9, atol=1e-12)
    assert np.allclose(found.explained, expected.explained_variance_ratio_, rtol=1e-9, atol=1e-12)
    agreement = (found.components * expected.components_).sum(axis=1)
    assert np.allclose(np.abs(agreement), 1, rtol=0, atol=1e-9)
    assert np.allclose(found.components, reference.basis(filters)[1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("policy", ["paper", "fixed"])
def test_range_and_weights_are_those_of_the_policy(policy: str) -> None:
    found = fitted(RECORDS, policy)
    mean, components, low, high, weights = reference.coordinates(np.concatenate(RECORDS), policy)
    assert np.allclose(found.basis.mean, mean, rtol=1e-9, atol=1e-12)
    assert np.allclose(found.basis.components, components, rtol=0, atol=1e-7)
    assert np.allclose(found.weights, weights, rtol=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.width == pytest.approx((high - low) / 70)


@pytest.mark.parametrize("limits", [(-3.0, 3.0), (-0.5, 0.25), (0.1, 0.1001), (50.0, 60.0)])
def test_coefficients_outside_are_in_no_bin_and_are_counted(limits: tuple[float, float]) -> None:
    low, high = limits
    where = replace(fitted(RECORDS), low=low, high=high)
    cube = counted(RECORDS, where)
    mean, components = where.basis.mean, where.basis.components
    for record, filters in enumerate(RECORDS):
        c = reference.coefficients(filters, mean, components)
        expected = reference.histogram(c, low, high)
        near = np.abs((c - low) / where.width - np.round((c - low) / where.width)).min() < 1e-6
        assert near or np.array_equal(cube.counts[record], expected)
        plain = reference.outside(filters, (mean, components, low, high, where.weights))
        assert near or cube.outside[record] == plain
    assert (cube.outside + cube.counts.sum(axis=(1, 2)) == 9 * np.array(SIZES)).all()


def test_filters_that_are_not_finite_are_not_outside() -> None:
    records = filters_of((50, 20))
    records[0][3, 2] = np.nan
    records[1][:] = np.inf
    where = fitted(records)
    assert counted(records, where).outside.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("low", "high", "values"), [(-1.0, 2.0, [-1, 2]), (0.5, 0.5, [0.5]), (np.inf, -np.inf, [])]
)
def test_a_range_of_nothing_or_of_one_number_is_numpys(low: float, high: float, values: list[float]) -> None:
    edges = np.histogram_bin_edges(np.array(values), 4)
    assert bounds(low, high) == (edges[0], edges[-1])


def test_the_statistics_come_back_out_of_the_cube() -> None:
    records = statistics(RECORDS)
    assert counted(RECORDS, fitted(RECORDS)).records.tobytes() == records.tobytes()


@given(seed=st.integers(0, 10_000), bins=st.integers(2, 200), policy=st.sampled_from(["paper", "fixed"]))
@settings(max_examples=30)
def test_coordinates_survive_a_file_to_the_last_bit(seed: int, bins: int, policy: str) -> None:
    before = fitted(filters_of((30,), seed), policy, bins)
    after = CoordinateSystem.from_json(json.loads(json.dumps(before.to_json())))
    assert after.identity == before.identity
    assert after.differences(before) == ()
    assert (after.policy, after.bins, after.basis.n) == (policy, bins, 30)
    assert after.basis.components.tobytes() == before.basis.components.tobytes()
    assert after.basis.explained.tobytes() == before.basis.explained.tobytes()


def test_other_data_bins_ranges_and_weights_are_other_coordinates() -> None:
    one = fitted(RECORDS)
    assert one.differences(fitted(RECORDS[:3]))[0] == "basis"
    for other, expected in (
        (replace(one, bins=71), "bins"),
        (replace(one, high=one.high + 0.1), "range"),
        (replace(one, weights=np.full(9, 1 / 9)), "weights"),
        (replace(one, kernel=Kernel(1, 9)), "kernel"),
    ):
        assert one.differences(other) == (expected,)
        assert one.identity != other.identity


def test_the_last_bits_of_another_processor_do_not_matter() -> None:
    one = fitted(RECORDS)
    other = replace(one, high=one.high * (1 + 1e-14))
    assert one.identity != other.identity
    assert one.differences(other) == ()


def _with(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda data: data | values


def _without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda data: {key: value for key, value in data.items() if key != name}


def _with_nan(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"mean": [float("nan"), *data["mean"][1:]]}


def _skewed(data: dict[str, Any]) -> dict[str, Any]:
    first, _, *rest = data["components"]
    return data | {"components": [first, first, *rest]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with(format="something"), "its key 'format' is 'something'"),
        (_without("format"), "its key 'format' is 'None'"),
        (_with(format_version=2), "its format version is 2, and this filterdb reads version 1"),
        *(
            (_without(name), f"the key {name!r} is missing")
            for name in ("mean", "range", "weights", "kernel")
        ),
        (_with(kernel=9), "the kernel is '9', and not a text such as '3x3'"),
        (_with(kernel="three"), "a kernel is written like 3x3"),
        (_with(kernel="5x5"), "'components' is 9 x 9 numbers, and not 25 x 25"),
        (_with(kernel="1024x1024"), "'components' is 9 x 9 numbers"),
        (_with(policy="mine"), "the policy is 'mine', and not one of paper, fixed"),
        (_with(n=-1), "'n' is -1, and not a whole number"),
        (_with(bins=1), "'bins' is 1, and not a whole number from 2 to 10,000"),
        (_with(bins=True), "'bins' is True"),
        (_with(bins=70.0), "'bins' is 70.0"),
        (_with(mean=[0.0] * 8), "'mean' is 8 numbers, and not 9"),
        (_with(mean=0.0), "'mean' is 1 numbers, and not 9"),
        (_with(mean=["0"] * 9), "'mean' is not 9 numbers"),
        (_with(mean=[[0.0], [0.0, 1.0]]), "'mean' is not 9 numbers"),
        (_with(mean=[10**400] * 9), "'mean' is not 9 numbers"),
        (_with_nan, "'mean' holds a NaN or an infinity"),
        (_with(range=[float("inf"), 1]), "'range' holds a NaN or an infinity"),
        (_with(range=[1, 1]), "the range ends at 1.0, which is not above its start"),
        (_with(range=None), "'range' is not 2 numbers"),
        (_skewed, "the components are not orthonormal"),
        (_with(components=np.zeros((9, 9)).tolist()), "the components are not orthonormal"),
        (_with(weights=[1.0] * 9), "'weights' are not shares"),
        (_with(weights=[2.0, -1.0] + [0.0] * 7), "'weights' are not shares"),
        (_with(explained_variance_ratio=[0.0] * 9), "'explained_variance_ratio' are not shares"),
        (_with(bins=71), "it was changed"),
        (_with(coordinates=3), "it was changed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    data = json.loads(json.dumps(fitted(RECORDS).to_json()))
    with pytest.raises(ValueError) as caught:
        CoordinateSystem.from_json(change(data))
    assert message in str(caught.value)
