"""How far chance comes: properties, an exact case, and a small simulation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from populations import BINS, COMPONENTS, WEIGHTS, WIDTH, between, records, uneven, within
from scipy.stats import kstest, norm, t

from filterdb.shift.divergence import MEASURES, measure, shift_matrix
from filterdb.shift.resampling import Resampling
from filterdb.shift.uncertainty import COLUMNS, holm, uncertainty
from filterdb.shift.units import WEIGHTINGS

FEW = Resampling(permutations=49, draws=49)
NUMBERS = [name for name in COLUMNS if name not in ("group_a", "group_b", "measure", "reason")]


def run(data: dict[str, Any], groups: str = "abc", **options: Any) -> pd.DataFrame:
    options = {"weights": WEIGHTS, "width": WIDTH, "resampling": FEW} | options
    return uncertainty("axis", list(groups), data["counts"], data["codes"], data["models"], **options)


cases = pytest.mark.parametrize("make", [between, within, uneven])


@cases
@pytest.mark.parametrize("by", MEASURES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_table_is_tidy_and_consistent(make: Any, by: str, weighting: Any) -> None:
    found = run(make(), by=by, weighting=weighting)
    assert tuple(found.columns) == COLUMNS
    assert found[["group_a", "group_b"]].values.tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert (found["measure"] == by).all()
    assert (found["reason"] == "").all()
    assert (found["D"] > 0).all()
    assert np.allclose(found["excess"], found["D"] - found["null_mean"])
    assert (found["low"] >= 0).all()
    assert (found["low"] <= found["high"]).all()
    assert found["p"].between(1 / 50, 1).all()
    assert (found["p_holm"] >= found["p"]).all()


@cases
def test_d_is_the_one_of_the_matrix(make: Any) -> None:
    data = make()
    summed = np.stack([data["counts"][data["codes"] == group].sum(axis=0) for group in range(3)])
    expected = shift_matrix("abc", summed, weights=WEIGHTS, width=WIDTH, ordered=True).pairs()
    assert run(data)["D"].tolist() == expected["D"].tolist()


@cases
def test_sizes_are_those_of_the_groups(make: Any) -> None:
    data = make()
    row = run(data).iloc[1]
    for side, group in (("a", 0), ("b", 2)):
        inside = data["codes"] == group
        assert row[f"filters_{side}"] == data["counts"][inside, 0].sum()
        assert row[f"layers_{side}"] == inside.sum()
        assert row[f"models_{side}"] == len(set(data["models"][inside]))


@cases
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_order_of_models_records_and_groups_changes_no_bit(make: Any, weighting: Any) -> None:
    data, rng = make(), np.random.default_rng(5)
    expected = run(data, weighting=weighting)
    order = rng.permutation(len(data["codes"]))
    names = rng.permutation(100)
    shuffled = {
        "counts": data["counts"][order],
        "codes": 2 - data["codes"][order],
        "models": np.array([f"model {names[model]}" for model in data["models"][order]]),
    }
    found = run(shuffled, "cba", weighting=weighting)[::-1].reset_index(drop=True)
    assert found[["group_a", "group_b"]].values.tolist() == [["c", "b"], ["c", "a"], ["b", "a"]][::-1]
    swapped = found.rename(
        columns=lambda name: {"_a": name[:-1] + "b", "_b": name[:-1] + "a"}.get(name[-2:], name)
    )
    pd.testing.assert_frame_equal(swapped[NUMBERS], expected[NUMBERS], check_exact=True)


@cases
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("memory", [1, 20_000, 300_000])
def test_chunks_change_no_bit(make: Any, weighting: Any, memory: int) -> None:
    chunked = Resampling(permutations=49, draws=49, memory=memory)
    found = run(make(), weighting=weighting, resampling=chunked)
    pd.testing.assert_frame_equal(found, run(make(), weighting=weighting), check_exact=True)


@cases
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit(make: Any, threads: int) -> None:
    found = run(make(), resampling=Resampling(permutations=49, draws=49, threads=threads))
    pd.testing.assert_frame_equal(found, run(make()), check_exact=True)


@cases
def test_another_group_changes_no_other_pair(make: Any) -> None:
    data = make()
    fewer = data | {"codes": np.where(data["codes"] == 1, -1, data["codes"] // 2)}
    alone, among = run(fewer, "ac").iloc[0], run(data).iloc[1]
    same = [name for name in COLUMNS if name != "p_holm"]
    assert alone[same].tolist() == among[same].tolist()


@cases
def test_the_seed_and_the_axis_name_key_the_draws(make: Any) -> None:
    data, first = make(), run(make())
    other = run(data, resampling=Resampling(seed=1, permutations=49, draws=49))
    options = {"weights": WEIGHTS, "width": WIDTH, "resampling": FEW}
    named = uncertainty("another", list("abc"), data["counts"], data["codes"], data["models"], **options)
    for changed in (other, named):
        assert changed["D"].tolist() == first["D"].tolist()
        assert (changed["null_mean"] != first["null_mean"]).all()
        assert (changed["high"] != first["high"]).all()


def exact_null(items: np.ndarray, labelings: list[tuple[bool, ...]]) -> np.ndarray:
    chosen = np.array(labelings)
    p = np.einsum("ri,ikb->rkb", chosen, items)
    return measure("paper")(p, items.sum(axis=0) - p, weights=WEIGHTS, width=WIDTH)


def check_exact(found: pd.Series, null: np.ndarray, draws: int) -> None:
    exact = (null >= found["D"] * (1 - 1e-9)).mean()
    assert found["null_mean"] == pytest.approx(null.mean(), abs=5 * null.std() / draws**0.5)
    assert found["p"] == pytest.approx(exact, abs=5 * (exact * (1 - exact) / draws) ** 0.5 + 1 / draws)


@pytest.mark.parametrize("seed", range(4))
def test_p_between_models_is_that_of_all_permutations(seed: int) -> None:
    codes = np.repeat([0, 1], [5, 6])
    counts = records(seed, (codes * 0.2).tolist())
    data = {"counts": counts, "codes": codes, "models": np.arange(11)}
    labelings = [tuple(i in chosen for i in range(11)) for chosen in itertools.combinations(range(11), 5)]
    found = run(data, "ab", resampling=Resampling(permutations=4000, draws=1)).iloc[0]
    check_exact(found, exact_null(counts, labelings), 4000)


@pytest.mark.parametrize("seed", range(4))
def test_p_within_models_is_that_of_all_permutations_inside_models(seed: int) -> None:
    codes = np.array([0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1])
    models = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4])
    counts = records(seed, (codes * 0.2 + models).tolist())
    parts = [
        sorted(set(itertools.permutations((codes[models == model] == 0).tolist()))) for model in range(5)
    ]
    labelings = [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*parts)]
    data = {"counts": counts, "codes": codes, "models": models}
    found = run(data, "ab", resampling=Resampling(permutations=4000, draws=1)).iloc[0]
    check_exact(found, exact_null(counts, labelings), 4000)


def test_the_interval_is_the_reflected_bootstrap() -> None:
    data = {
        "counts": records(0, [0.0] * 6 + [1.8] * 6),
        "codes": np.repeat([0, 1], 6),
        "models": np.arange(12),
    }
    found = run(data, "ab", resampling=Resampling(permutations=99, draws=100_000)).iloc[0]
    rng = np.random.default_rng(1)
    a, b = (
        data["counts"][part][rng.integers(0, 6, (100_000, 5))].sum(axis=1)
        for part in (slice(6), slice(6, 12))
    )
    drawn = measure("paper")(a, b, weights=WEIGHTS, width=WIDTH)
    wide = norm.sf(t.ppf(0.975, 5))
    expected = 2 * found["D"] - np.quantile(drawn, [1 - wide, wide])
    # Six models are few: the distances that draws can have lie 0.1 apart this far out.
    assert found[["low", "high"]].tolist() == pytest.approx(expected.tolist(), abs=0.1)


def test_the_interval_begins_at_zero_where_the_permutations_do_not_exclude_it() -> None:
    how = Resampling(permutations=199, draws=49)
    found = pd.concat([run(make(seed), resampling=how) for make in (between, within) for seed in range(8)])
    assert (found.loc[found["p"] > 0.025, "low"] == 0).all()
    assert (found.loc[found["p"] <= 0.025, "low"] > 0).any()


@pytest.mark.parametrize("few", [0, 1, 4])
def test_a_group_of_few_models_gets_the_reason(few: int) -> None:
    codes = np.repeat([0, 1], [few, 9])
    data = {"counts": records(0, [0.0] * len(codes)), "codes": codes, "models": np.arange(len(codes))}
    row = run(data, "ab").iloc[0]
    plural = "model" if few == 1 else "models"
    assert row["reason"] == f"only {few} {plural} in 'a', 5 needed"
    assert np.isnan(row["D"]) == (few == 0)
    assert (
        row[[name for name in NUMBERS if name not in ("D",) and "_a" not in name and "_b" not in name]]
        .isna()
        .all()
    )
    assert row["models_a"] == few


def test_models_that_lie_in_one_group_only_cannot_be_permuted_inside() -> None:
    codes = np.array([0, 1] * 3 + [0] * 5 + [1] * 5)
    models = np.append(np.repeat(np.arange(3), 2), np.arange(3, 13))
    row = run({"counts": records(0, [0.0] * 16), "codes": codes, "models": models}, "ab").iloc[0]
    assert row["reason"] == "only 3 models with records in both groups, 5 needed"


def test_records_without_a_group_or_without_filters_count_nowhere() -> None:
    data = between()
    expected = run(data)
    more = {
        "counts": np.concatenate([data["counts"], records(9, [3.0]), np.zeros((1, COMPONENTS, BINS), int)]),
        "codes": np.append(data["codes"], [-1, 0]),
        "models": np.append(data["models"], [0, 99]),
    }
    pd.testing.assert_frame_equal(run(more), expected, check_exact=True)


def test_identical_models_are_no_difference() -> None:
    data = {
        "counts": np.tile(records(0, [0.0]), (12, 1, 1)),
        "codes": np.repeat([0, 1], 6),
        "models": np.arange(12),
    }
    row = run(data, "ab").iloc[0]
    assert row[["D", "null_mean", "low", "high"]].tolist() == [0, 0, 0, 0]
    assert row["p"] == 1


def test_fewer_than_two_groups_give_an_empty_table() -> None:
    data = {"counts": records(0, [0.0] * 6), "codes": np.zeros(6, int), "models": np.arange(6)}
    found = run(data, "a")
    assert len(found) == 0
    assert tuple(found.columns) == COLUMNS


p_values = arrays(np.float64, st.integers(0, 12), elements=st.one_of(st.just(np.nan), st.floats(0, 1)))


@given(p=p_values)
def test_holm_is_monotone_and_never_below_p(p: np.ndarray) -> None:
    found, known = holm(p), ~np.isnan(p)
    assert np.array_equal(np.isnan(found), ~known)
    assert (found[known] >= p[known]).all()
    assert (found[known] <= 1).all()
    order = np.argsort(p[known])
    assert (np.diff(found[known][order]) >= 0).all()
    m = known.sum()
    assert (found[known] <= np.minimum(1, m * p[known]).max(initial=0)).all()


def test_holm_is_the_textbook_example() -> None:
    assert holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005])) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True
    )


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), make=st.sampled_from([between, within]))
def test_a_table_of_any_data_holds_together(seed: int, make: Any) -> None:
    found = run(make(seed))
    assert (found["low"] <= found["D"] + 1e-12).all()
    assert (found["low"] <= found["high"]).all()
    assert (found["p_holm"].to_numpy()[np.argsort(found["p"])] == np.sort(found["p_holm"])).all()


def null_data(seed: int, kind: str) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 7])
    if kind == "between":
        models = np.repeat(np.arange(14), 2)
        codes = np.repeat(np.repeat([0, 1], 7), 2)
    else:
        models, codes = np.repeat(np.arange(8), 4), np.tile([0, 0, 1, 1], 8)
    own = 0.5 * rng.standard_normal(models.max() + 1)
    return {"counts": records(seed, own[models].tolist()), "codes": codes, "models": models}


@pytest.mark.parametrize("kind", ["between", "within"])
def test_p_is_uniform_where_nothing_differs(kind: str) -> None:
    how = Resampling(permutations=199, draws=1)
    p = [run(null_data(seed, kind), "ab", resampling=how)["p"].iloc[0] for seed in range(120)]
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("by", MEASURES)
def test_the_interval_covers_the_distance_of_the_populations(by: str) -> None:
    codes = np.repeat([0, 1], 8)
    many = [records(seed, [0.6 * seed] * 20_000, largest=300).sum(axis=0) for seed in (0, 1)]
    true = measure(by)(*many, weights=WEIGHTS, width=WIDTH)
    covered = []
    for seed in range(80):
        data = {
            "counts": records(1000 + seed, (0.6 * codes).tolist()),
            "codes": codes,
            "models": np.arange(16),
        }
        row = run(data, "ab", by=by, resampling=Resampling(seed=seed, permutations=99, draws=299)).iloc[0]
        covered.append(row["low"] <= true <= row["high"])
    assert np.mean(covered) >= 0.85
