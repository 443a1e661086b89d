"""Findings: each sentence against numbers that are known before."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from filterdb.report import drift, wear
from filterdb.report.blocks import Finding
from filterdb.report.notable import notable

LABELS = {"low_entropy": 0.5, "random_margin": 0.02, "sparse": 0.14}


def pairs_of(
    groups: dict[str, int], distances: list[float], *, p: list[float], null: float = 0.1
) -> pd.DataFrame:
    names = list(groups)
    rows = []
    for (a, b), d, one in zip(itertools.combinations(names, 2), distances, p, strict=True):
        tested = min(groups[a], groups[b]) >= drift.FEWEST_MODELS and not np.isnan(d)
        found = {
            "null_mean": null,
            "excess": d - null,
            "low": d / 2,
            "high": d * 2,
            "p": one / 3,
            "p_holm": one,
        }
        rows.append(
            {"group_a": a, "group_b": b, "D": d}
            | (found if tested else dict.fromkeys(found, np.nan))
            | {"models_a": groups[a], "models_b": groups[b], "reason": "" if tested else "too few"}
        )
    return pd.DataFrame(rows)


def groups_of(groups: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({"group": list(groups), "models": list(groups.values())})


def said(findings: list[Finding]) -> str:
    return "\n".join("\n".join((one.head, *one.details, one.caution)) for one in findings)


def findings(
    axes: dict[str, tuple[dict[str, int], list[float], list[float]]], permutations: int = 999
) -> str:
    pairs = {name: pairs_of(groups, d, p=p) for name, (groups, d, p) in axes.items()}
    summaries = [
        drift.summarize(name, pairs[name], groups_of(groups), permutations=permutations)
        for name, (groups, _, _) in axes.items()
    ]
    return said(drift.drift_findings(summaries, pairs, measure="paper"))


def test_the_axis_with_the_largest_median_excess_comes_first() -> None:
    groups = {"a": 9, "b": 9, "c": 9}
    text = findings(
        {
            "Task": (groups, [0.2, 0.3, 0.9], [0.01, 0.2, 0.01]),
            "Family": (groups, [0.5, 0.6, 0.7], [0.01, 0.01, 0.01]),
        }
    )
    assert text.startswith("Filters differ most by Family, of 2 axes that could be tested.")
    assert "By Family: D exceeds chance by 0.500 in the median of 3 tested pairs; median D 0.600, " in text
    assert "By Task: D exceeds chance by 0.200 in the median of 3 tested pairs; median D 0.300, " in text
    assert text.index("By Family") < text.index("By Task")


def test_the_pairs_beyond_chance_are_named_by_excess_with_interval_and_p() -> None:
    groups = {"a": 9, "b": 9, "c": 9}
    text = findings({"depth_decile": (groups, [0.2, 0.3, 0.9], [0.01, 0.2, 0.0004])})
    assert "2 pairs of groups differ by more than chance." in text
    first = (
        "b and c, by depth decile: D = 0.900 (95% interval 0.450 to 1.800), of which chance gives 0.100; "
        "p < 0.001 after adjustment for 3 pairs."
    )
    assert first in text
    assert text.index(first) < text.index("a and b, by depth decile: D = 0.200")
    assert "a and c, by depth decile: D" not in text
    assert "1 of 3 tested pairs cannot be told apart from chance." in text


def test_where_nothing_is_beyond_chance_no_finding_is_made_of_it() -> None:
    groups = {"a": 9, "b": 9, "c": 9}
    text = findings({"Task": (groups, [0.02, 0.03, 0.09], [0.5, 0.6, 1.0])})
    assert "Along no axis do filters differ by more than chance in the median pair of groups." in text
    assert "By Task: D falls short of chance by 0.070" in text
    assert "No pair of groups differs by more than chance." in text
    assert "By Task: all 3 pairs." in text


def test_groups_of_too_few_models_are_named_with_their_number() -> None:
    groups = {"a": 9, "b": 9, "small": 2, "tiny": 1}
    text = findings({"Task": (groups, [0.5] * 6, [0.01] + [np.nan] * 5)})
    assert "2 groups with fewer than 5 models cannot be tested" in text
    assert "By Task: 2 of 4 groups: small (2) and tiny (1)." in text
    assert "One pair of groups differs by more than chance." in text


def test_where_no_group_is_large_enough_it_says_so() -> None:
    text = findings({"Task": ({"a": 2, "b": 1}, [0.4], [np.nan])})
    assert text.startswith("No axis could be tested against chance.")
    assert "The largest median D is that of Task: 0.400." in text
    assert "a and b, by Task: D = 0.400; not tested: too few." in text


def test_permutations_that_no_pair_can_pass_are_called_too_few() -> None:
    groups = {"a": 9, "b": 9, "c": 9}
    few = findings({"Task": (groups, [0.2, 0.3, 0.9], [0.15, 0.2, 0.15])}, permutations=19)
    assert "By Task: no p can fall below 0.150 after adjustment for 3 pairs." in few
    enough = findings({"Task": (groups, [0.2, 0.3, 0.9], [0.15, 0.2, 0.15])}, permutations=999)
    assert "permutations are too few" not in enough


@pytest.mark.parametrize(
    ("p", "d", "expected"),
    [
        (0.049, 1.0, "beyond chance"),
        (0.05, 1.0, "may be chance"),
        (np.nan, 1.0, "not tested"),
        (np.nan, np.nan, "no distance"),
    ],
)
def test_a_verdict_is_drawn_at_one_level(p: float, d: float, expected: str) -> None:
    assert drift.verdict(p, d) == expected


def layers_of(models: dict[str, list[dict[str, float]]]) -> pd.DataFrame:
    rows, index = [], []
    for place, (model, layers) in enumerate(models.items()):
        for depth, layer in enumerate(layers):
            given = {"n": 100, "sparsity": 0.0, "variance_entropy": 0.8, "variance_entropy_norm": 0.85}
            labels = {"random": False, "low_diversity": False, "degenerate": False}
            rows.append({"model": model, "layer_name": f"l{depth}", **given, **labels, **layer})
            index.append((place, depth, depth / max(1, len(layers) - 1), depth))
    names = ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index, names=names))


def models_of(layers: pd.DataFrame) -> pd.DataFrame:
    groups = layers.groupby(level="model_id")
    found = groups.agg(
        model=("model", "first"),
        layers=("n", "size"),
        n=("n", "sum"),
        sparsity=("sparsity", "mean"),
        variance_entropy_norm=("variance_entropy_norm", "mean"),
        degenerate_layers=("degenerate", "sum"),
    )
    return found.assign(orthogonality=np.nan)


def test_degenerate_layers_are_counted_by_rule_and_models_by_share() -> None:
    near = {"degenerate": True, "variance_entropy": 0.95}
    worn = {"degenerate": True, "low_diversity": True, "sparsity": 0.5, "variance_entropy": 0.2}
    layers = layers_of({"full": [near] * 3, "half": [worn, {}, {}, {}], "clean": [{}] * 3, "tiny": [near]})
    text = said(wear.quality_findings(layers, models_of(layers), LABELS))
    assert "5 of 11 layers (45%) are degenerate." in text
    assert "4 layers: filters as varied as random ones." in text
    assert "1 layer: filters of low diversity, many of them sparse." in text
    assert "In 1 model every layer is degenerate." in text
    assert "The largest shares: full (3 of 3) and half (1 of 4) (models of at least 3 layers)." in text
    assert "Most sparse: half / l0 (S = 0.500)." in text
    assert "Least varied: half / l0 (H = 0.200), " in text


def test_without_a_degenerate_layer_none_is_claimed() -> None:
    layers = layers_of({"a": [{}] * 3, "b": [{}] * 3})
    text = said(wear.quality_findings(layers, models_of(layers), LABELS))
    assert "None of 6 layers is degenerate." in text
    assert "every layer" not in text


def test_a_trend_with_depth_is_that_of_models_and_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    models = {
        f"m{k}": [
            {
                "sparsity": 0.1 * depth + float(rng.normal(0, 0.05)),
                "variance_entropy_norm": float(rng.normal()),
            }
            for depth in range(6)
        ]
        for k in range(12)
    }
    layers = layers_of(models)
    rhos = wear.trends(layers, "sparsity")
    depths = np.arange(6)
    expected = [
        stats.spearmanr(depths, [one["sparsity"] for one in made]).statistic for made in models.values()
    ]
    np.testing.assert_allclose(rhos, expected, atol=1e-12)
    text = said(wear.quality_findings(layers, models_of(layers), LABELS))
    assert "Sparsity follows depth." in text
    assert "Sparsity rises with depth in 12 of 12 models" in text


@pytest.mark.parametrize(("rising", "falling"), [(5, 3), (12, 0), (0, 7), (4, 4), (43, 8)])
def test_the_sign_test_is_scipys(rising: int, falling: int) -> None:
    expected = stats.binomtest(rising, rising + falling).pvalue
    assert wear.sign_test(rising, falling) == pytest.approx(expected, rel=1e-9)


def test_models_of_few_or_equal_layers_have_no_trend() -> None:
    layers = layers_of({"short": [{"sparsity": 0.1 * k} for k in range(4)], "flat": [{}] * 9})
    assert len(wear.trends(layers, "sparsity")) == 0


def test_notable_models_are_extremes_by_turns_each_with_its_reason() -> None:
    worn = {"degenerate": True}
    models = {f"plain{k:02d}": [{"sparsity": 0.01 * k}] * (3 + k % 2) for k in range(30)}
    layers = layers_of(
        {**models, "worn": [worn] * 5, "bare": [{"sparsity": 0.9}] * 3, "huge": [{"n": 9_000}] * 3}
    )
    shown = {one.name: one.reasons for one in notable(models_of(layers))}
    assert len(shown) == 20
    assert shown["worn"] == ("largest share of degenerate layers (5 of 5)",)
    assert shown["bare"] == ("most sparse (S = 0.900)",)
    assert shown["huge"] == ("most filters (27,000)",)
    # A metric that nobody knows ranks no model.
    assert not any("orthogonal" in reason for reasons in shown.values() for reason in reasons)
    assert next(iter(shown)) == "worn"
