"""The zoo that ships with the package is what it says it is."""

from __future__ import annotations

from pathlib import Path

import onnx
import pandas as pd
import pytest

from filterdb.config import DEMO, RunConfig, demo_folder
from filterdb.run.extraction.extract import extract
from filterdb.run.extraction.report import ExtractReport

ZOO = demo_folder() / "zoo"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(demo_folder() / "models.csv")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExtractReport:
    out = tmp_path_factory.mktemp("demo") / "dataset.h5"
    return extract(RunConfig(zoo=(DEMO,), metadata=DEMO, workers=1), out)


def test_it_is_small_enough_to_ship_and_large_enough_to_say_something(report: ExtractReport) -> None:
    assert sum(path.stat().st_size for path in ZOO.iterdir()) <= 7_000_000
    assert 100_000 <= report.tables.n_filters <= 140_000
    assert report.statuses == {"ok": 51, "no_filters": 1, "failed": 1}


def test_every_row_has_a_model_and_every_model_but_the_broken_one_a_row(report: ExtractReport) -> None:
    assert report.metadata.without_model == ()
    models = report.tables.models
    assert models[~models["has_metadata"]]["name"].tolist() == ["broken"]


def test_the_main_groups_have_enough_trained_models(table: pd.DataFrame) -> None:
    trained = table[table["Trained"] == "yes"]
    assert len(trained) >= 36
    assert trained["Task"].value_counts().min() >= 5
    assert trained["Task"].nunique() >= 7
    assert trained["Visual Category"].value_counts().min() >= 5
    assert trained["Visual Category"].nunique() >= 6
    assert table["Family"].nunique() >= 6
    assert set(table["Width"]) == {"fitting", "over-parameterised"}


def test_trained_means_better_than_untrained(table: pd.DataFrame) -> None:
    trained = table[table["Trained"] == "yes"]
    gain = trained["Metric Value"] - trained["Metric Untrained"]
    lower = trained["Metric"].str.contains("lower is better")
    assert (gain.where(~lower, -gain) > 0).all()
    assert trained["Metric"].str.contains("is better").all()


def test_an_untrained_twin_has_the_shapes_of_its_model_and_other_weights(
    table: pd.DataFrame, report: ExtractReport
) -> None:
    twins = table[table["Trained"] == "no"]
    assert len(twins) >= 6
    assert twins["Training-Dataset"].isna().all()
    meta = report.tables.meta
    for name, twin in zip(twins["Name"], twins["Twin"], strict=True):
        own, other = (meta[meta["model"] == model] for model in (name, twin))
        shape = ["out_channels", "in_channels"]
        assert own[shape].to_numpy().tolist() == other[shape].to_numpy().tolist()
        assert set(own["weights_sha256"]).isdisjoint(other["weights_sha256"])


def test_the_files_have_the_habits_of_several_exporters(report: ExtractReport) -> None:
    meta, models = report.tables.meta, report.tables.models
    assert len(set(models["op_set"]) - {0}) >= 5
    assert {"float32", "float16", "int8"} <= set(meta["weight_dtype"])
    assert {"initializer", "Constant", "DequantizeLinear < initializer"} <= set(meta["weight_source"])
    assert [path.name for path in ZOO.glob("*.data")] == ["seg-cells-unet-over.onnx.data"]
    assert meta["bn_follows"].any()
    assert meta["depthwise"].any()


@pytest.mark.parametrize("path", sorted(ZOO.iterdir()), ids=lambda path: path.name)
def test_no_file_tells_where_it_was_made(path: Path) -> None:
    data = path.read_bytes()
    for trace in (b"/home/", b"/root/", b"/tmp/", b"/work", b"site-packages"):
        assert trace not in data


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.onnx")), ids=lambda path: path.stem)
def test_every_file_but_the_broken_one_is_valid(path: Path) -> None:
    if path.stem == "broken":
        with pytest.raises(Exception, match=r"pars|protobuf"):
            onnx.load(path)
    else:
        onnx.checker.check_model(str(path))
