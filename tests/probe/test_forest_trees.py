"""Trees are those of scikit-learn's random forest to the bit, and a missing score says why it is missing."""

from __future__ import annotations

import math

import formulas
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from filterdb.probe.forest import alpha_score, forest_score, grow, min_max_scaled, one_hot, wavelet_norms


def drawn(rows: int, classes: int, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels: noise, a few features that tell classes apart, or values with many ties."""
    rng = np.random.default_rng(seed)
    features, labels = rng.random((rows, 12)).astype("f4"), rng.integers(0, classes, rows)
    if kind == "apart":
        features[:, :3] += labels[:, None] / 2
    return (np.round(features * 6) if kind == "ties" else features).astype("f4"), labels


@pytest.mark.parametrize("kind", ["noise", "apart", "ties"])
@pytest.mark.parametrize(("rows", "classes"), [(150, 2), (150, 5), (150, 90), (9, 3)])
@pytest.mark.parametrize("seed", [2, 3])
def test_trees_are_those_of_the_forest_to_the_bit(kind: str, rows: int, classes: int, seed: int) -> None:
    features, labels = drawn(rows, classes, kind, seed)
    scaled, wanted = min_max_scaled(features), one_hot(labels)
    forest = RandomForestRegressor(n_estimators=3, max_depth=15, random_state=seed).fit(scaled, wanted)
    undrawn = 0
    for other in forest.estimators_:
        grown = grow(scaled, wanted, other.random_state)
        ours, theirs = grown.tree.tree_, other.tree_
        for name in ("feature", "threshold", "children_left", "weighted_n_node_samples"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
        assert np.array_equal(grown.means, theirs.value[:, :, 0])
        undrawn += wanted.shape[1] - grown.classes
    assert undrawn > 0 or classes < 90
    found = forest_score(scaled, labels, rule="plain", trees=3, seed=seed)
    norms = formulas.wavelets(features, labels, original=False, trees=3, seed=seed)
    assert found.nodes == sum(norm > 0 for norm in norms)
    expected = formulas.alpha([norm for norm in norms if norm > 0], trees=3)
    assert found.alpha == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_classes_that_no_row_was_drawn_of_cost_nothing_and_stay_zero() -> None:
    features, labels = drawn(150, 90, "noise", 0)
    grown = grow(min_max_scaled(features), one_hot(labels), 5)
    assert grown.tree.n_outputs_ == grown.classes < grown.means.shape[1]
    assert (grown.means.sum(axis=0) == 0).sum() == grown.means.shape[1] - grown.classes
    assert len(wavelet_norms(grown, min_max_scaled(features), "plain")) == 2 * grown.splits


def test_too_few_rows_are_said_to_be_too_few_and_not_to_be_told_apart() -> None:
    for seed in range(8):
        features, labels = drawn(12, 2, "noise", seed)
        found = alpha_score(features, labels)
        assert math.isnan(found.alpha)
        assert found.reason.startswith(f"{found.nodes} wavelets are too few for a score: no tau has an angle")
        assert found.reason.endswith("off; more rows, or more trees (--trees), are needed")
        assert "apart" not in found.reason


def test_more_rows_or_trees_give_a_score_as_the_reason_says() -> None:
    features, labels = drawn(12, 2, "noise", 0)
    assert not alpha_score(features, labels, trees=10).reason
    assert not alpha_score(*drawn(60, 2, "noise", 0)).reason


def test_labels_that_are_perfectly_apart_are_said_to_be() -> None:
    labels = np.arange(120) % 4
    features = np.eye(4, dtype="f4")[labels]
    found = alpha_score(features, labels)
    assert math.isnan(found.alpha)
    assert math.isnan(formulas.alpha(formulas.wavelets(features, labels, original=False)))
    assert found.reason.startswith(
        "the labels of all 120 rows are told apart by no more than 3 splits of its tree, and"
        " 6 wavelets are too few for a score: no tau has an angle within 0.10 degrees of -90"
    )
    assert found.reason.endswith("off; more trees have more (--trees)")
    assert not alpha_score(features, labels, trees=5).reason
    # One row that ends among others, and they are not all told apart.
    labels[0] = 1
    assert "apart" not in alpha_score(features, labels).reason


@pytest.mark.parametrize("rows", [2, 3])
def test_rows_of_one_class_drawn_by_chance_are_told_from_features_that_tell_nothing(rows: int) -> None:
    labels = np.arange(rows) % 2
    features = np.stack([labels, labels], axis=1).astype("f4")
    reasons = {alpha_score(features, labels, seed=seed).reason.partition(";")[0] for seed in range(12)}
    one_class = f"the rows that its tree draws of these {rows} are all of one class"
    assert one_class in reasons
    assert any(reason.startswith(f"the labels of all {rows} rows are told apart") for reason in reasons)
    assert "no split tells the labels apart" not in reasons
    assert alpha_score(np.ones_like(features), labels, seed=4).reason in (
        "no split tells the labels apart",
        f"{one_class}; more rows, or more trees (--trees), are needed",
    )
