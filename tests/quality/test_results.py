"""Metrics and labels as an analysis writes them: layers.parquet and models.parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

import reference
from filterdb.config import RunConfig
from filterdb.errors import ConfigError
from filterdb.quality import LABELS, METRICS, label
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract
from filterdb.testing import conv_net, random_weight, write_model

FAST = {"by": ("Task",), "permutations": 9, "draws": 9}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    zero = np.zeros((8, 3, 3, 3), np.float32)
    broken = random_weight((4, 8, 3, 3), seed=18)
    broken[0, :, 1, 1] = np.nan
    broken[2, 5, 0, 0] = np.inf
    narrow = np.zeros((600, 4, 3, 3), np.float32)
    narrow[:, :, 1, 1] = random_weight((600, 4), seed=3)
    models = {
        "alpha": [zero, broken, (1, 4, 3, 3)],
        "beta": [(40, 3, 3, 3), (64, 40, 3, 3), (2, 1, 3, 3)],
        "gamma": [(4, 1, 3, 3), narrow],
    }
    for seed, (name, weights) in enumerate(models.items()):
        write_model(folder / "zoo" / f"{name}.onnx", conv_net(weights, seed=20 * seed))
    (folder / "models.csv").write_text("Name,Task\nalpha,a\nbeta,b\ngamma,a\n")
    out = folder / "dataset.h5"
    extract(RunConfig(zoo=(str(folder / "zoo"),), metadata=str(folder / "models.csv"), workers=1), out)
    return out


def analyzed(dataset: Path, out: Path, **settings: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    analyze(dataset, out, RunConfig(workers=1).with_analyze(**FAST, **settings))
    return pd.read_parquet(out / "layers.parquet"), pd.read_parquet(out / "models.parquet")


@pytest.fixture(scope="module")
def tables(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    return analyzed(dataset, tmp_path_factory.mktemp("results") / "results")


def test_every_layer_has_every_metric_and_label_under_the_index_of_meta(
    dataset: Path, tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    layers, meta = tables[0], pd.read_hdf(dataset, "meta")
    assert layers.index.equals(meta.index)
    assert layers.index.names == meta.index.names
    pd.testing.assert_frame_equal(layers[["model", "layer_name"]], meta[["model", "layer_name"]])
    types = {name: str(dtype) for name, dtype in layers.dtypes.items()}
    assert {name: types[name] for name in METRICS} == {"n": "int64"} | dict.fromkeys(METRICS[1:], "float64")
    assert {types[name] for name in LABELS} == {"bool"}
    assert types["reason"] == "str"
    joined = meta.join(layers[list(METRICS)])
    assert len(joined) == len(meta)
    assert (joined["n"] == joined["filter_end"] - joined["filter_start"]).all()


def test_every_row_equals_the_definitions_of_its_filters(
    dataset: Path, tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    meta = pd.read_hdf(dataset, "meta")
    with h5py.File(dataset) as file:
        filters = file["filter"][:]
    for (_, row), (_, record) in zip(tables[0].iterrows(), meta.iterrows(), strict=True):
        own = filters[record["filter_start"] : record["filter_end"]]
        good = reference.finite(own)
        if len(good) == len(own):
            expected = reference.quality(own.reshape(record["out_channels"], -1, 3, 3))
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-12, nan_ok=True), name
        entropy, sparsity = reference.entropy(good), reference.sparse(good).mean()
        assert row["variance_entropy"] == pytest.approx(entropy, abs=1e-12)
        assert {name: row[name] for name in LABELS} == label(len(good), entropy, sparsity)
        missing = row[list(METRICS)].astype(float).isna().any()
        assert not missing or row["reason"]


def test_labels_count_finite_filters_only(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """A layer of 32 filters, of which 9 are broken: its entropy lies between T_H of 23 and T_H of 32."""
    row = tables[0].iloc[1]
    limit = reference.threshold(23)
    assert row["n"] == 32
    assert limit < row["variance_entropy"] < reference.threshold(32) - 0.02
    assert row["random"]
    assert row["degenerate"]
    assert row["variance_entropy_norm"] == pytest.approx(row["variance_entropy"] / limit, rel=1e-9)


def test_the_summary_of_a_model_is_what_pandas_says_of_its_layers(
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    layers, models = tables
    assert models.index.tolist() == [0, 1, 2]
    assert models["model"].tolist() == ["alpha", "beta", "gamma"]
    for model_id, row in models.iterrows():
        own = layers.loc[model_id]
        assert (row["layers"], row["n"]) == (len(own), own["n"].sum())
        for name in METRICS[1:7]:
            known = own[own[name].notna()]
            mean = np.average(known[name], weights=known["n"]) if len(known) else np.nan
            assert row[name] == pytest.approx(mean, rel=1e-12, nan_ok=True), name
        for name in LABELS:
            assert row[f"{name}_layers"] == own[name].sum(), name


def test_the_thresholds_of_labels_come_from_the_configuration(
    dataset: Path, tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    before = tables[0]
    thresholds = {"low_entropy": 0.99, "random_margin": 0.0, "sparse": 0.9}
    after, _ = analyzed(dataset, tmp_path / "results", labels=thresholds)
    changed = [*LABELS]
    pd.testing.assert_frame_equal(after.drop(columns=changed), before.drop(columns=changed))
    known = before["variance_entropy"].notna()
    assert (after["low_diversity"] == (before["variance_entropy"] < 0.99)).all()
    assert after["low_diversity"][known].sum() > before["low_diversity"].sum()
    sparse = after["low_diversity"] & (before["sparsity"] >= 0.9)
    assert (after["degenerate"] == (before["random"] | sparse)).all()


def test_new_thresholds_change_labels_without_reading_a_filter_again(dataset: Path, tmp_path: Path) -> None:
    config = RunConfig(workers=1).with_analyze(**FAST)
    assert analyze(dataset, tmp_path / "results", config).scanned
    again = analyze(dataset, tmp_path / "results", config.with_analyze(labels={"low_entropy": 0.99}))
    assert (again.action, again.scanned) == ("analyzed", False)
    assert (again.layers["low_diversity"] == (again.layers["variance_entropy"] < 0.99)).all()


def test_a_misspelt_threshold_is_refused_by_its_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'analyze.labels.low_entropi'") as caught:
        RunConfig.parse({"analyze": {"labels": {"low_entropi": 0.4}}}, where="mine.yaml")
    assert caught.value.hint == "did you mean 'low_entropy'?"
    with pytest.raises(ConfigError, match=r"analyze.labels.sparse = 2"):
        RunConfig.parse({"analyze": {"labels": {"sparse": 2}}}, where="mine.yaml")
