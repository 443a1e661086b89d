"""`probe sparsity`: the score of a tree's wavelets, against the formulas walked through row by row."""

from __future__ import annotations

import math
from pathlib import Path

import formulas
import numpy as np
import pytest
from models import LAYERS, activations, classifier, image_input, images, output, write
from onnx import helper
from sklearn.decomposition import TruncatedSVD

from filterdb.errors import UsageError
from filterdb.probe import sparsity
from filterdb.probe.clusters import agreements
from filterdb.probe.forest import ANGLES, TAUS, alpha_score, min_max_scaled, score_of
from filterdb.probe.scoring import reduce
from filterdb.testing import graph_of, model_of, tensor


def blobs(
    rows: int = 300, width: int = 6, classes: int = 4, *, spread: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, width)) * 2
    return (centres[labels] + spread * rng.normal(size=(rows, width))).astype("f4"), labels.astype(np.intp)


@pytest.mark.parametrize("rule", ["plain", "original"])
@pytest.mark.parametrize("trees", [1, 3])
@pytest.mark.parametrize("spread", [0.9, 2.0])
def test_the_score_is_that_of_the_formulas(rule: str, trees: int, spread: float) -> None:
    features, labels = blobs(spread=spread)
    features[:, 2] = 7  # a constant feature becomes 0
    norms = formulas.wavelets(features, labels, original=rule == "original", trees=trees)
    found = alpha_score(features, labels, rule=rule, trees=trees)
    expected = formulas.alpha([norm for norm in norms if norm > 0], trees)
    assert not math.isnan(expected)
    assert found.alpha == pytest.approx(expected, abs=1e-9)
    assert found.nodes == len(norms)
    assert len(found.alphas) == 10


def test_taus_and_angles_are_those_of_the_formulas() -> None:
    assert (len(TAUS), TAUS[0], TAUS[-1]) == (170, 0.30, 1.99)
    assert (len(ANGLES), ANGLES[0], ANGLES[-1]) == (10, 0.10, 0.37)


def test_the_root_counts_twice_for_its_children_by_the_original_rule_only() -> None:
    features, labels = blobs()
    assert alpha_score(features, labels, rule="original").alpha != alpha_score(features, labels).alpha


def test_separable_features_score_higher_than_shuffled_labels() -> None:
    features, labels = blobs()
    shuffled = np.random.default_rng(1).permutation(labels)
    assert alpha_score(features, labels).alpha > alpha_score(features, shuffled).alpha + 0.2
    agree, chance = agreements(features, labels), agreements(features, shuffled)
    assert all(agree[name] > chance[name] + 0.3 for name in agree)


def test_the_score_is_defined_or_says_why_not() -> None:
    features, labels = blobs()
    constant = alpha_score(np.ones_like(features), labels)
    assert (math.isnan(constant.alpha), constant.reason) == (True, "no split tells the labels apart")
    one = alpha_score(features, np.zeros_like(labels))
    assert one.reason == "all labels are the same"
    single = score_of(np.asarray([0.5]))
    assert math.isnan(single.alpha)
    assert single.reason.startswith(
        "1 wavelet is too few for a score: no tau has an angle within 0.10 degrees"
    )


def test_a_wavelet_of_norm_zero_carries_nothing_by_the_plain_rule() -> None:
    norms = np.abs(np.random.default_rng(0).normal(size=60))
    padded = np.append(norms, 0.0)
    assert score_of(padded).alpha == score_of(norms).alpha
    assert score_of(padded, rule="original").alpha != score_of(norms).alpha


def test_scaling_and_shifting_features_changes_no_score() -> None:
    features, labels = blobs()
    changed = features * np.asarray([1, 2, 4, 8, 0.5, 0.25], "f4") + 16
    assert alpha_score(changed, labels).alpha == pytest.approx(alpha_score(features, labels).alpha, abs=0.05)
    scaled = min_max_scaled(changed)
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_wide_features_are_reduced_to_their_singular_components() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(40, 90)) @ np.diag(np.linspace(3, 0.1, 90))
    assert reduce(wide, most=90) is wide
    ours = reduce(wide, most=50)
    exact = TruncatedSVD(39, algorithm="arpack").fit_transform(wide)
    assert ours.shape == (40, 40)
    assert np.abs(ours[:, :39]) == pytest.approx(np.abs(exact), rel=1e-6, abs=1e-9)
    drawn = reduce(wide, most=20)
    assert drawn.shape == (40, 20)
    assert np.abs(drawn[:, :5]) == pytest.approx(np.abs(exact[:, :5]), rel=0.05, abs=0.1)


