"""Merges and subsets of data set files, and the places that exports, imports, merges and subsets write to."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoos import run, varied_zoo

from filterdb.config import DEMO, RunConfig
from filterdb.errors import ColumnError, CorruptDataError, FilterDBError, OutputError, UsageError
from filterdb.run import files
from filterdb.run.exchange.export import export
from filterdb.run.exchange.ingest import ingest
from filterdb.run.exchange.merge import merge
from filterdb.run.exchange.subset import subset
from filterdb.run.extraction.extract import extract
from filterdb.store import DatasetFile, verify
from filterdb.testing import conv_net, write_model
from in_process import call
from seldom import seldom


def hash_of(path: Path) -> str:
    with DatasetFile(path) as file:
        return file.content_hash


def tables_of(path: Path) -> dict[str, pd.DataFrame]:
    with DatasetFile(path) as file:
        return file.tables.by_name()


def filters_of(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["filter"][:]


def awkward_zoo(folder: Path) -> Path:
    """Models of many kinds and names, and a metadata table with columns of every type that cells may lack."""
    varied_zoo(folder, 24)
    for place, name in enumerate(["Größe", "模型 [1]*", "a'b", "tw\u00efn"]):
        write_model(folder / f"{name}.onnx", conv_net([(4, 3, 3, 3), (2, 4, 3, 3)], seed=100 + place % 3))
    names = sorted(path.stem for path in folder.rglob("*.onnx"))
    with (folder / "models.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Name", "Task", "Visual Category", "Year", "Open", "Score", "Empty", "Id"])
        for place, name in enumerate(names):
            task = ["Klassifikation", "Segmentation", ""][place % 3]
            score = "" if place % 4 == 0 else place / 8
            table.writerow([name, task, "natural", 2000 + place, place % 2 == 0, score, "", 2**60 + place])
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(awkward_zoo(folder / "zoo"), folder / "whole.h5")
    return folder / "whole.h5"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo.h5"
    extract(RunConfig(zoo=(DEMO,), metadata=DEMO, workers=1), out)
    return out


def test_the_awkward_data_set_is_awkward(whole: Path) -> None:
    tables = tables_of(whole)
    models, meta = tables["models"], tables["meta"]
    assert set(models["status"]) == {"ok", "no_filters", "failed"}
    assert models["duplicate_of"].notna().sum() >= 2
    assert (meta["duplicate_of"] >= 0).any()
    kinds = {name: str(meta[name].dtype) for name in ("Year", "Open", "Score", "Empty", "Id")}
    assert kinds == {"Year": "int64", "Open": "bool", "Score": "float64", "Empty": "str", "Id": "int64"}
    assert meta["Empty"].isna().all()
    assert meta["Score"].isna().any()


# The whole is the sum of its parts


def test_export_and_import_of_the_demo_data_set_give_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    out = export(demo, tmp_path / "exported").out
    assert ingest(out, tmp_path / "back.h5").content_hash == hash_of(demo)
    assert (tmp_path / "back.h5").read_bytes() == demo.read_bytes()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_subset_of_everything_is_the_whole(
    compression: str, whole: Path, demo: Path, tmp_path: Path
) -> None:
    for place, path in enumerate((whole, demo)):
        for number, how in enumerate(({"models": ["*"]}, {"where": "filter_start >= 0", "keep_empty": True})):
            out = tmp_path / f"{place}{number}.h5"
            report = subset(path, out, compression=compression, **how)
            assert report.content_hash == hash_of(path) == hash_of(out)
            assert verify(out) == []
            if compression == "none":
                assert out.read_bytes() == path.read_bytes()


def test_a_merge_of_a_file_with_itself_is_the_file(whole: Path, tmp_path: Path) -> None:
    report = merge([whole, whole], tmp_path / "m.h5")
    assert report.content_hash == hash_of(whole)
    assert "kept once" in report.notes[0]
    assert (tmp_path / "m.h5").read_bytes() == whole.read_bytes()


@settings(max_examples=5)
@given(data=st.data())
def test_a_merge_of_any_partition_by_models_is_the_whole(
    data: st.DataObject, whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = tables_of(whole)["models"]
    count = data.draw(st.integers(1, 4))
    part_of = {name: data.draw(st.integers(0, count - 1)) for name in models["name"]}
    # A data set file holds at least one filter.
    for place, name in enumerate(models["name"][models["n_records"] > 0][:count]):
        part_of[name] = place
    folder = tmp_path_factory.mktemp("parts")
    paths = []
    for place in range(count):
        names = [name for name, part in part_of.items() if part == place]
        paths.append(subset(whole, folder / f"{place}.h5", models=names).path)
    order = data.draw(st.permutations(paths))
    # Copies of a model that are apart would be one otherwise.
    report = merge(order, folder / "all.h5", keep_duplicates=True)
    assert report.content_hash == hash_of(whole)
    assert verify(report.path) == []
    together = all(
        part_of[name] == part_of[first]
        for name, first in zip(models["name"], models["duplicate_of"], strict=True)
        if isinstance(first, str)
    )
    if together:
        assert merge(order, folder / "once.h5").content_hash == hash_of(whole)
    shutil.rmtree(folder)


def test_a_merge_is_what_an_extraction_of_both_zoos_would_be(tmp_path: Path) -> None:
    """Also where both have models of one name: the files are called like the folders."""
    for place, name in enumerate(("left", "right")):
        for model in range(4):
            shapes = [(4, 3, 3, 3), (4, 4, 3 + 2 * place, 3 + 2 * place)]
            write_model(tmp_path / name / f"model{model}.onnx", conv_net(shapes, seed=place * 10 + model))
        write_model(tmp_path / name / name / "own.onnx", conv_net([(2, 2, 3, 3)], seed=place))
        extract(RunConfig(zoo=(str(tmp_path / name),), workers=1), tmp_path / f"{name}.h5")
    both = RunConfig(zoo=(str(tmp_path / "left"), str(tmp_path / "right")), workers=1)
    extract(both, tmp_path / "both.h5")
    report = merge([tmp_path / "left.h5", tmp_path / "right.h5"], tmp_path / "merged.h5")
    merged, extracted = tables_of(report.path), tables_of(tmp_path / "both.h5")
    assert merged["models"]["name"].tolist() == extracted["models"]["name"].tolist()
    assert "left/model0" in merged["models"]["name"].tolist()
    for tables in (merged, extracted):
        # Of a model without metadata the name in the metadata table is its own: that of its first file.
        for table in ("meta", "models"):
            tables[table] = tables[table].drop(columns="Name")
    for table in ("meta", "models", "skipped"):
        pd.testing.assert_frame_equal(merged[table], extracted[table])
    assert np.array_equal(filters_of(report.path), filters_of(tmp_path / "both.h5"))


# Subsets


@pytest.mark.parametrize(
    "where",
    [
        "conv_depth_norm > 0.4",
        "Task == 'Segmentation' and layer_id == 0",
        "`(3, 3) filters` > 100 or Score < 1",
        "Open and not depthwise",
        "Year % 2 == 0",
    ],
)
def test_a_subset_holds_the_filters_of_the_records_that_meet_the_condition(
    where: str, whole: Path, tmp_path: Path
) -> None:
    meta = tables_of(whole)["meta"]
    flat = meta.reset_index()
    expected = {
        "conv_depth_norm > 0.4": flat["conv_depth_norm"] > 0.4,
        "Task == 'Segmentation' and layer_id == 0": (flat["Task"] == "Segmentation")
        & (flat["layer_id"] == 0),
        "`(3, 3) filters` > 100 or Score < 1": (flat["(3, 3) filters"] > 100) | (flat["Score"] < 1),
        "Open and not depthwise": flat["Open"] & ~flat["depthwise"],
        "Year % 2 == 0": flat["Year"] % 2 == 0,
    }[where].to_numpy(bool)
    report = subset(whole, tmp_path / "s.h5", where=where)
    assert verify(report.path) == []
    kept = tables_of(report.path)
    assert kept["meta"]["layer_name"].tolist() == meta["layer_name"][expected].tolist()
    assert kept["meta"]["weights_sha256"].tolist() == meta["weights_sha256"][expected].tolist()
    filters = filters_of(whole)
    ranges = zip(meta["filter_start"][expected], meta["filter_end"][expected], strict=True)
    wanted = np.concatenate([filters[start:end] for start, end in ranges])
    assert filters_of(report.path).tobytes() == wanted.tobytes()
    assert set(kept["models"]["name"]) == set(meta["model"][expected])


def test_a_record_that_is_left_out_of_a_model_is_among_its_skipped_layers(
    whole: Path, tmp_path: Path
) -> None:
    before = tables_of(whole)
    after = tables_of(subset(whole, tmp_path / "s.h5", where="layer_id == 0").path)
    names = after["models"]["name"].tolist()
    models = before["models"][before["models"]["name"].isin(names)]
    left = int(models["n_records"].sum()) - len(after["meta"])
    reasons = after["skipped"]["reason"]
    assert left > 0
    assert (reasons == "left out of this subset: layer_id == 0").sum() == left
    assert len(after["skipped"]) == int(models["n_skipped"].sum()) + left
    assert (after["models"]["status"] == "ok").all()


def test_models_without_a_record_are_left_out_by_a_condition_and_said(whole: Path, tmp_path: Path) -> None:
    models = tables_of(whole)["models"]
    never = set(models["name"][models["n_records"] == 0])
    report = subset(whole, tmp_path / "a.h5", where="Task == 'Segmentation'")
    assert never & set(report.tables.models["name"]) == set()
    assert any("left out" in note for note in report.notes)
    report = subset(whole, tmp_path / "b.h5", where="Task == 'Segmentation'", keep_empty=True)
    assert never <= set(report.tables.models["name"])
    assert verify(report.path) == []


def test_records_that_lack_a_value_are_left_out_and_counted(whole: Path, tmp_path: Path) -> None:
    missing = int(tables_of(whole)["meta"]["Score"].isna().sum())
    report = subset(whole, tmp_path / "a.h5", where="Score < 1e9")
    assert f"{missing:,} records lack a value of the condition, and are left out" in report.notes
    assert report.tables.meta["Score"].notna().all()


def test_patterns_choose_models_and_a_name_is_no_pattern(whole: Path, tmp_path: Path) -> None:
    names = tables_of(whole)["models"]["name"].tolist()
    report = subset(whole, tmp_path / "a.h5", models=["model00*", "a'b"])
    expected = [name for name in names if name.startswith("model00") or name == "a'b"]
    assert report.tables.models["name"].tolist() == expected
    report = subset(whole, tmp_path / "b.h5", models=["模型 [1]*"])
    assert report.tables.models["name"].tolist() == ["模型 [1]*"]


def test_an_extraction_takes_no_layers_from_a_file_that_lacks_some(tmp_path: Path) -> None:
    zoo = varied_zoo(tmp_path / "zoo", 6)
    run(zoo, tmp_path / "whole.h5")
    for name, how, parsed in (
        ("layers.h5", {"where": "layer_id == 0"}, True),
        ("models.h5", {"models": ["model000", "model002"]}, False),
    ):
        subset(tmp_path / "whole.h5", tmp_path / name, **how)
        report = run(zoo, tmp_path / name)
        assert (report.reused == 0) == parsed
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ({}, UsageError, "no condition"),
        ({"where": "Taks == 'a'"}, ColumnError, "Task"),
        ({"where": "Task"}, ColumnError, "is text"),
        ({"where": "depth + 1"}, ColumnError, "is a number"),
        ({"where": "__import__('os').system('touch hacked')"}, UsageError, "not allowed"),
        ({"where": "depth > 1000"}, UsageError, "no record"),
        ({"models": ["model0000"]}, UsageError, "did you mean 'model00"),
        ({"where": "depth > 0", "compression": "lzf"}, UsageError, "none or gzip"),
    ],
    ids=str,
)
def test_a_condition_that_cannot_be_met_is_a_message(
    how: dict[str, object], kind: type[FilterDBError], words: str, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        subset(whole, tmp_path / "s.h5", **how)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# Merges


def small_file(path: Path, names: dict[str, int], table: str = "", **values: object) -> Path:
    """Extract models of one layer: their names, and the seeds of their weights."""
    zoo = path.with_suffix("")
    for name, seed in names.items():
        write_model(zoo / f"{name}.onnx", conv_net([(4, 2, 3, 3)], seed=seed))
    if table:
        (zoo / "models.csv").write_text(table)
    run(zoo, path, **values)
    return path


def test_duplicates_are_found_across_files(tmp_path: Path) -> None:
    """Two models of the same weights, of which only one is named by more than its weights."""
    a = small_file(tmp_path / "a.h5", {"x": 1, "y": 2})
    b = small_file(tmp_path / "b.h5", {"w": 3})
    write_model(tmp_path / "c" / "z.onnx", conv_net([(4, 2, 3, 3), (1, 4, 1, 1)], seed=1))
    run(tmp_path / "c", tmp_path / "c.h5")
    report = merge([tmp_path / "c.h5", b, a], tmp_path / "m.h5")
    meta = report.tables.meta
    assert meta["model"].tolist() == ["w", "x", "y", "z"]
    assert meta["duplicate_of"].tolist() == [-1, -1, -1, 1]
    assert verify(report.path) == []


def test_a_model_that_two_files_have_is_kept_once_under_the_first_name(tmp_path: Path) -> None:
    a = small_file(tmp_path / "a.h5", {"x": 1, "y": 2}, "Name,Task\nx,one\ny,one\n")
    b = small_file(tmp_path / "b.h5", {"other": 1, "z": 3}, "Name,Task\nother,two\nz,two\n")
    report = merge([a, b], tmp_path / "m.h5")
    assert report.tables.models["name"].tolist() == ["x", "y", "z"]
    assert report.tables.models["Task"].tolist() == ["one", "one", "two"]
    assert report.notes == (
        "models that more than one file has, kept once: x",
        "their metadata differ, and one file's are kept: x",
    )
    report = merge([a, b], tmp_path / "k.h5", keep_duplicates=True)
    assert report.tables.models["name"].tolist() == ["other", "x", "y", "z"]
    assert report.tables.models["duplicate_of"].tolist()[1] == "other"
    assert report.tables.meta["duplicate_of"].tolist() == [-1, 0, -1, -1]
    assert verify(report.path) == []


def test_the_file_that_knows_metadata_of_a_shared_model_counts(tmp_path: Path) -> None:
    a = small_file(tmp_path / "a.h5", {"x": 1, "y": 2})
    b = small_file(tmp_path / "b.h5", {"x": 1}, "Name,Task\nx,known\n")
    report = merge([a, b], tmp_path / "m.h5")
    assert report.tables.models["Task"].fillna("?").tolist() == ["known", "?"]


def test_different_models_of_one_name_are_named_apart(tmp_path: Path) -> None:
    a = small_file(tmp_path / "a.h5", {"x": 1, "y": 2})
    b = small_file(tmp_path / "b.h5", {"x": 3, "z": 4})
    (tmp_path / "other").mkdir()
    c = shutil.copy(small_file(tmp_path / "c.h5", {"x": 5}), tmp_path / "other" / "a.h5")
    report = merge([a, b], tmp_path / "m.h5")
    assert report.tables.models["name"].tolist() == ["a/x", "b/x", "y", "z"]
    assert "x is a/x, x is b/x" in report.notes[0]
    assert merge([b, a], tmp_path / "n.h5").content_hash == report.content_hash
    report = merge([a, Path(c)], tmp_path / "o.h5")
    assert report.tables.models["name"].tolist() == ["1/a/x.onnx", "2/a/x.onnx", "y"]
    assert verify(report.path) == []


def test_columns_are_the_union_and_what_a_file_lacks_is_missing(tmp_path: Path) -> None:
    a = small_file(
        tmp_path / "a.h5",
        {"x": 1, "y": 2},
        "Name,Task,Year,Flag,Big,Mixed,Words\nx,t,2001,True,1152921504606846977,1,a\ny,t,2002,False,3,2,b\n",
    )
    b = small_file(tmp_path / "b.h5", {"z": 3}, "Name,Mixed,Half,More\nz,word,0.5,7\n")
    report = merge([a, b], tmp_path / "m.h5")
    models = report.tables.models.set_index("name")
    kinds = {
        name: str(models[name].dtype) for name in ("Year", "Flag", "Big", "Mixed", "Words", "Half", "More")
    }
    assert kinds == {
        "Year": "float64",
        "Flag": "str",
        "Big": "str",
        "Mixed": "str",
        "Words": "str",
        "Half": "float64",
        "More": "float64",
    }
    assert models.loc["x", ["Year", "Flag", "Big", "Mixed"]].tolist() == [2001.0, "True", str(2**60 + 1), "1"]
    assert models.loc["z", ["Mixed", "Half", "More"]].tolist() == ["word", 0.5, 7.0]
    assert models.loc["z", ["Task", "Year", "Flag", "Big", "Words"]].isna().all()
    assert any("'Mixed' is of different types" in note for note in report.notes)
    assert verify(report.path) == []


def test_a_model_that_one_file_could_not_read_is_taken_from_the_other(tmp_path: Path) -> None:
    a = small_file(tmp_path / "a.h5", {"x": 1, "y": 2})
    b = tmp_path / "b.h5"
    zoo = tmp_path / "b"
    write_model(zoo / "x.onnx", conv_net([(4, 2, 3, 3)], seed=1))
    write_model(zoo / "v.onnx", conv_net([(4, 2, 3, 3)], seed=9))
    (zoo / "broken.onnx").write_bytes(b"<html>")
    run(zoo, b)
    report = merge([b, a], tmp_path / "m.h5")
    assert report.tables.models["status"].tolist() == ["failed", "ok", "ok", "ok"]
    assert merge([b, a, b], tmp_path / "n.h5").content_hash == report.content_hash


def test_files_that_cannot_be_merged_are_named(whole: Path, tmp_path: Path) -> None:
    a = small_file(tmp_path / "a.h5", {"x": 1})
    write_model(tmp_path / "five" / "v.onnx", conv_net([(4, 2, 5, 5)], seed=1))
    config = RunConfig(zoo=(str(tmp_path / "five"),), workers=1).with_extract(kernel="5x5")
    extract(config, tmp_path / "five.h5")
    with pytest.raises(UsageError, match=r"5x5 filters, and .*a\.h5 holds 3x3"):
        merge([a, tmp_path / "five.h5"], tmp_path / "m.h5")
    parts = [subset(whole, tmp_path / f"{i}.h5", where=f"layer_id == {i}").path for i in (0, 1)]
    with pytest.raises(UsageError, match="other layers in another file"):
        merge(parts, tmp_path / "m.h5")
    assert verify(merge(parts, tmp_path / "m.h5", keep_duplicates=True).path) == []


def test_the_extractor_s_version_is_kept_only_where_all_agree(tmp_path: Path) -> None:
    a, b = (small_file(tmp_path / f"{name}.h5", {name: seed}) for seed, name in enumerate("ab"))
    with DatasetFile(merge([a, b], tmp_path / "m.h5").path) as file:
        assert "extractor_version" in file.attributes
    write_model(tmp_path / "c" / "c.onnx", conv_net([(4, 2, 3, 3), (2, 4, 3, 3)], seed=7))
    run(tmp_path / "c", tmp_path / "c.h5")
    part = subset(tmp_path / "c.h5", tmp_path / "part.h5", where="layer_id == 0").path
    report = merge([a, part], tmp_path / "n.h5")
    with DatasetFile(report.path) as file:
        assert "extractor_version" not in file.attributes
    assert any("extractor_version" in note for note in report.notes)


# Damage


@pytest.mark.parametrize("stage", ["merge", "subset"])
def test_a_damaged_file_gives_no_sound_copy(stage: str, tmp_path: Path) -> None:
    def make(path: Path) -> None:
        if stage == "merge":
            merge([path], tmp_path / "out.h5")
        else:
            subset(path, tmp_path / "out.h5", where="depth > 0")

    a = small_file(tmp_path / "a.h5", {"x": 1, "y": 2})
    with h5py.File(a, "r+") as file:
        file["filter"][9, 4] += 1
    with pytest.raises(CorruptDataError, match=r"model y, layer layer0: the filters have changed"):
        make(a)
    b = small_file(tmp_path / "b.h5", {"x": 1})
    with h5py.File(b, "r+") as file:
        file.attrs.modify("content_hash", np.bytes_("0" * 64))
    with pytest.raises(CorruptDataError, match="tables have changed"):
        make(b)
    left = {path.name for path in tmp_path.iterdir()} - {"a", "b"}
    assert left == {"a.h5", "b.h5", "a.h5.json", "b.h5.json"}


def test_a_published_file_is_not_merged_but_exported(tmp_path: Path) -> None:
    path = published(tmp_path / "published.h5")
    with pytest.raises(UsageError, match="this is a published file, and it cannot be merged"):
        merge([path], tmp_path / "out.h5")
    report = export(path, tmp_path / "exported")
    assert not report.importable
    part = pd.read_parquet(report.out / "filters/model_id=0/part-0.parquet")
    with h5py.File(path) as file:
        stored = file["filters"][:3].reshape(3, 9).astype(np.float32)
    assert np.array_equal(part.filter(regex=r"^f\d$").to_numpy(), stored)
    with pytest.raises(FilterDBError, match="CNN-Filter-DB"):
        ingest(report.out, tmp_path / "back.h5")


def published(path: Path) -> Path:
    """A file as CNN-Filter-DB was published: two models, of one layer each."""
    index = pd.MultiIndex.from_tuples(
        [(0, 0, 0.0), (1, 0, 0.0)], names=["model_id", "conv_depth", "conv_depth_norm"]
    )
    meta = pd.DataFrame(
        {"filter_ids": ["0:2", "3:7"], "model": ["a", "b"], "Task": ["t", "u"], "(3, 3) filters": [3, 5]},
        index=index,
    )
    with h5py.File(path, "w") as file:
        file["filters"] = np.random.default_rng(0).normal(size=(8, 3, 3))
    meta.to_hdf(path, key="meta", mode="a", format="table")
    return path


# Places


def test_a_second_run_has_nothing_to_do_and_another_question_replaces_the_answer(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.h5"
    assert subset(whole, out, where="depth > 3").action == "written"
    before = out.stat().st_ino
    again = subset(whole, out, where="depth > 3")
    assert (again.action, out.stat().st_ino) == ("fresh", before)
    assert len(again.tables.meta)
    assert subset(whole, out, where="depth > 2").action == "written"
    stated = json.loads((tmp_path / "s.h5.json").read_text())
    assert stated["content_hash"] == hash_of(out)
    assert stated["made_by"]["where"] == "depth > 2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.h5", "s.h5.json"]


def test_a_file_that_another_stage_or_somebody_else_has_written_is_not_replaced(
    whole: Path, tmp_path: Path
) -> None:
    extracted = small_file(tmp_path / "a.h5", {"x": 1})
    merged = merge([extracted], tmp_path / "m.h5").path
    for path in (extracted, merged):
        before = path.read_bytes()
        with pytest.raises(UsageError, match="filterdb subset has not written it"):
            subset(whole, path, where="depth > 0")
        assert path.read_bytes() == before
        assert subset(whole, path, where="depth > 0", force=True).action == "written"
    (tmp_path / "thesis.h5").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="is no data set"):
            subset(whole, tmp_path / "thesis.h5", where="depth > 0", force=force)
    assert (tmp_path / "thesis.h5").read_text() == "mine"


def test_a_data_set_that_was_put_in_the_place_of_a_subset_is_not_replaced(
    whole: Path, tmp_path: Path
) -> None:
    out = subset(whole, tmp_path / "s.h5", where="depth > 0").path
    shutil.copy(whole, out)
    with pytest.raises(UsageError, match="has not written it"):
        subset(whole, out, where="depth > 1")
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("older", [False, True])
def test_a_run_that_stops_before_the_file_has_its_name_can_be_repeated(
    older: bool, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s.h5"
    if older:
        subset(whole, out, where="depth > 0")
    before = content(tmp_path).get("s.h5")
    move = files.sync_and_move

    def stop(temporary: Path, path: Path) -> None:
        if path == out:
            raise KeyboardInterrupt
        move(temporary, path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync_and_move", stop)
        with pytest.raises(KeyboardInterrupt):
            subset(whole, out, where="layer_id == 0")
    assert content(tmp_path).get("s.h5") == before
    assert subset(whole, out, where="layer_id == 0").action == "written"
    assert subset(whole, out, where="layer_id == 0").action == "fresh"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no place that makes no folders")
@pytest.mark.timeout(60)
def test_a_place_that_makes_no_folders_is_a_message_and_no_endless_wait(tmp_path: Path) -> None:
    path = small_file(tmp_path / "a.h5", {"x": 1})
    for make in (
        lambda: export(path, Path("/proc/exported")),
        lambda: subset(path, Path("/proc/part.h5"), models=["x"]),
    ):
        with pytest.raises(OutputError, match="no folder can be made here"):
            make()


def test_what_is_no_folder_and_what_no_column_are_told_apart(tmp_path: Path) -> None:
    path = small_file(tmp_path / "a.h5", {"x": 1})
    with pytest.raises(FilterDBError, match="this is a file"):
        ingest(path, tmp_path / "b.h5")
    with pytest.raises(ColumnError, match="metrics are of the results"):
        subset(path, tmp_path / "b.h5", where="sparsity > 0.5")
    with pytest.raises(UsageError, match=r"names that hold it: '\*x\*'"):
        subset(small_file(tmp_path / "c.h5", {"axb": 1}), tmp_path / "b.h5", models=["x"])


def test_no_file_is_its_own_source(tmp_path: Path) -> None:
    a, b = (small_file(tmp_path / f"{name}.h5", {name: seed}) for seed, name in enumerate("ab"))
    (tmp_path / "link.h5").symlink_to(b)
    for out in (b, tmp_path / "link.h5", tmp_path / "a" / ".." / "b.h5"):
        with pytest.raises(UsageError, match="one of the files that are read"):
            merge([a, b], out, force=True)
        with pytest.raises(UsageError, match="one of the files that are read"):
            subset(b, out, where="depth > 0", force=True)
    assert verify(b) == []


def test_what_an_interrupted_extraction_has_staged_stays(whole: Path, tmp_path: Path) -> None:
    staging = tmp_path / "s.h5.staging"
    staging.mkdir()
    (staging / "shard").write_text("work")
    (staging / "derived.h5.tmp").write_text("half")
    subset(whole, tmp_path / "s.h5", where="depth > 0")
    assert sorted(path.name for path in staging.iterdir()) == ["lock", "shard"]


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "filterdb", name, *map(str, arguments)]


def large_file(folder: Path) -> Path:
    write_model(folder / "zoo" / "large.onnx", conv_net([(1024, 1024, 3, 3)], seed=1))
    write_model(folder / "zoo" / "small.onnx", conv_net([(8, 8, 3, 3)], seed=2))
    run(folder / "zoo", folder / "large.h5")
    return folder / "large.h5"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_file(tmp_path_factory.mktemp("large"))


def commands(large: Path, folder: Path) -> Iterator[tuple[list[str], Path]]:
    exported = export(large, folder / "source").out
    yield command("merge", large, "--out", folder / "m.h5"), folder / "m.h5"
    yield command("subset", large, "--where", "depth > 0", "--out", folder / "s.h5"), folder / "s.h5"
    yield command("import", exported, "--out", folder / "i.h5"), folder / "i.h5"
    yield command("export", large, "--out", folder / "e"), folder / "e"


def content(path: Path) -> dict[str, bytes]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in found if entry.is_file()}


@pytest.mark.parametrize(
    "name",
    ["merge", *(seldom(name) for name in ("export", "subset", "import"))],
)
def test_a_run_that_is_killed_leaves_nothing_and_the_next_one_ends_with_the_same_bytes(
    name: str, large: Path, tmp_path: Path
) -> None:
    for arguments, out in commands(large, tmp_path):
        if arguments[3] != name:
            continue
        assert subprocess.run(arguments, capture_output=True, timeout=120).returncode == 0
        expected = content(out)
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        staging = out.with_name(f"{out.name}.staging")
        for number in (signal.SIGTERM, signal.SIGKILL):
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not list(staging.glob("*.tmp")) + list(staging.glob("export/*")):
                time.sleep(0.001)
            time.sleep(0.01)
            process.send_signal(number)
            process.wait(timeout=60)
            assert not out.exists() or content(out) == expected
            if number == signal.SIGTERM:
                assert not staging.exists()
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert content(out) == expected
        assert not staging.exists()


@pytest.mark.parametrize(
    "size",
    [
        seldom(5_000),
        seldom(1_000_000),
        20_000_000,
    ],
)
def test_a_file_that_may_not_grow_is_a_message_and_leaves_nothing(
    size: int, large: Path, tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    for arguments, out in commands(large, tmp_path):
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, preexec_fn=limit)
        assert done.returncode == 1, done.stderr
        assert "File too large" in done.stderr
        assert "Traceback" not in done.stderr
        assert not out.exists()
        assert not out.with_name(f"{out.name}.staging").exists()


def test_a_disk_without_room_is_found_out_before_anything_is_written(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export(large, tmp_path / "source").out
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    for make in (
        lambda: merge([large], tmp_path / "m.h5"),
        lambda: subset(large, tmp_path / "s.h5", where="depth > 0"),
        lambda: ingest(exported, tmp_path / "i.h5"),
        lambda: export(large, tmp_path / "e"),
    ):
        with pytest.raises(OutputError, match=r"1\.0 MB are free"):
            make()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_two_runs_on_one_output_do_not_meet(large: Path, tmp_path: Path) -> None:
    for out, make in (
        (tmp_path / "s.h5", lambda out: subset(large, out, where="depth > 0")),
        (tmp_path / "e", lambda out: export(large, out)),
    ):
        with (
            files.exclusive_folder(out.with_name(f"{out.name}.staging"), purpose=str(out)),
            pytest.raises(OutputError, match="another run is writing"),
        ):
            make(out)


def test_the_commands_answer_a_person_and_a_program(tmp_path: Path) -> None:
    a, b = (small_file(tmp_path / f"{name}.h5", {name: seed}) for seed, name in enumerate("ab"))
    for arguments, words in (
        (("merge", a, b, "--out", "m.h5"), "16 filters of 2 layers"),
        (("subset", "m.h5", "--models", "a", "--out", "s.h5"), "8 filters of 1 layers"),
        (("export", "m.h5", "--out", "e"), "--license"),
        (("import", "e", "--out", "i.h5"), "content hash"),
    ):
        done = call(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
        done = call(*arguments, "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["action"] == "fresh"
    assert hash_of(tmp_path / "i.h5") == hash_of(tmp_path / "m.h5")
    wrong = call("subset", "m.h5", "--out", "t.h5", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--where" in wrong.stderr
