from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterdb.config import RunConfig
from filterdb.errors import ColumnError
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract


@pytest.fixture
def dataset(small_zoo: Path, tmp_path: Path) -> Path:
    out = tmp_path / "dataset.h5"
    extract(RunConfig(zoo=(str(small_zoo),), metadata=str(small_zoo / "models.csv"), workers=1), out)
    return out


def test_every_layer_has_its_quality_and_every_axis_its_shift(dataset: Path, tmp_path: Path) -> None:
    config = RunConfig().with_analyze(by=("Task", "depth_decile"))
    analyze(dataset, tmp_path / "results", config)
    layers = pd.read_parquet(tmp_path / "results" / "layers.parquet")
    assert layers.index.equals(pd.read_hdf(dataset, "meta").index)
    assert layers["n"].tolist() == [24, 128] * 3
    shift = pd.read_csv(tmp_path / "results" / "shift" / "Task.csv")
    assert shift[["group_a", "group_b"]].to_numpy().tolist() == [["Classification", "Segmentation"]]
    assert shift["D"][0] > 0
    basis = json.loads((tmp_path / "results" / "basis.json").read_text())
    assert np.isclose(sum(basis["explained_variance_ratio"]), 1)


def test_the_shift_equals_the_definition_written_out(dataset: Path, tmp_path: Path) -> None:
    report = analyze(dataset, tmp_path / "results", RunConfig().with_analyze(by=("Task",)))
    meta = pd.read_hdf(dataset, "meta")
    import h5py

    with h5py.File(dataset) as file:
        filters = file["filter"][:].astype(np.float64)
    scaled = filters / np.abs(filters).max(axis=1, keepdims=True)
    mean = scaled.mean(axis=0)
    values, vectors = np.linalg.eigh((scaled - mean).T @ (scaled - mean))
    components, weights = vectors[:, ::-1].T, values[::-1] / values.sum()
    signs = [np.sign(row[np.abs(row).argmax()]) for row in components]
    coefficients = (scaled - mean) @ (components * np.array(signs)[:, None]).T
    task = np.repeat(meta["Task"].to_numpy(), meta["filter_end"] - meta["filter_start"])
    span = (coefficients.min(), coefficients.max())
    expected = 0.0
    for i in range(9):
        p, q = (
            np.histogram(coefficients[task == name, i], 70, span, density=True)[0]
            for name in ("Classification", "Segmentation")
        )
        p, q = (np.where(d == 0, np.finfo(np.float32).eps, d) for d in (p, q))
        p, q = p / p.sum(), q / q.sum()
        expected += weights[i] * ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())
    assert report.shifts["Task"]["D"][0] == pytest.approx(expected, rel=1e-3)


def test_an_unknown_axis_names_the_nearest_column(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="Visual Category"):
        analyze(dataset, tmp_path / "results", RunConfig().with_analyze(by=("visual categry",)))