def test_components_that_are_nothing_but_rounding_are_no_features() -> None:
    flat = np.outer(np.arange(1.0, 9), np.ones(30))
    assert reduce(flat, most=10).shape == (8, 1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", classifier())


def test_every_layer_is_scored_on_its_activations(model: Path) -> None:
    data = images(120)
    labels = (data.mean(axis=(1, 2, 3)) > 0).astype(int) + (data[:, 0, 0, 0] > 0)
    found = sparsity(model, data=data, labels=labels, batch=17)
    values = activations(model, {"x": data})
    assert [layer.layer for layer in found.layers] == list(LAYERS)
    assert found.classes == 3
    for layer in found.layers:
        features = values[LAYERS[layer.layer]].reshape(120, -1)
        direct = alpha_score(features, labels)
        assert layer.features == features.shape[1]
        # Values of two runtimes differ in their last digits, and so may a split.
        assert layer.alpha == pytest.approx(direct.alpha, abs=0.05)
        assert layer.ari == pytest.approx(agreements(features, labels)["ari"], abs=0.05)


def test_batches_passes_and_threads_change_no_bit(model: Path) -> None:
    data, labels = images(60), np.arange(60) % 3
    one = sparsity(model, data=data, labels=labels).to_frame()
    for options in ({"batch": 7}, {"memory": 120 * 60 * 4}, {"threads": 1}):
        other = sparsity(model, data=data, labels=labels, **options).to_frame()  # type: ignore[arg-type]
        kept = other["alpha"].notna() | one["alpha"].isna()
        assert other[kept].equals(one[kept]), options
        assert kept.sum() >= 2


def test_a_layer_that_does_not_fit_says_what_it_needs(model: Path) -> None:
    table = sparsity(model, data=images(60), labels=np.arange(60) % 3, memory=30_000).to_frame()
    wide = f"its features need {4 * 60 * 6 * 64 / 1e6:.1f} MB; see --memory and --pooling"
    assert table["reason"].eq(wide).tolist() == [True, False, False]
    pooled = sparsity(
        model, data=images(60), labels=np.arange(60) % 3, memory=30_000, pooling="mean"
    ).to_frame()
    assert pooled["features"].tolist() == [6, 8, 10]
    assert pooled["reason"].str.contains("MB").sum() == 0


def test_dead_layers_stay_in_the_table(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", f"{name}.weight"], [name]) for name in ("dead", "nan", "good")]
    nodes.append(helper.make_node("Sum", ["dead", "nan", "good"], ["y"]))
    weights = {"dead": np.zeros((4, 3)), "nan": np.full((4, 3), np.nan), "good": np.eye(4)[:, :3]}
    stored = [tensor(f"{name}.weight", weight.astype("f4")) for name, weight in weights.items()]
    graph = graph_of(nodes, inputs=[image_input(None, 4)], outputs=[output("y")], weights=stored)
    features, labels = blobs(width=4)
    table = sparsity(write(tmp_path / "m.onnx", model_of(graph)), data=features, labels=labels).to_frame()
    assert table["layer"].tolist() == ["dead", "nan", "good"]
    assert table["reason"].tolist() == [
        "its activations do not vary",
        "its activations hold NaN or infinity",
        "",
    ]
    assert table["alpha"].notna().tolist() == [False, False, True]
    assert table["ari"].notna().tolist() == [False, False, True]


def test_labels_are_needed_and_must_differ(model: Path) -> None:
    with pytest.raises(UsageError, match="the data has no labels"):
        sparsity(model, data=images(8))
    with pytest.raises(UsageError, match="all labels are the same"):
        sparsity(model, data=images(8), labels=["a"] * 8)
    with pytest.raises(UsageError, match=r"labels of the shape \[7\] for 8 rows"):
        sparsity(model, data=images(8), labels=[1] * 7)


def test_a_trained_model_tells_its_classes_better_with_depth_than_its_first_layer() -> None:
    from filterdb.config import demo_folder

    model = demo_folder() / "zoo" / "cls-handwriting-densenet-over.onnx"
    table = sparsity(model, limit=400, pooling="mean").to_frame()
    assert table["alpha"].iloc[-1] > table["alpha"].iloc[0] + 0.2
    assert table["ari"].iloc[-1] > 0.9
