"""Two results folders beside each other: what may be compared, and that it equals the definition."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analyses import groups_of, make, run, write_zoo

import reference
from filterdb.config import DEMO, RunConfig, demo_folder
from filterdb.errors import ColumnError, ConfigError, CorruptDataError, NotADatasetError, UsageError
from filterdb.run.analysis import results
from filterdb.run.analysis.compare import Question, compare
from filterdb.run.extraction.extract import extract
from in_process import call

TASK = Question("Task")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results `a` of one data set, and `b` of another in the coordinates of `a`."""
    folder = tmp_path_factory.mktemp("compare")
    first = make(write_zoo(folder / "zoo-a", [0, 1, 2, 4, 5]), folder / "a.h5")
    second = make(write_zoo(folder / "zoo-b", [21, 22, 25]), folder / "b.h5")
    run(first, folder / "a")
    run(second, folder / "b", basis=str(folder / "a" / "basis.json"))
    run(second, folder / "own")
    return folder


def test_every_pair_of_groups_is_the_definition_though_the_data_sets_are_gone(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        shutil.copytree(folder / name, tmp_path / name)
    table = compare(tmp_path / "a", tmp_path / "b", TASK).table
    first, second = groups_of(folder / "a.h5"), groups_of(folder / "b.h5")
    where = reference.coordinates(np.concatenate(list(first.values())))
    assert table[["group_a", "group_b"]].to_numpy().tolist() == [
        [a, b] for a in sorted(first) for b in sorted(second)
    ]
    for row in table.itertuples():
        expected = reference.shift(first[row.group_a], second[row.group_b], where)
        assert pytest.approx(expected, rel=1e-6) == row.D
        assert (row.filters_a, row.filters_b) == (len(first[row.group_a]), len(second[row.group_b]))
    assert table.groupby("group_a")["layers_a"].first().to_dict() == {
        "Classification": 2,
        "Denoising": 4,
        "Segmentation": 4,
    }
    assert table["outside_b"].sum() == 3 * sum(reference.outside(one, where) for one in second.values())


def test_results_beside_themselves_are_their_own_matrix(folder: Path) -> None:
    table = compare(folder / "a", folder / "a", TASK).table
    matrix = results.load(folder / "a").shifts["Task"].matrix.frame()
    for row in table.itertuples():
        assert pytest.approx(matrix.loc[row.group_a, row.group_b], rel=1e-12) == row.D


@pytest.mark.parametrize("measure", ["jensen_shannon", "wasserstein"])
@pytest.mark.parametrize("weighting", ["layers", "models"])
def test_measure_and_weighting_are_those_of_an_analysis(folder: Path, measure: str, weighting: str) -> None:
    expected = run(folder / "a.h5", folder / "weighted", measure=measure, weighting=weighting)
    within = expected.results.shifts["Task"].matrix.frame()
    question = Question("Task", measure=measure, weighting=weighting)
    for row in compare(folder / "a", folder / "a", question).table.itertuples():
        assert pytest.approx(within.loc[row.group_a, row.group_b], rel=1e-12, abs=1e-15) == row.D
        assert row.measure == measure


def test_results_in_different_coordinates_are_refused_with_what_to_run(folder: Path) -> None:
    with pytest.raises(UsageError, match="they differ in basis and range and weights") as caught:
        compare(folder / "a", folder / "own", TASK)
    command = str(caught.value).split("try: filterdb ")[1].split()
    assert command == [
        *("analyze", str(folder / "b.h5"), "--out", str(folder / "own")),
        *("--basis", str(folder / "a" / "basis.json")),
    ]
    run(folder / "a.h5", folder / "fixed", policy="fixed")
    with pytest.raises(UsageError, match="they differ in range and weights"):
        compare(folder / "a", folder / "fixed", TASK)
    run(folder / "a.h5", folder / "bins", bins=71)
    with pytest.raises(UsageError, match="they differ in bins"):
        compare(folder / "a", folder / "bins", TASK)


def test_results_of_another_kernel_are_refused(folder: Path, tmp_path: Path) -> None:
    five = make(write_zoo(tmp_path / "zoo", [0, 1, 2], kernel=5), tmp_path / "five.h5", "5x5")
    run(five, tmp_path / "five")
    with pytest.raises(UsageError, match="of 3x3 and of 5x5 filters, which cannot be compared"):
        compare(folder / "a", tmp_path / "five", TASK)


def test_bins_of_numbers_are_the_same_on_both_sides(folder: Path) -> None:
    table = compare(folder / "a", folder / "b", Question("sparsity + variance_entropy")).table
    layers = pd.concat([results.load(folder / name).layers for name in ("a", "b")])
    values = layers["sparsity"] + layers["variance_entropy"]
    groups = {*table["group_a"], *table["group_b"]}
    assert all(group.startswith(("[", "(")) for group in groups)
    highest = f"{values.max():.3g}"
    assert any(group.endswith(f"{highest}]") for group in groups)
    assert {*table["group_a"]} != {*table["group_b"]}


def test_a_condition_holds_on_both_sides_and_a_side_may_have_one_group(folder: Path) -> None:
    table = compare(folder / "a", folder / "b", Question("Task", where="Stars in (1, 2, 22)")).table
    assert table[["group_a", "group_b"]].to_numpy().tolist() == [
        ["Denoising", "Segmentation"],
        ["Segmentation", "Segmentation"],
    ]


def test_what_one_side_does_not_have_is_named_with_the_side(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="no group: 0 of 6") as caught:
        compare(folder / "a", folder / "b", Question("Task", where="Stars < 9"))
    assert str(folder / "b") in str(caught.value)
    with pytest.raises(ColumnError, match="did you mean 'Task'"):
        compare(folder / "a", folder / "b", Question("Tsk"))
    with pytest.raises(ConfigError, match=r"analyze\.measure = 'papr' cannot be used"):
        compare(folder / "a", folder / "b", Question("Task", measure="papr"))
    with pytest.raises(NotADatasetError, match="no such folder"):
        compare(folder / "a", tmp_path / "nowhere", TASK)
    with pytest.raises(NotADatasetError, match="no results folder"):
        compare(folder / "zoo-a", folder / "b", TASK)
    shutil.copytree(folder / "a", tmp_path / "a")
    (tmp_path / "a" / "meta.parquet").unlink()
    with pytest.raises(CorruptDataError, match="the results are damaged"):
        compare(tmp_path / "a", folder / "b", TASK)


def test_the_table_is_written_as_its_name_says(folder: Path, tmp_path: Path) -> None:
    report = compare(folder / "a", folder / "b", TASK, out=tmp_path / "sub" / "t.csv")
    found = pd.read_csv(tmp_path / "sub" / "t.csv")
    assert found["D"].to_numpy() == pytest.approx(report.table["D"].to_numpy(), rel=1e-14)
    compare(folder / "a", folder / "b", TASK, out=tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), report.table)
    for name in ("t.xlsx", "t"):
        with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
            compare(folder / "a", folder / "b", TASK, out=tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub", "t.parquet"]


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return call(*arguments, cwd=cwd)


def test_models_of_the_demo_from_the_shell(tmp_path: Path) -> None:
    models = [str(path) for path in sorted((demo_folder() / "zoo").glob("*.onnx"))[1::5]]
    extract(RunConfig(zoo=tuple(models), metadata=DEMO, workers=1), tmp_path / "d.h5")
    made = command("analyze", "d.h5", "--out", "a", "--by", "Task", "--by", "depth_decile", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "basis:" not in made.stdout
    assert "policy:" not in made.stdout
    fixed = command("analyze", "d.h5", "--out", "fixed", "--by", "Task", "--policy", "fixed", cwd=tmp_path)
    assert "  policy: fixed, 70 bins from -3 to 3, equal weights\n" in fixed.stdout
    few = command(
        *("analyze", "d.h5", "--out", "few", "--by", "depth_decile"),
        *("--basis", "subset", "--where", "Task == 'Classification'", "--json"),
        cwd=tmp_path,
    )
    facts = json.loads(few.stdout, parse_constant=pytest.fail)
    assert facts["coordinates"]["basis"] == "subset"
    assert facts["scans"] == ["statistics", "range", "counts"]
    assert facts["outside"] > 0
    refused = command("compare", "few", "a", "--by", "Task", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "they differ in basis and range and weights" in refused.stderr
    advice = refused.stderr.split("try: filterdb ")[1].split()
    given = command(*advice, cwd=tmp_path)
    assert given.returncode == 0, given.stderr
    assert f"  basis: given, {facts['coordinates']['identity'][:16]}\n" in given.stdout
    assert f"  outside the bins: {facts['outside']} of " in given.stdout
    done = command("compare", "few", "a", "--by", "Task", "--out", "t.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("few and a by Task: 49 pairs of groups\n")
    assert "Classification - Classification: D = 0.000" in done.stdout
    assert len(pd.read_csv(tmp_path / "t.csv")) == 49
    asked = command("compare", "few", "a", "--by", "Task", "--json", cwd=tmp_path)
    assert len(json.loads(asked.stdout, parse_constant=pytest.fail)["shifts"]) == 49


@pytest.mark.parametrize(
    "options",
    [
        ["--policy", "fix"],
        ["--basis", "nowhere.json"],
        ["--basis", "subset"],
        ["--by", "nothing"],
    ],
)
def test_what_the_command_cannot_do_is_a_sentence(options: list[str], folder: Path, tmp_path: Path) -> None:
    done = command("analyze", str(folder / "a.h5"), "--out", "r", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("filterdb: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
