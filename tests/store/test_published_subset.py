"""A subset of a published file is a published file: its filters to the last bit, its labels, its ids."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from published_fixtures import Published, published

from filterdb.config import RunConfig
from filterdb.errors import OutputError, UsageError
from filterdb.run.analysis.analyze import analyze
from filterdb.run.exchange.subset import subset
from filterdb.store import PublishedFile, open_dataset, verify
from filterdb.store.published.columns import OPERATORS

RANGES = ["filter_ids", "filter_start", "filter_end"]
WHERE = "Task in ['Classification', 'Semantic Segmentation'] and conv_depth < 2"
FORMS = [
    ("v1", "fixed", "none"),
    ("v1", "table", "gzip"),
    ("v0", "table", "none"),
    ("v0", "fixed", "gzip"),
]


@pytest.fixture(scope="module")
def zoo() -> Published:
    return published(100, models=20)


@pytest.fixture(scope="module")
def whole(zoo: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.v1(tmp_path_factory.mktemp("published") / "whole.h5")


def chosen(zoo: Published) -> np.ndarray:
    """The condition once more, in plain pandas over the table that the file was written with."""
    tasks = zoo.frame["Task"].isin(["Classification", "Semantic Segmentation"])
    return (tasks & (zoo.frame["conv_depth"] < 2)).to_numpy()


def rows_of(zoo: Published, records: np.ndarray) -> np.ndarray:
    """The filters of some records, from the published ranges."""
    pairs = zoo.frame.loc[records, "filter_ids"].str.split(":", expand=True).astype(int)
    return np.concatenate([np.arange(first, last + 1) for first, last in pairs.itertuples(index=False)])


def stored(path: Path) -> Any:
    with h5py.File(path) as file:
        name = "filters" if "filters" in file else "filter"
        return name, file[name].dtype.str, file[name][:], file[name].compression


@pytest.mark.parametrize(("version", "layout", "compression"), FORMS)
def test_a_subset_holds_the_filters_and_the_table_of_its_records(
    version: str, layout: str, compression: str, zoo: Published, tmp_path: Path
) -> None:
    path = getattr(zoo, version)(tmp_path / "whole.h5", layout=layout)
    report = subset(path, tmp_path / "part.h5", where=WHERE, compression=compression)
    name, kind, filters, packed = stored(path)
    part = stored(report.path)
    records = chosen(zoo)
    assert part[:2] == (name, kind)
    assert part[3] == (None if compression == "none" else "gzip")
    assert part[2].tobytes() == filters[rows_of(zoo, records)].tobytes()
    with open_dataset(path) as whole, open_dataset(report.path) as smaller:
        assert isinstance(smaller, PublishedFile)
        expected = whole.tables.meta[records].drop(columns=[*RANGES, "layer_name"])
        found = smaller.tables.meta.drop(columns=[*RANGES, "layer_name"])
        pd.testing.assert_frame_equal(found, expected)
        pd.testing.assert_frame_equal(report.tables.meta, smaller.tables.meta)
        counted = smaller.tables.meta["filter_end"] - smaller.tables.meta["filter_start"]
        originally = whole.tables.meta["filter_end"] - whole.tables.meta["filter_start"]
        assert counted.tolist() == originally[records].tolist()
    assert packed is None
    assert verify(report.path) == []


def test_other_filters_of_float64_keep_the_bits_that_float32_has_not(tmp_path: Path, zoo: Published) -> None:
    path = zoo.v1(tmp_path / "whole.h5")
    exact = np.random.default_rng(1).normal(size=zoo.filters.shape).reshape(-1, 3, 3)
    with h5py.File(path, "r+") as file:
        file["filters"][:] = exact
    subset(path, tmp_path / "part.h5", models=["net03*", "net04*", "net11*"])
    named = zoo.frame["model"].str.startswith(("net03", "net04", "net11")).to_numpy()
    assert stored(tmp_path / "part.h5")[2].tobytes() == exact[rows_of(zoo, named)].tobytes()


def test_records_that_are_not_in_the_order_of_their_filters(tmp_path: Path, zoo: Published) -> None:
    shuffled = Published(zoo.layers, zoo.frame.sample(frac=1, random_state=0), zoo.filters)
    path = shuffled.v1(tmp_path / "whole.h5", levels=3)
    subset(path, tmp_path / "part.h5", where=WHERE)
    ours = stored(tmp_path / "part.h5")[2].reshape(-1, 9)
    np.testing.assert_array_equal(ours, zoo.filters[rows_of(zoo, chosen(zoo))])


def test_every_stage_takes_a_subset_and_finds_what_the_whole_has(
    tmp_path: Path, zoo: Published, whole: Path
) -> None:
    part = subset(whole, tmp_path / "part.h5", where=WHERE).path
    settings = RunConfig(workers=1).with_analyze(by=("Task",), permutations=1, draws=1)
    all_, ours = (analyze(one, tmp_path / f"r {one.name}", settings).layers for one in (whole, part))
    metrics = ["n", "sparsity", "variance_entropy", "norm_l1", "random"]
    pd.testing.assert_frame_equal(ours[metrics], all_.loc[chosen(zoo), metrics])
    again = subset(part, tmp_path / "less.h5", models=["net05*"])
    assert again.tables.models["name"].tolist() == ["net05_imagenet_13"]
    assert verify(again.path) == []


def test_pandas_reads_the_table_and_finds_no_class_in_it(tmp_path: Path, zoo: Published, whole: Path) -> None:
    part = subset(whole, tmp_path / "part.h5", where=WHERE).path
    pickled = tmp_path / "a.pickle"
    frame = pd.DataFrame({"a": [1]})
    frame.to_pickle(pickled)
    classes: list[Any] = []
    watched = True
    sys.addaudithook(lambda event, args: classes.append(args) if watched and "find_class" in event else None)
    frame = pd.read_hdf(part, "meta")
    assert classes == []
    pd.read_pickle(pickled)
    watched = False
    assert classes
    assert list(frame.index.names) == ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
    assert frame["filter_ids"].iloc[0].startswith("0:")
    assert frame["Task"].tolist() == zoo.frame.loc[chosen(zoo), "Task"].tolist()
    assert set(OPERATORS) <= set(frame.columns)


def test_models_that_lack_layers_are_said_and_verify_knows(tmp_path: Path, whole: Path) -> None:
    partial = subset(whole, tmp_path / "partial.h5", where="conv_depth == 0")
    assert any("20 models without some of their layers" in note for note in partial.notes)
    models = subset(whole, tmp_path / "models.h5", models=["net0*"])
    assert not any("without some" in note for note in models.notes)
    assert verify(partial.path) == verify(models.path) == []
    with h5py.File(partial.path, "r+") as file:
        del file.attrs["filterdb_subset"]
    assert any("(3, 3) filters is" in problem for problem in verify(partial.path))


def test_the_same_question_is_fresh_another_replaces_it_and_a_download_is_never_replaced(
    tmp_path: Path, whole: Path
) -> None:
    path = whole
    out = tmp_path / "part.h5"
    first = subset(path, out, where=WHERE)
    before = out.read_bytes()
    assert subset(path, out, where=WHERE).action == "fresh"
    second = subset(path, out, models=["net00*"])
    assert second.content_hash != first.content_hash
    assert json.loads((tmp_path / "part.h5.json").read_text())["made_by"]["models"] == ["net00*"]
    assert subset(path, out, where=WHERE).action == "written"
    assert out.read_bytes() == before
    shutil.copy(path, tmp_path / "download.h5")
    for target in ("download.h5", "part.h5"):
        if target == "part.h5":
            shutil.copy(path, out)
        for force in (False, True):
            with pytest.raises(UsageError, match="is there already"):
                subset(path, tmp_path / target, where=WHERE, force=force)
    assert {one.name for one in tmp_path.iterdir()} == {"download.h5", "part.h5", "part.h5.json"}


@pytest.mark.filterwarnings("ignore:no record has 'Nothing':filterdb.errors.UnseenValueWarning")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "Task == 'Nothing'"}, "no record meets the condition"),
        ({"where": "out_channels > 3"}, "no record meets the condition"),
        ({"models": ["net99*"]}, "no model is called 'net99"),
        ({"models": ["net00*"], "where": "conv_depth > 99"}, "no record meets"),
        ({}, "there is no condition"),
    ],
    ids=str,
)
def test_a_condition_that_cannot_be_met_is_a_message(
    options: dict[str, Any], message: str, tmp_path: Path, whole: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        subset(whole, tmp_path / "part.h5", **options)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_found_out_first(
    tmp_path: Path, zoo: Published, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = len(rows_of(zoo, chosen(zoo))) * 72
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(OutputError, match="the disk is full"):
        subset(whole, tmp_path / "part.h5", where=WHERE)
    assert not list(tmp_path.iterdir())
