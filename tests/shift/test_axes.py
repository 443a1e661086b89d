from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.errors import ColumnError, UsageError
from filterdb.schema import INDEX
from filterdb.shift import Axis, combine, evaluate, make_axis, restrict
from filterdb.shift.axes import MAX_GROUPS


def table(models: int = 6, layers: int = 20) -> pd.DataFrame:
    """Return records of some models: every second one a detector, the last without a task."""
    model = np.repeat(np.arange(models), layers)
    depth = np.tile(np.arange(layers), models)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "model": pd.Series([f"m{i}" for i in model], dtype="str"),
            "Task": pd.Series(["Detection" if i % 2 else "Classification" for i in model], dtype="str"),
            "Visual Category": pd.Series([["face", "natural", "art"][i % 3] for i in model], dtype="str"),
            "op_set": 9 + model % 3,
            "depthwise": depth % 4 == 0,
            "sparsity": rng.random(len(model)),
            "size": 100 * model,
        }
    )
    frame.loc[model == models - 1, "Task"] = None
    frame.index = pd.MultiIndex.from_arrays([model, depth, depth / (layers - 1), depth], names=INDEX)
    return frame


def partition(axis: Axis) -> dict[str, set[int]]:
    return {name: set(np.flatnonzero(axis.codes == i).tolist()) for i, name in enumerate(axis.groups)}


def test_a_text_column_groups_by_its_values_in_their_order() -> None:
    axis = make_axis(table(), "Task")
    assert axis.groups == ("Classification", "Detection")
    assert axis.name == "Task"
    assert (axis.ordered, axis.within_models) == (False, False)
    assert (axis.missing, axis.excluded) == (20, 0)
    assert axis.codes.dtype == np.int64


def test_a_column_with_an_odd_name_needs_no_backticks_but_may_have_them() -> None:
    plain, ticked = make_axis(table(), "Visual Category"), make_axis(table(), "`Visual Category`")
    assert plain.groups == ticked.groups == ("art", "face", "natural")
    assert plain.codes.tolist() == ticked.codes.tolist()


def test_depth_deciles_are_those_of_pandas() -> None:
    frame = table(layers=31)
    axis = make_axis(frame, "depth_decile")
    depth = frame.index.get_level_values("conv_depth_norm")
    cut = pd.cut(np.asarray(depth), np.linspace(0, 1, 11), include_lowest=True)
    assert axis.codes.tolist() == cut.codes.tolist()
    assert axis.groups[0] == "0.0-0.1"
    assert len(axis.groups) == 10
    assert axis.ordered
    assert axis.within_models


DEPTHS = st.floats(0, 1) | st.sampled_from([i / 10 for i in range(11)])


@given(depths=st.lists(DEPTHS, min_size=2, max_size=40))
@settings(max_examples=200)
def test_any_depths_fall_where_pandas_cut_puts_them(depths: list[float]) -> None:
    frame = pd.DataFrame({"conv_depth_norm": depths})
    cut = pd.cut(np.array(depths), np.linspace(0, 1, 11), include_lowest=True).codes
    labels = [f"{i / 10:.1f}-{(i + 1) / 10:.1f}" for i in range(10)]
    if len(set(cut.tolist())) < 2:
        with pytest.raises(ColumnError, match="a single group"):
            make_axis(frame, "depth_decile")
        return
    axis = make_axis(frame, "depth_decile")
    assert [axis.groups[code] for code in axis.codes] == [labels[code] for code in cut]


def test_a_condition_makes_two_groups() -> None:
    axis = make_axis(table(), " sparsity > 0.5 ")
    assert axis.groups == ("sparsity > 0.5", "not (sparsity > 0.5)")
    assert (axis.codes == 0).tolist() == (table()["sparsity"] > 0.5).tolist()
    assert axis.within_models
    assert make_axis(table(), "depthwise").groups == ("depthwise", "not depthwise")


def test_a_condition_on_missing_values_leaves_them_out() -> None:
    axis = make_axis(table(), "Task == 'Detection'")
    assert axis.missing == 20
    assert not axis.within_models


def test_few_numbers_stay_and_are_ordered_as_numbers() -> None:
    axis = make_axis(table(), "op_set")
    assert axis.groups == ("9", "10", "11")
    assert axis.ordered
    assert make_axis(table(), "op_set / 4").groups == ("2.25", "2.5", "2.75")


