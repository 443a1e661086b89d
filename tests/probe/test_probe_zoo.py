"""Probing a whole zoo: the numbers of single models, resumed, fresh by content, and never half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import classifier, images, write

import filterdb
from filterdb import probe
from filterdb.config import RunConfig
from filterdb.errors import FilterDBError, OutputError, UsageError
from filterdb.run.probing.settings import options_of
from filterdb.run.probing.zoo import ZooReport, probe_zoo
from filterdb.run.probing.zoo_words import summary, text

MODELS = ("a", "b", "deep/c")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    for seed, name in enumerate(MODELS):
        write(tmp_path / "zoo" / f"{name}.onnx", classifier(seed=10 * seed))
    (tmp_path / "zoo" / "broken.onnx").write_bytes(b"\x08\x07nothing")
    data = images(40)
    np.savez(tmp_path / "data.npz", x=data, labels=(data.mean(axis=(1, 2, 3)) > 0).astype(int))
    return tmp_path / "zoo"


def config_of(zoo: Path, **values: Any) -> RunConfig:
    settings = {"data": str(zoo.parent / "data.npz"), "batch": 16, **values.pop("probe", {})}
    return RunConfig.parse({"workers": 1, "probe": settings, **values}, where="test")


def run(zoo: Path, what: Any = "saturation", out: str = "out", more: Any = None, **values: Any) -> ZooReport:
    config = config_of(zoo, **values)
    options = {**options_of(what, config.probe), **(more or {})}
    return probe_zoo(what, [zoo], zoo.parent / out, config, options)


def content(folder: Path) -> dict[str, bytes]:
    tables = ("layers.csv", "layers.parquet", "models.parquet", "skipped.parquet")
    return {name: (folder / name).read_bytes() for name in tables}


@pytest.mark.parametrize("what", ["cka", "saturation", "sparsity"])
def test_each_model_has_the_numbers_that_it_has_alone(zoo: Path, what: str) -> None:
    report = run(zoo, what)
    found = filterdb.open_probes(zoo.parent / "out")
    assert (report.action, report.probed, report.failed) == ("probed", 3, 1)
    assert found.models["model"].tolist() == ["a", "b", "broken", "c"]
    for name in MODELS:
        alone = getattr(probe, what)(zoo / f"{name}.onnx", data=zoo.parent / "data.npz", batch=16)
        rows = found.layers[found.layers["model"] == Path(name).name].reset_index(drop=True)
        table = alone.to_frame()
        pd.testing.assert_frame_equal(rows[table.columns], table, check_dtype=False, check_exact=True)
        model = found.models.set_index("model").loc[Path(name).name]
        totals = alone.totals()
        assert {key: model[key] for key in totals} == pytest.approx(totals, rel=0, abs=0, nan_ok=True)


def test_two_models_are_compared_with_a_third(zoo: Path) -> None:
    write(zoo.parent / "other.onnx", classifier(seed=77))
    run(zoo, "cka", more={"b": zoo.parent / "other.onnx"})
    found = filterdb.open_probes(zoo.parent / "out")
    alone = probe.cka(zoo / "a.onnx", zoo.parent / "other.onnx", data=zoo.parent / "data.npz", batch=16)
    rows = found.layers[found.layers["model"] == "a"]
    assert rows["cka"].tolist() == alone.to_frame()["cka"].tolist()
    assert found.figure().data["value"].tolist()[:3] == alone.values.max(axis=1).tolist()
    # The same name with other weights is another model, and so another result.
    write(zoo.parent / "other.onnx", classifier(seed=78))
    assert run(zoo, "cka", more={"b": zoo.parent / "other.onnx"}).probed == 3


def test_nothing_is_done_twice(zoo: Path) -> None:
    run(zoo)
    out = zoo.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = run(zoo)
    assert (again.action, again.probed) == ("fresh", 0)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert "is fresh, nothing has changed" in text(again)
    assert not out.with_name("out.staging").exists()


def test_only_what_has_changed_is_probed_again(zoo: Path) -> None:
    run(zoo)
    write(zoo / "b.onnx", classifier(seed=99))
    write(zoo / "new.onnx", classifier(seed=98))
    (zoo / "a.onnx").rename(zoo / "renamed.onnx")
    report = run(zoo)
    assert (report.action, report.probed, report.reused) == ("probed", 2, 2)
    shutil.rmtree(zoo.parent / "again", ignore_errors=True)
    run(zoo, out="again")
    assert content(zoo.parent / "out") == content(zoo.parent / "again")


def test_what_it_depends_on_is_content_and_not_place(zoo: Path) -> None:
    run(zoo)
    data = zoo.parent / "data.npz"
    moved = data.rename(zoo.parent / "moved.npz")
    assert run(zoo, probe={"data": str(moved)}).action == "fresh"
    assert run(zoo, probe={"data": str(moved), "activations": "2GiB", "threads": 1}).action == "fresh"
    assert run(zoo, probe={"data": str(moved), "limit": 20}).probed == 3
    np.savez(moved, x=images(40) * 2)
    assert run(zoo, probe={"data": str(moved), "limit": 20}).probed == 3


def test_a_killed_run_is_resumed_and_ends_with_the_same_bytes(zoo: Path) -> None:
    run(zoo, out="whole")
    for place in range(12):
        write(zoo / f"more{place}.onnx", classifier(seed=200 + place))
    run(zoo, out="expected")
    folder = zoo.parent
    command = ["saturation", "zoo", "--data", "data.npz", "--batch", "16", "--workers", "1", "--out", "out"]
    process = subprocess.Popen([sys.executable, "-m", "filterdb", "probe", *command], cwd=folder)
    staging, end = folder / "out.staging", time.monotonic() + 120
    while len(list(staging.glob("*.part"))) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "out").exists()
    kept = len(list(staging.glob("*.part")))
    assert kept >= 2
    report = run(zoo)
    assert report.reused >= kept
    assert report.probed == 15 - report.reused
    assert content(folder / "out") == content(folder / "expected")
    assert not staging.exists()


@pytest.mark.parametrize("scheduler", ["processes", "cluster"])
def test_any_workers_give_the_same_bytes(zoo: Path, scheduler: str) -> None:
    run(zoo, out="one")
    run(zoo, out="two", workers=2, scheduler=scheduler)
    assert content(zoo.parent / "one") == content(zoo.parent / "two")


def test_a_model_that_takes_too_long_is_named_and_tried_again(zoo: Path) -> None:
    report = run(zoo, probe={"timeout": 1e-4})
    reasons = report.found.models.set_index("model")["reason"].drop("broken")
    assert (report.action, report.empty) == ("nothing", True)
    assert all("probing it took more than" in reason for reason in reasons)
    assert not (zoo.parent / "out").exists()
    assert run(zoo).failed == 1


def test_an_old_folder_that_is_damaged_is_written_again(zoo: Path) -> None:
    run(zoo)
    expected = content(zoo.parent / "out")
    (zoo.parent / "out" / "layers.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(FilterDBError, match="the folder is damaged"):
        filterdb.open_probes(zoo.parent / "out")
    assert run(zoo).probed == 3
    assert content(zoo.parent / "out") == expected


def test_files_of_the_same_content_are_not_told_as_known_from_before(zoo: Path) -> None:
    shutil.copy(zoo / "a.onnx", zoo / "copy.onnx")
    shutil.copy(zoo / "a.onnx", zoo / "third.onnx")
    report = run(zoo)
    assert (report.probed, report.reused, report.same) == (3, 0, 2)
    assert "  3 probed, 2 the same as another" in text(report)
    assert summary(report)["same"] == 2
    write(zoo / "new.onnx", classifier(seed=98))
    report = run(zoo)
    assert (report.probed, report.reused, report.same) == (1, 5, 0)
    assert "  1 probed, 5 known from an earlier run" in text(report)


@pytest.mark.parametrize(
    ("first", "second", "held"),
    [
        (("cka", {}), ("saturation", {}), "cka of each model with itself, not saturation"),
        (("saturation", {}), ("sparsity", {}), "saturation, not sparsity"),
        (("cka", {"b": "a"}), ("cka", {}), "a.onnx, not cka of each model with itself"),
        (("cka", {"b": "a"}), ("cka", {"b": "b"}), "a.onnx, not cka of each model with"),
    ],
)
def test_the_folder_of_another_probe_is_replaced_by_force_only(
    zoo: Path, first: Any, second: Any, held: str
) -> None:
    made = [
        (what, {key: zoo / f"{name}.onnx" for key, name in more.items()}) for what, more in (first, second)
    ]
    run(zoo, *made[0][:1], more=made[0][1])
    before = content(zoo.parent / "out")
    with pytest.raises(UsageError, match="the folder holds another probe") as caught:
        run(zoo, made[1][0], more=made[1][1])
    assert held in str(caught.value)
    assert "--force" in (caught.value.hint or "")
    assert content(zoo.parent / "out") == before
    assert not (zoo.parent / "out.staging").exists()
    config = config_of(zoo)
    options = {**options_of(made[1][0], config.probe), **made[1][1]}
    probe_zoo(made[1][0], [zoo], zoo.parent / "out", config, options, force=True)
    assert filterdb.open_probes(zoo.parent / "out").what == made[1][0]


def test_a_second_model_by_another_name_of_its_path_is_the_same(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo)
    run(zoo, "cka", more={"b": Path("a.onnx")})
    assert run(zoo, "cka", more={"b": zoo / "a.onnx"}, probe={"batch": 8}).probed == 3


def test_nothing_of_anybody_else_is_replaced(zoo: Path) -> None:
    out = zoo.parent / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("the only copy")
    with pytest.raises(UsageError, match="is no folder of probes"):
        run(zoo)
    shutil.rmtree(out)
    staging = zoo.parent / "out.staging"
    staging.mkdir()
    (staging / "thesis.txt").write_text("the only copy")
    with pytest.raises(OutputError, match="holds what filterdb has not written"):
        run(zoo)
    assert (staging / "thesis.txt").read_text() == "the only copy"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"probe": {"kind": "convs"}}, "kind conv"),
        ({"probe": {"data": "nowhere.npz"}}, "the file cannot be read"),
        ({"probe": {"saturation": {"pooling": "men"}}}, "pooling mean"),
        ({"scheduler": "threads"}, "each model needs a process"),
        ({"dashboard": True}, "needs a Dask cluster"),
    ],
)
def test_what_no_model_can_be_probed_with_is_one_message(zoo: Path, values: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(zoo, **values)
    assert told in str(caught.value)
    assert not (zoo.parent / "out").exists()
    assert not (zoo.parent / "out.staging").exists()


def test_data_that_fits_no_model_is_the_reason_of_each(zoo: Path) -> None:
    np.save(zoo.parent / "wide.npy", np.zeros((6, 3, 5, 5), "f4"))
    report = run(zoo, probe={"data": str(zoo.parent / "wide.npy")})
    assert report.empty
    reasons = report.found.models.set_index("model")["reason"]
    assert "the data is float32 [6, 3, 5, 5], but the model's input is 'x'" in reasons["a"]
    assert report.found.layers.empty
    assert summary(report)["models"][0]["status"] == "failed"


def test_what_is_found_joins_a_data_set(zoo: Path, tmp_path: Path) -> None:
    from filterdb.run.extraction.extract import extract

    extract(RunConfig.parse({"zoo": [str(zoo)], "workers": 1}, where="test"), tmp_path / "dataset.h5")
    run(zoo)
    found = filterdb.open_probes(tmp_path / "out")
    with filterdb.open(tmp_path / "dataset.h5") as db:
        models, layers = found.with_models(db.models), found.with_layers(db.meta)
        assert len(models) == len(db.models)
        assert len(layers) == len(db.meta)
        assert layers.index.equals(db.meta.index)
    ours = found.models.set_index("model")["saturation"]
    assert models.set_index("name")["saturation"].dropna().to_dict() == ours.dropna().to_dict()
    alone = {row.layer: row.saturation for row in probe.saturation(
        zoo / "a.onnx", data=tmp_path / "data.npz", batch=16
    ).layers}  # fmt: skip
    rows = layers[layers["model"] == "a"]
    assert dict(zip(rows["layer_name"], rows["saturation"], strict=True)) == {
        name: alone[name] for name in ("body.0", "body.1")
    }
    with pytest.raises(FilterDBError, match="no column 'sha256'"):
        found.with_models(pd.DataFrame({"name": ["a"]}))


def test_the_command_writes_a_folder_a_figure_and_says_what_failed(zoo: Path) -> None:
    folder = zoo.parent
    command = ["saturation", "zoo", "--data", "data.npz", "--out", "out", "--figure", "zoo.svg"]
    done = subprocess.run(
        [sys.executable, "-m", "filterdb", "probe", *command],
        cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "saturation of 3 models: out"
    assert lines[1].split() == ["model", "layers", "saturation", "tail"]
    assert [line.split()[0] for line in lines[2:5]] == ["a", "b", "c"]
    assert lines[5].startswith("  failed: broken: ")
    assert "<svg" in (folder / "zoo.svg").read_text("utf-8")
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in (folder / "out").iterdir()}
    refused = subprocess.run(
        [sys.executable, "-m", "filterdb", "probe", "saturation", "zoo/a.onnx", "--workers", "2"],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--workers is given for one model" in refused.stderr
