"""What an axis shows, held to the definitions: distances, sizes, the matrix, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cubes import counted, filters_of, fitted
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from filterdb.errors import UsageError
from filterdb.shift import Axis, AxisShift, Resampling, axis_shift, cross_shift, group_table, part
from filterdb.shift.divergence import arrange, cross, pairwise

SIZES = (60, 20, 300, 5, 90, 120, 44, 71)
RECORDS = filters_of(SIZES, seed=3)
FEW = Resampling(permutations=9, draws=9)
MODELS = np.array([0, 0, 1, 1, 2, 2, 3, 3])


def axis_of(codes: list[int], groups: str, *, ordered: bool = False) -> Axis:
    return Axis("letters", tuple(groups), np.array(codes), ordered, MODELS[: len(codes)])


def shown(axis: Axis, records: list[np.ndarray], policy: str = "paper") -> AxisShift:
    where = fitted(records, policy)
    return axis_shift(axis, counted(records, where), where, resampling=FEW)


@pytest.mark.parametrize("policy", ["paper", "fixed"])
def test_every_distance_is_its_definition(policy: str) -> None:
    axis = axis_of([0, 1, 2, 0, 1, 2, -1, -2], "abc")
    found = shown(axis, RECORDS, policy)
    where = reference.coordinates(np.concatenate(RECORDS), policy)
    group = {name: np.concatenate([RECORDS[i], RECORDS[i + 3]]) for i, name in enumerate("abc")}
    for a, b, d in zip(found.pairs["group_a"], found.pairs["group_b"], found.pairs["D"], strict=True):
        assert d == pytest.approx(reference.shift(group[a], group[b], where), rel=1e-6)
        i, j = found.matrix.groups.index(a), found.matrix.groups.index(b)
        assert found.matrix.values[i, j] == found.matrix.values[j, i] == d


def test_the_groups_have_their_sizes_in_the_order_of_the_matrix() -> None:
    found = shown(axis_of([0, 1, 2, 0, 1, 2, -1, 0], "abc"), RECORDS)
    assert found.groups["group"].tolist() == list(found.matrix.groups)
    assert (np.diff(found.matrix.values.mean(axis=0)) >= 0).all()
    sizes = found.groups.set_index("group")
    assert sizes.loc["a", ["filters", "layers", "models", "outside"]].tolist() == [136, 3, 3, 0]
    assert sizes.loc["b", ["filters", "layers", "models"]].tolist() == [110, 2, 2]
    assert found.matrix.sizes.tolist() == found.groups["filters"].tolist()
    row = found.pairs.set_index(["group_a", "group_b"]).loc[("a", "b")]
    assert row[["filters_a", "filters_b", "layers_a", "layers_b"]].tolist() == [136, 110, 3, 2]


def test_an_ordered_axis_keeps_its_order() -> None:
    codes = [2, 1, 0, 2, 1, 0, 1, 2]
    assert shown(axis_of(codes, "xyz", ordered=True), RECORDS).matrix.groups == ("x", "y", "z")


def test_a_group_without_a_finite_filter_is_named_and_disturbs_no_other() -> None:
    records = [one.copy() for one in RECORDS]
    records[2][:] = np.nan
    axis = axis_of([0, 1, 2, 0, 1, 3, 3, 0], "abcd")
    found = shown(axis, records)
    assert found.matrix.groups[-1] == "c"
    assert found.groups["reason"].tolist() == ["", "", "", "'c' has no finite filter"]
    with_c = (found.pairs[["group_a", "group_b"]] == "c").any(axis=1)
    assert found.pairs.loc[with_c, ["D", "p", "p_holm", "low"]].isna().all(axis=None)
    assert set(found.pairs.loc[with_c, "reason"]) == {"'c' has no finite filter"}
    kept = [record for record in range(8) if record != 2]
    alone = shown(
        replace(axis, groups=tuple("abd"), codes=np.array([0, 1, 0, 1, 2, 2, 0]), models=MODELS[kept]),
        [records[record] for record in kept],
    )
    assert found.pairs.loc[~with_c, "D"].tolist() == alone.pairs["D"].tolist()


def test_a_group_that_lies_outside_the_bins_in_a_component_has_no_distance_and_a_reason() -> None:
    where = replace(fitted(RECORDS), low=40.0, high=41.0)
    cube = counted(RECORDS, where)
    found = axis_shift(axis_of([0, 1] * 4, "ab"), cube, where, resampling=FEW)
    assert found.pairs["D"].isna().all()
    assert "'a' has no coefficient of component 1 between 40 and 41" in found.pairs["reason"][0]
    assert found.groups["outside"].tolist() == [9 * n for n in found.groups["filters"]]
    assert found.groups["layers"].tolist() == [4, 4]
    assert not np.isnan(np.diag(found.matrix.values)).any()


def test_sizes_count_the_filters_that_lie_outside_too() -> None:
    where = replace(fitted(RECORDS), low=-0.4, high=0.4)
    cube = counted(RECORDS, where)
    axis = axis_of([0, 1] * 4, "ab")
    table = group_table(axis, cube, where)
    assert table["filters"].tolist() == [sum(SIZES[::2]), sum(SIZES[1::2])]
    mean, components = where.basis.mean, where.basis.components
    plain = (mean, components, where.low, where.high, where.weights)
    groups = [np.concatenate(RECORDS[start::2]) for start in (0, 1)]
    assert table["outside"].tolist() == [reference.outside(group, plain) for group in groups]
    found = axis_shift(axis, cube, where, resampling=FEW)
    assert found.pairs["D"][0] == pytest.approx(reference.shift(*groups, plain), rel=1e-6)


@pytest.mark.parametrize("weighting", ["filters", "layers", "models"])
def test_across_two_sets_distances_are_those_within_their_union(weighting: str) -> None:
    where = fitted(RECORDS)
    cube = counted(RECORDS, where)
    halves = [slice(0, 4), slice(4, None)]
    axis = axis_of([0, 1, 0, 1, 2, 2, 3, 2], "abcd")
    parts = [part(axis, half) for half in halves]
    cubes = [counted(RECORDS[half], where) for half in halves]
    found = cross_shift((parts[0], cubes[0]), (parts[1], cubes[1]), where, weighting=weighting)
    together = axis_shift(axis, cube, where, weighting=weighting, resampling=FEW).pairs
    within = together.set_index(["group_a", "group_b"])["D"]
    assert found[["group_a", "group_b"]].to_numpy().tolist() == [[a, b] for a in "ab" for b in "cd"]
    for a, b, d in zip(found["group_a"], found["group_b"], found["D"], strict=True):
        assert d == pytest.approx(within[a, b], rel=1e-12)
    assert found["filters_a"].tolist() == [360, 360, 25, 25]
    assert found["layers_b"].tolist() == [3, 1, 3, 1]


def test_across_two_sets_what_cannot_be_compared_is_said() -> None:
    records = [one.copy() for one in RECORDS]
    records[1][:] = np.inf
    where = fitted(records)
    first, second = axis_of([0, 1, 0, 0], "ab"), axis_of([0] * 4, "z")
    cubes = counted(records[:4], where), counted(records[4:], where)
    found = cross_shift((first, cubes[0]), (second, cubes[1]), where)
    assert np.isnan(found["D"]).tolist() == [False, True]
    assert found["reason"].tolist() == ["", "'b' has no finite filter"]
    with pytest.raises(UsageError, match="other coordinates"):
        cross_shift((first, cubes[0]), (second, cubes[1]), replace(where, bins=5))


cells = st.integers(0, 1000)


@given(
    data=st.data(),
    by=st.sampled_from(["paper", "jensen_shannon", "wasserstein"]),
    memory=st.integers(1, 9000),
)
@settings(max_examples=40)
def test_crossing_a_set_with_itself_is_its_matrix(data: st.DataObject, by: str, memory: int) -> None:
    rng = np.random.default_rng(data.draw(cells))
    counts = rng.integers(0, 9, (data.draw(st.integers(0, 5)), 3, 6)) + np.eye(6, dtype=int)[0]
    options = {"weights": np.array([0.5, 0.3, 0.2]), "width": 0.5, "by": by}
    found = cross(counts, counts, **options, memory=memory)
    distances, a, b = pairwise(counts, **options)
    assert np.array_equal(found[a, b], distances)
    assert np.array_equal(found, found.T)
    assert np.array_equal(np.diag(found), np.zeros(len(counts)))


def test_a_group_whose_distances_are_not_known_comes_after_those_that_are() -> None:
    nan = np.nan
    #           ab   ac   ad   bc   bd   cd
    distances = np.array([nan, 3.0, 1.0, nan, nan, 2.0])
    found = arrange("abcd", distances, np.array([5.0, 5.0, 5.0, 5.0]))
    assert found.groups == ("d", "a", "c", "b")
    empty = arrange("abcd", distances, np.array([5.0, 0.0, 5.0, 5.0]))
    assert empty.groups == ("d", "a", "c", "b")
    assert found.frame().loc["d", "c"] == 2.0