def test_many_numbers_are_binned_into_deciles() -> None:
    frame = table(models=10, layers=30)
    axis = make_axis(frame, "sparsity")
    assert np.bincount(axis.codes).tolist() == [30] * 10
    assert axis.groups[0].startswith("[")
    assert all(group.startswith("(") and group.endswith("]") for group in axis.groups[1:])
    assert len(set(axis.groups)) == 10
    assert axis.ordered
    order = [frame["sparsity"].to_numpy()[axis.codes == code].max() for code in range(10)]
    assert order == sorted(order)


def test_numbers_of_which_most_are_equal_have_bins_too() -> None:
    rest = np.arange(1, 21) / 7
    zeros = pd.DataFrame({"x": np.concatenate([np.zeros(30), rest])})
    axis = make_axis(zeros, "x")
    assert axis.groups[0] == "0"
    assert np.count_nonzero(axis.codes == 0) == 30
    ones = pd.DataFrame({"x": np.concatenate([np.full(1_000, 9.0), rest])})
    assert make_axis(ones, "x").groups == ("[0.143, 2.86]", "(2.86, 9]")


def test_bins_are_labelled_with_as_many_digits_as_tell_them_apart() -> None:
    axis = make_axis(pd.DataFrame({"x": 1 + np.arange(100) * 1e-9}), "x")
    assert len(set(axis.groups)) == 10
    large = make_axis(pd.DataFrame({"x": 1_000_000 + np.arange(100)}), "x")
    assert large.groups[0] == "[1000000, 1000009]"


def test_an_ordered_category_keeps_its_order() -> None:
    levels = pd.Categorical(["low", "high", None, "mid"], ["low", "mid", "high", "never"], ordered=True)
    axis = make_axis(pd.DataFrame({"x": levels}), "x")
    assert axis.groups == ("low", "mid", "high")
    assert axis.codes.tolist() == [0, 2, -1, 1]
    assert axis.ordered


def test_two_axes_combine_into_the_groups_that_occur() -> None:
    axis = make_axis(table(), "Task", with_="op_set")
    assert axis.name == "Task / op_set"
    assert axis.groups == (
        "Classification / 9", "Classification / 10", "Classification / 11", "Detection / 9", "Detection / 10",
    )  # fmt: skip
    assert (axis.ordered, axis.within_models, axis.missing) == (False, False, 20)
    both = make_axis(table(), "op_set", with_="depth_decile")
    assert both.ordered
    assert both.within_models
    assert both.groups[:2] == ("9 / 0.0-0.1", "9 / 0.1-0.2")


def test_combined_names_stay_apart() -> None:
    frame = pd.DataFrame({"a": ["x / y", "x"], "b": ["z", "y / z"]})
    assert make_axis(frame, "a", with_="b").groups == ("'x' / 'y / z'", "'x / y' / 'z'")


def test_an_axis_of_one_group_can_still_be_combined() -> None:
    frame = table().assign(same="s")
    assert make_axis(frame, "same", with_="op_set").groups == ("s / 9", "s / 10", "s / 11")


def test_axes_of_different_records_do_not_combine() -> None:
    with pytest.raises(UsageError, match="120 records"):
        combine(make_axis(table(), "Task"), make_axis(table(models=4), "op_set"))


def test_a_condition_restricts_an_axis_and_both_kinds_of_absence_are_counted() -> None:
    frame = table()
    frame.iloc[:5, frame.columns.get_loc("sparsity")] = np.nan
    axis = restrict(make_axis(frame, "Visual Category"), evaluate("sparsity > 0.3 and op_set < 11", frame))
    assert axis.groups == ("face", "natural")
    kept = (frame["sparsity"] > 0.3) & (frame["op_set"] < 11)
    assert (axis.codes >= 0).tolist() == kept.tolist()
    assert axis.missing == 5
    assert axis.excluded == 120 - 5 - kept.sum()


def test_restricting_twice_keeps_what_both_conditions_keep() -> None:
    frame = table()
    axis, a, b = make_axis(frame, "Task"), evaluate("depthwise", frame), evaluate("sparsity > 0.4", frame)
    both = restrict(axis, evaluate("depthwise and sparsity > 0.4", frame))
    for twice in (restrict(restrict(axis, a), b), restrict(restrict(axis, b), a)):
        assert twice.codes.tolist() == both.codes.tolist()
        assert twice.groups == both.groups


def test_a_restriction_can_make_an_axis_vary_between_models_only() -> None:
    frame = table()
    axis = make_axis(frame, "model_id * 100 + conv_depth // 10")
    assert axis.within_models
    assert not restrict(axis, evaluate("conv_depth < 10", frame)).within_models


