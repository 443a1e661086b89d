"""The scale of alpha: forests of several seeds, shuffled labels, and which draw belongs to which seed."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import LAYERS, activations, classifier, images, write

from filterdb.config import RunConfig
from filterdb.errors import UsageError
from filterdb.probe import sparsity
from filterdb.probe.forest import alpha_score
from filterdb.run.probing.settings import options_of
from filterdb.run.probing.zoo import probe_zoo
from in_process import call

ROWS = 60
LABELS = np.arange(ROWS) % 3
SPREAD = ["alpha_sd", "alpha_shuffled", "alpha_shuffled_sd"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", classifier())


def scored(model: Path, **options: Any) -> pd.DataFrame:
    return sparsity(model, data=images(ROWS), labels=LABELS, pooling="mean", **options).to_frame()


def features(model: Path, layer: str) -> np.ndarray:
    values = activations(model, {"x": images(ROWS)})[LAYERS[layer]]
    return values if values.ndim == 2 else values.mean(axis=(2, 3), dtype="f8").astype("f4")


def test_alpha_is_the_mean_of_forests_of_seeds_that_follow_each_other(model: Path) -> None:
    one = [scored(model, forest_seed=seed)["alpha"].to_numpy() for seed in (2, 3, 4)]
    found = scored(model, forests=3)
    assert found["alpha"].tolist() == [math.fsum(values) / 3 for values in zip(*one, strict=True)]
    assert found["alpha_sd"].tolist() == [statistics.stdev(values) for values in zip(*one, strict=True)]
    assert (found["alpha_sd"] > 0).all()


def test_one_forest_has_no_spread_and_is_the_default(model: Path) -> None:
    plain = scored(model)
    assert plain.equals(scored(model, forests=1, shuffles=0, forest_seed=2, clusters=True))
    assert plain["alpha"].notna().all()
    assert plain[SPREAD].isna().all(axis=None)
    assert plain["reason"].tolist() == [""] * 3


def test_shuffled_labels_are_scored_as_labels_are(model: Path) -> None:
    found = scored(model, shuffles=4, seed=9)
    draws = np.random.default_rng([9, 1])
    orders = [draws.permutation(LABELS) for _ in range(4)]
    for place, layer in enumerate(LAYERS):
        direct = [
            alpha_score(features(model, layer), order, seed=2 + k).alpha for k, order in enumerate(orders)
        ]
        # Values of two runtimes differ in their last digits, and so may a split.
        assert found["alpha_shuffled"][place] == pytest.approx(statistics.fmean(direct), abs=0.05)
        assert found["alpha_shuffled_sd"][place] == pytest.approx(statistics.stdev(direct), abs=0.05)
    assert found["alpha"].equals(scored(model)["alpha"])
    once = scored(model, shuffles=1)
    assert once["alpha_shuffled"].notna().all()
    assert once["alpha_shuffled_sd"].isna().all()


def test_labels_that_mean_something_are_above_their_shuffled_ones_and_others_are_not() -> None:
    from filterdb.config import demo_folder

    model = demo_folder() / "zoo" / "cls-handwriting-densenet-over.onnx"
    options: dict[str, Any] = {"limit": 200, "pooling": "mean", "shuffles": 5, "clusters": False}
    last = sparsity(model, **options).to_frame().iloc[-1]
    assert last["alpha"] > last["alpha_shuffled"] + 5 * last["alpha_shuffled_sd"]
    labels = np.random.default_rng(0).integers(0, 10, 1797)
    last = sparsity(model, labels=labels, **options).to_frame().iloc[-1]
    assert abs(last["alpha"] - last["alpha_shuffled"]) < 5 * last["alpha_shuffled_sd"]


def test_each_draw_belongs_to_one_seed(model: Path) -> None:
    plain = scored(model, shuffles=3)
    data = scored(model, shuffles=3, seed=1)
    assert not np.isclose(data["alpha_shuffled"], plain["alpha_shuffled"]).any()
    assert data.drop(columns=SPREAD).equals(plain.drop(columns=SPREAD))
    forest = scored(model, shuffles=3, forest_seed=7)
    assert not np.isclose(forest["alpha"], plain["alpha"]).any()
    assert not np.isclose(forest["alpha_shuffled"], plain["alpha_shuffled"]).any()


def test_without_clusters_all_else_is_the_same(model: Path) -> None:
    agreements = ["ari", "ami", "homogeneity", "completeness", "fmi"]
    plain, bare = scored(model), scored(model, clusters=False)
    assert bare[agreements].isna().all(axis=None)
    assert plain[agreements].notna().all(axis=None)
    assert bare.drop(columns=agreements).equals(plain.drop(columns=agreements))


def test_a_mean_of_which_one_is_missing_is_not_defined_and_says_so(model: Path) -> None:
    def of(rows: int, **options: Any) -> pd.DataFrame:
        labels = np.arange(rows) % 2
        return sparsity(model, data=images(rows), labels=labels, pooling="mean", **options).to_frame()

    few = of(6, forests=3, shuffles=3)
    assert few[["alpha", *SPREAD]].isna().all(axis=None)
    assert few["reason"].str.match(r"\d of 3 forests have no score, the first as (\d+ wavelet|the )").all()
    # Where labels have a score and shuffled ones have none, that is said as well.
    labels = np.asarray([0] * 39 + [1])
    found = sparsity(model, data=images(40), labels=labels, pooling="mean", trees=1, shuffles=6).to_frame()
    lacking = found["alpha_shuffled"].isna()
    assert lacking.any()
    assert found.loc[lacking, "reason"].ne("").all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"forests": 0}, "forests is 0"),
        ({"shuffles": -1}, "shuffles is -1"),
        ({"forest_seed": -1}, "forest_seed is -1"),
        ({"forest_seed": 1 << 32}, "forest_seed is 4294967296, and each forest takes the next one"),
        ({"forest_seed": (1 << 32) - 2, "shuffles": 3}, "each forest takes the next one"),
        ({"clusters": "no"}, "clusters is 'no'"),
    ],
)
def test_what_no_forest_can_be_grown_with_is_refused(model: Path, options: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        scored(model, **options)


def test_the_largest_seeds_are_taken(model: Path) -> None:
    assert scored(model, forest_seed=(1 << 32) - 2, forests=2)["alpha"].notna().all()


@pytest.fixture
def folder(model: Path) -> Path:
    np.savez(model.parent / "data.npz", x=images(ROWS), labels=LABELS)
    return model.parent


def told(folder: Path, *arguments: str, path: str = "model.onnx") -> str:
    done = call("probe", "sparsity", path, "--data", "data.npz", "--pooling", "mean", *arguments, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def test_the_command_takes_all_of_them_and_shows_what_was_asked_for(folder: Path) -> None:
    _, data, titles, *_ = told(folder).splitlines()
    assert titles.split() == ["layer", "operator", "alpha", "ARI", "AMI", "FMI"]
    assert data.endswith("(rule plain)")
    arguments = ("--forests", "2", "--shuffles", "3", "--forest-seed", "5", "--no-clusters")
    _, data, titles, *rows = told(folder, *arguments).splitlines()
    assert data.endswith("(rule plain, mean of 2 forests, 3 with shuffled labels)")
    assert titles.split() == ["layer", "operator", "alpha", "sd", "shuffled", "its", "sd"]
    table = scored(folder / "model.onnx", forests=2, shuffles=3, forest_seed=5, clusters=False)
    for row, expected in zip(rows, table.itertuples(), strict=True):
        values = [expected.alpha, expected.alpha_sd, expected.alpha_shuffled, expected.alpha_shuffled_sd]
        assert row.split()[2:] == [f"{value:.3f}" for value in values]
    found = json.loads(told(folder, *arguments, "--json"))
    assert {name: found[name] for name in ("forests", "shuffles", "forest_seed", "clusters")} == {
        "forests": 2,
        "shuffles": 3,
        "forest_seed": 5,
        "clusters": False,
    }
    assert [row["ari"] for row in found["layers"]] == [None] * 3


def test_the_figure_needs_no_clusters(folder: Path) -> None:
    told(folder, "--no-clusters", "--shuffles", "2", "--figure", "found.svg")
    assert "<svg" in (folder / "found.svg").read_text("utf-8")


def test_the_configuration_says_the_same_and_a_zoo_has_the_columns(folder: Path) -> None:
    section = {"pooling": "mean", "forests": 2, "shuffles": 2, "forest_seed": 5, "clusters": False}
    settings = {"data": str(folder / "data.npz"), "sparsity": section}
    config = RunConfig.parse({"workers": 1, "probe": settings}, where="test")
    options = options_of("sparsity", config.probe)
    assert section.items() <= options.items()
    probe_zoo("sparsity", [folder], folder / "out", config, options)
    rows = pd.read_parquet(folder / "out" / "layers.parquet")
    alone = scored(folder / "model.onnx", forests=2, shuffles=2, forest_seed=5, clusters=False, threads=1)
    assert rows["alpha"].tolist() == alone["alpha"].tolist()
    assert rows[SPREAD].to_numpy() == pytest.approx(alone[SPREAD].to_numpy(), rel=0, abs=0)
    with pytest.raises(UsageError, match="forests is 0"):
        probe_zoo("sparsity", [folder], folder / "out", config, {**options, "forests": 0})
