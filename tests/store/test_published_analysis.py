"""Every stage works on published files, and finds what it finds in the same data in our own format."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published_fixtures import published

import filterdb
from filterdb import quality
from filterdb.config import RunConfig
from filterdb.errors import ColumnError, UsageError
from filterdb.run.analysis.analyze import AnalyzeReport, analyze
from filterdb.run.extraction.extract import extract
from filterdb.run.messages import info_summary, info_text
from filterdb.store import open_dataset
from filterdb.testing import conv_net, write_model
from in_process import call

ROOT = Path(__file__).parent.parent.parent
ZOO = published()
BY = ("Task", "Visual Category", "depth_decile")
FEW = {"permutations": 19, "draws": 19}


def run(path: Path, folder: Path, **values: object) -> AnalyzeReport:
    config = RunConfig(workers=2).with_analyze(by=BY, **FEW, **values)
    return analyze(path, folder / f"results of {path.stem}", config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def ours(folder: Path) -> AnalyzeReport:
    return run(ZOO.ours(folder / "ours.h5"), folder)


@pytest.fixture(scope="module", params=["v1 fixed", "v1 table", "v0 fixed", "v0 table"])
def theirs(request: pytest.FixtureRequest, folder: Path) -> AnalyzeReport:
    version, layout = request.param.split()
    write = ZOO.v1 if version == "v1" else ZOO.v0
    rule = {"column": "Visual Category", "equals": "formula", "to": "fractals"}
    return run(write(folder / f"{version}-{layout}.h5", layout=layout), folder, relabel=[rule])


def test_the_basis_and_the_counts_are_the_same_bits(theirs: AnalyzeReport, ours: AnalyzeReport) -> None:
    assert theirs.coordinates.identity == ours.coordinates.identity
    there, here = (np.load(report.out / "cube.npy") for report in (theirs, ours))
    unknown = {"overlap", "channels"}
    for name in set(here.dtype.names) - unknown:
        assert np.array_equal(there[name], here[name]), name


def test_the_shifts_are_the_same(theirs: AnalyzeReport, ours: AnalyzeReport) -> None:
    assert set(theirs.shifts) == set(BY)
    for name in BY:
        pd.testing.assert_frame_equal(theirs.shifts[name], ours.shifts[name], check_exact=True)


def test_every_metric_is_the_same_but_orthogonality_which_says_why(
    theirs: AnalyzeReport, ours: AnalyzeReport
) -> None:
    same = [name for name in quality.METRICS if name != "orthogonality"]
    pd.testing.assert_frame_equal(theirs.layers[same], ours.layers[same], check_exact=True)
    assert theirs.layers["orthogonality"].isna().all()
    assert theirs.layers["reason"].str.contains("output channels is not known").all()
    assert ours.layers["orthogonality"].notna().all()
    labels = ["random", "low_diversity", "degenerate"]
    assert theirs.layers[labels].equals(ours.layers[labels])


def test_a_second_run_is_fresh_and_a_changed_file_is_not(folder: Path) -> None:
    path = published(60, models=12, seed=3).v1(folder / "again.h5")
    assert run(path, folder).action == "analyzed"
    assert run(path, folder).action == "fresh"
    path.touch()
    assert run(path, folder).action == "analyzed"


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers_change_no_bit(scheduler: str, folder: Path) -> None:
    path = published(60, models=12, seed=3).v1(folder / f"{scheduler}.h5")
    config = RunConfig(workers=2, scheduler=scheduler).with_analyze(by=BY, **FEW)
    found = analyze(path, folder / scheduler, config)
    expected = run(path, folder)
    assert np.array_equal(np.load(found.out / "cube.npy"), np.load(expected.out / "cube.npy"))


def test_the_shipped_configuration_makes_one_task_of_all_segmentation(folder: Path) -> None:
    path = ZOO.v0(folder / "shipped.h5")
    config = RunConfig.load(ROOT / "configs" / "published.yaml").with_analyze(**FEW)
    report = analyze(path, folder / "shipped", config)
    groups = set(report.shifts["Task"][["group_a", "group_b"]].to_numpy().ravel())
    assert groups == {"Classification", "Face Detection", "GAN-Generator", "Segmentation"}
    assert "formula" not in report.shifts["Visual Category"].to_string()
    manifest = json.loads((report.out / "manifest.json").read_text())
    first, second, _ = manifest["relabelled"]
    assert first == {
        "column": "Task",
        "contains": "Segmentation",
        "to": "Segmentation",
        "labels": ["Panoptic Segmentation", "Semantic Segmentation"],
        "records": int(ZOO.frame["Task"].str.contains("Segmentation").sum()),
    }
    assert second["labels"] == ["formula"]


def test_another_rule_makes_results_stale_without_reading_filters(folder: Path) -> None:
    path = published(60, models=12, seed=3).v1(folder / "rules.h5")
    assert run(path, folder).scanned
    rule = {"column": "Task", "contains": "Segmentation", "to": "Segmentation"}
    again = run(path, folder, relabel=[rule])
    assert again.action == "analyzed"
    assert not again.scanned


def test_a_rule_for_a_column_that_is_not_there_names_the_nearest(folder: Path) -> None:
    path = published(60, models=12, seed=3).v1(folder / "wrong.h5")
    with pytest.raises(ColumnError, match="Tsak") as caught:
        run(path, folder, relabel=[{"column": "Tsak", "equals": "a", "to": "b"}])
    assert "Task" in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_an_axis_of_what_is_not_known_says_so(folder: Path) -> None:
    path = ZOO.v1(folder / "axis.h5")
    for by in ("depthwise", "out_channels"):
        with pytest.raises(UsageError, match="no group: 0 of 1,000 records have a value"):
            analyze(path, folder / "axis", RunConfig().with_analyze(by=(by,), **FEW))


@pytest.mark.parametrize("version", ["v1", "v0"])
def test_the_screen_says_what_the_file_holds_and_what_is_not_known(version: str, folder: Path) -> None:
    path = getattr(ZOO, version)(folder / f"info-{version}.h5")
    with open_dataset(path) as file:
        lines, facts = info_text(file).splitlines(), json.loads(json.dumps(info_summary(file)))
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert "published CNN-Filter-DB" in lines[0]
    assert any(f"{len(ZOO.filters):,} of 3x3, in 1,000 layers" in line for line in lines)
    assert any("50: 50 ok" in line for line in lines)
    assert any("duplicates not known" in line for line in lines)
    assert facts["duplicate_layers"] is None
    assert facts["nonfinite_values"] is None
    assert sum(group["filters"] for group in facts["groups"]["Task"].values()) == len(ZOO.filters)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return call(*arguments, cwd=ROOT)


def test_the_commands_take_a_published_file(folder: Path) -> None:
    path = published(60, models=12, seed=3).v1(folder / "commands.h5")
    assert "published CNN-Filter-DB" in command("info", path).stdout
    verified = command("verify", path)
    assert (verified.returncode, "holds no hashes" in verified.stdout) == (0, True)
    out = folder / "by command"
    done = command("analyze", path, "--out", out, "--config", ROOT / "configs" / "published.yaml")
    assert done.returncode == 0, done.stderr
    assert (out / "shift" / "Task.csv").exists()
    broken = path.with_name("commands.h5.xz")
    broken.write_bytes(b"\xfd7zXZ\0")
    refused = command("analyze", broken, "--out", out)
    assert refused.returncode != 0
    assert "xz --decompress --keep commands.h5.xz" in refused.stderr


def test_extraction_never_replaces_a_published_file(folder: Path) -> None:
    write_model(folder / "zoo" / "a.onnx", conv_net([(4, 3, 3, 3)], seed=0))
    path = published(24, models=6).v1(folder / "only copy.h5")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="there already"):
        extract(RunConfig(zoo=(str(folder / "zoo"),)), path)
    assert path.read_bytes() == before


def test_the_open_file_of_a_researcher_is_a_published_one_too(folder: Path) -> None:
    with filterdb.open(ZOO.v1(folder / "researcher.h5")) as db:
        chosen = db.meta[db.meta["Task"] == "GAN-Generator"].head(3)
        found = db.filters(chosen)
        rows = np.concatenate(
            [np.arange(a, b) for a, b in zip(chosen["filter_start"], chosen["filter_end"], strict=True)]
        )
        assert np.array_equal(found, ZOO.filters[rows])


def test_a_model_of_a_published_file_is_found_and_stands_where_it_does_in_ours(
    theirs: AnalyzeReport, ours: AnalyzeReport
) -> None:
    rows = np.flatnonzero(ZOO.frame["model_id"] == 7)
    ends = np.cumsum([one.n_filters for layers in ZOO.layers for one in layers])
    layers = ZOO.layers[7]
    state = {
        f"{one.name}.weight": ZOO.filters[ends[row] - one.n_filters : ends[row]].reshape(
            one.out_channels, -1, 3, 3
        )
        for row, one in zip(rows, layers, strict=True)
    }
    there, here = (filterdb.compare_model(state, report.out) for report in (theirs, ours))
    assert there.copies["same_model"].tolist() == here.copies["same_model"].tolist() == [True]
    assert there.copies["model_id"].tolist() == [7]
    columns = ["model_id", "D", "filters", "layers", "same_layers"]
    pd.testing.assert_frame_equal(there.nearest[columns], here.nearest[columns])
    pd.testing.assert_frame_equal(there.drift["Task"], here.drift["Task"])
    assert there.layers["peers"].tolist() == here.layers["peers"].tolist()
    assert there.layers["sparsity_percentile"].tolist() == here.layers["sparsity_percentile"].tolist()
    # What a published file does not know has no percentile.
    assert there.layers["orthogonality_percentile"].isna().all()
    assert here.layers["orthogonality_percentile"].notna().any()
    assert any("knows no hashes" in note for note in there.notes)