@pytest.mark.parametrize("mask", ["sparsity", "Task"])
def test_a_restriction_that_is_no_condition_is_refused(mask: str) -> None:
    frame = table()
    with pytest.raises(UsageError, match="not true or false"):
        restrict(make_axis(frame, "Task"), evaluate(mask, frame))
    with pytest.raises(UsageError, match="not true or false"):
        restrict(make_axis(frame, "Task"), np.ones(3, dtype=bool))


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("Taks", "did you mean 'Task'"),
        ("Visual Categry", "there is no column 'Visual Categry'"),
        ("Visual Categry", "`Visual Category`"),
        ("dept_decile", "did you mean 'depth_decile'"),
        ("model-id", "did you mean 'model_id'"),
        ("sparsty > 0.5", "did you mean 'sparsity'"),
        ("nonsense", "there is no column 'nonsense'"),
        ("sparsity >", "is not an expression"),
        ("open('x')", "a call is not allowed"),
        ("sparsity > 2", "a single group, 'not (sparsity > 2)': 120 of 120 records have a value"),
        ("empty", "no group: 0 of 120 records have a value"),
        ("rare", "a single group, 'x': 3 of 120 records have a value"),
        ("unique", f"2 to {MAX_GROUPS:,} groups"),
    ],
)
def test_an_axis_that_cannot_be_says_why(by: str, message: str) -> None:
    frame = table()
    rare = pd.Series(["x"] * 3 + [None] * 117, dtype="str", index=frame.index)
    frame = frame.assign(rare=rare, empty=np.nan)
    if by == "unique":
        frame = pd.DataFrame({"unique": [str(i) for i in range(MAX_GROUPS + 1)]})
    with pytest.raises(UsageError) as caught:
        make_axis(frame, by)
    assert message in str(caught.value)


def test_a_restriction_that_leaves_one_group_says_how_much_is_excluded() -> None:
    frame = table()
    with pytest.raises(ColumnError, match="40 of 120 records have a value, and 80 are excluded"):
        restrict(make_axis(frame, "Task"), evaluate("Task == 'Detection'", frame).fillna(False) & True)


def test_depth_deciles_need_the_depth() -> None:
    with pytest.raises(ColumnError, match="conv_depth_norm"):
        make_axis(pd.DataFrame({"x": [1, 2]}), "depth_decile")


def test_without_models_nothing_varies_within_them() -> None:
    assert not make_axis(pd.DataFrame({"x": [1, 2]}), "x").within_models


CELLS = {
    "text": st.none() | st.sampled_from(["a", "b", "c d", ""]),
    "number": st.none() | st.integers(-3, 40) | st.floats(-2, 2) | st.just(float("inf")),
    "flag": st.none() | st.booleans(),
    "model_id": st.integers(0, 3),
}


@given(
    rows=st.lists(st.fixed_dictionaries(CELLS), min_size=2, max_size=60),
    by=st.sampled_from(["text", "number", "flag", "number > 0", "number * 2", "text in ('a', 'b') or flag"]),
    with_=st.sampled_from([None, "text", "number", "flag"]),
)
@settings(max_examples=150)
@pytest.mark.filterwarnings("ignore::filterdb.errors.UnseenValueWarning")
def test_groups_partition_the_records_that_have_values(
    rows: list[dict[str, Any]], by: str, with_: str | None
) -> None:
    frame = pd.DataFrame(rows).astype({"text": "str", "number": "float64", "flag": "boolean"})
    try:
        axis = make_axis(frame, by, with_=with_)
    except ColumnError as error:
        assert "group" in error.what  # noqa: PT017
        return
    groups = partition(axis)
    assert len(groups) == len(axis.groups) >= 2
    assert all(groups.values())
    assert sum(map(len, groups.values())) + axis.missing + axis.excluded == len(frame)
    present = evaluate(by, frame).notna() & (True if with_ is None else evaluate(with_, frame).notna())
    assert (axis.codes >= 0).tolist() == present.tolist()
    pairs = {(model, code) for model, code in zip(frame["model_id"], axis.codes, strict=True) if code >= 0}
    seen = [[code for model, code in pairs if model == each] for each in range(4)]
    assert axis.within_models == any(len(codes) > 1 for codes in seen)


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=80))
@settings(max_examples=200)
def test_equal_numbers_share_a_group_and_larger_ones_come_later(values: list[float]) -> None:
    frame = pd.DataFrame({"x": values})
    if len(set(values)) < 2:
        return
    axis = make_axis(frame, "x")
    order = np.argsort(values, kind="stable")
    assert (np.diff(axis.codes[order]) >= 0).all()
    assert len(axis.groups) <= 12
    for code in range(len(axis.groups) - 1):
        inside = frame["x"].to_numpy()[axis.codes == code]
        assert inside.max() < frame["x"].to_numpy()[axis.codes == code + 1].min()
