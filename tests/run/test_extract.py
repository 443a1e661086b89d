from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from zoos import run

import filterdb
from filterdb.errors import UsageError
from filterdb.store import verify
from filterdb.testing import conv_net, write_model


def test_a_zoo_becomes_a_file_that_pandas_and_h5py_open(small_zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset.h5"
    report = run(small_zoo, out)
    meta = pd.read_hdf(out, "meta")
    assert report.action == "extracted"
    assert meta.index.names == ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
    assert meta["filter_ids"].tolist()[:2] == ["0:23", "24:151"]
    with h5py.File(out) as file:
        assert file["filter"].shape == (456, 9)
        assert np.array_equal(file["filter"][:], file["filters"][:])
    assert verify(out) == []


def test_the_filters_are_those_of_the_models(small_zoo: Path, tmp_path: Path) -> None:
    run(small_zoo, tmp_path / "dataset.h5")
    with filterdb.open(tmp_path / "dataset.h5") as db:
        rows = db.meta[db.meta["model"] == "beta"]
        filters = db.filters(rows)
    model = conv_net([(8, 3, 3, 3), (16, 8, 3, 3), (4, 16, 1, 1)], seed=1)
    expected = [
        np.frombuffer(tensor.raw_data, "<f4").reshape(-1, 9)
        for tensor in model.graph.initializer
        if list(tensor.dims[2:]) == [3, 3]
    ]
    assert np.array_equal(filters, np.concatenate(expected))


def test_a_second_run_parses_nothing_and_says_so(small_zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset.h5"
    run(small_zoo, out)
    before = out.read_bytes()
    report = run(small_zoo, out)
    assert (report.action, report.parsed) == ("fresh", 0)
    assert out.read_bytes() == before


def test_a_changed_metadata_cell_is_noticed_without_parsing(small_zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset.h5"
    first = run(small_zoo, out)
    table = small_zoo / "models.csv"
    table.write_text(table.read_text().replace("Segmentation", "Denoising"))
    report = run(small_zoo, out)
    assert (report.action, report.parsed, report.reused) == ("extracted", 0, 3)
    assert report.content_hash != first.content_hash
    assert "Denoising" in set(pd.read_hdf(out, "meta")["Task"])


def test_the_metadata_join_reports_what_does_not_match(small_zoo: Path, tmp_path: Path) -> None:
    write_model(small_zoo / "omega.onnx", conv_net([(2, 2, 3, 3)]))
    report = run(small_zoo, tmp_path / "dataset.h5")
    assert report.metadata.without_model == ("delta",)
    assert report.metadata.has_row == (True, True, True, False)
    assert report.tables.meta["Stars"].tolist()[-2:] == pytest.approx([3.0, np.nan], nan_ok=True)


def test_a_broken_model_costs_only_itself(small_zoo: Path, tmp_path: Path) -> None:
    (small_zoo / "broken.onnx").write_bytes(b"no model at all")
    report = run(small_zoo, tmp_path / "dataset.h5")
    assert report.statuses == {"ok": 3, "failed": 1}
    assert report.tables.n_filters == 456


def test_a_folder_without_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \.onnx file"):
        run(tmp_path, tmp_path / "dataset.h5")
