"""`filterdb probe`: what a person reads, what a program reads, and what is written."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from models import classifier, images, write
from onnx import helper

from filterdb import probe
from filterdb.testing import tensor
from in_process import call

PROBES = ("cka", "saturation", "sparsity")


def filterdb(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    if not environment:
        return call("probe", *arguments, cwd=cwd)
    command = [sys.executable, "-m", "filterdb", "probe", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def furnish(folder: Path) -> Path:
    write(folder / "a.onnx", classifier())
    write(folder / "b.onnx", classifier(seed=50))
    data = images(60)
    np.savez(folder / "data.npz", x=data, labels=(data.mean(axis=(1, 2, 3)) > 0).astype(int))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return furnish(tmp_path)


def write_table(what: str, suffix: str, out: str, folder: Path) -> None:
    """Run a probe that writes a table and a figure."""
    table, figure = f"{out}/{what}.{suffix}", f"{out}/{what}.svg"
    done = filterdb(what, "a.onnx", "--data", "data.npz", "--out", table, "--figure", figure, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"the table: {table}" in done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of every probe as CSV, each with its figure."""
    folder = furnish(tmp_path_factory.mktemp("written"))
    for what in PROBES:
        write_table(what, "csv", "out", folder)
    return folder


def test_saturation_is_a_table_of_layers_in_order(folder: Path) -> None:
    done = filterdb("saturation", "a.onnx", "--limit", "100", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "saturation of a.onnx",
        "  on 100 rows of scikit-learn's digits (delta 0.99, channelwise, rule plain)",
    ]
    assert lines[2].split() == ["layer", "operator", "saturation", "directions", "trace"]
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["body.0", "Conv"],
        ["body.1", "Conv"],
        ["head", "Gemm"],
    ]


def test_cka_says_what_each_layer_is_most_like_and_what_was_left_out(folder: Path) -> None:
    done = filterdb("cka", "a.onnx", "b.onnx", "--data", "data.npz", "--batch", "16", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    head, data, left_out, titles, *rows = done.stdout.splitlines()
    assert head == "CKA of a.onnx (3 layers) with b.onnx (3 layers)"
    assert data == "  on 48 rows of data.npz, in 3 batches of 16"
    assert left_out == "  left out: 12 rows of a short last batch; --batch changes how many"
    assert titles.split() == ["layer", "operator", "CKA", "most", "like"]
    found = probe.cka(folder / "a.onnx", folder / "b.onnx", data=folder / "data.npz", batch=16)
    best = found.values.argmax(axis=1)
    assert [row.split()[3] for row in rows] == [found.b.layers[place] for place in best]
    assert "with itself" in filterdb("cka", "a.onnx", "--data", "data.npz", cwd=folder).stdout


def test_json_is_strict_and_complete(folder: Path) -> None:
    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is no JSON")

    found = {}
    for what, more in (("cka", ["b.onnx"]), ("saturation", []), ("sparsity", [])):
        done = filterdb(what, "a.onnx", *more, "--data", "data.npz", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        found[what] = json.loads(done.stdout, parse_constant=refuse)
    assert len(found["cka"]["pairs"]) == 9
    assert found["cka"]["a"]["layers"] == ["body.0", "body.1", "head"]
    assert [row["layer"] for row in found["saturation"]["layers"]] == found["cka"]["a"]["layers"]
    direct = probe.saturation(folder / "a.onnx", data=folder / "data.npz")
    assert [row["trace"] for row in found["saturation"]["layers"]] == [row.trace for row in direct.layers]
    assert found["sparsity"]["classes"] == 2
    assert {"alpha", "ari", "ami", "fmi", "reason"} <= set(found["sparsity"]["layers"][0])


def rows_of(table: Path) -> int:
    if table.suffix == ".csv":
        return len(list(csv.DictReader(table.read_text("utf-8").splitlines())))
    if table.suffix == ".parquet":
        return len(pd.read_parquet(table))
    data = json.loads(table.read_text("utf-8"))
    return len(data["pairs" if table.stem == "cka" else "layers"])


def test_tables_and_figures_are_written_whole(written: Path) -> None:
    for what in PROBES:
        assert "<svg" in (written / "out" / f"{what}.svg").read_text("utf-8")
        assert rows_of(written / "out" / f"{what}.csv") == (9 if what == "cka" else 3)
    assert {path.name[0] for path in (written / "out").iterdir()} == {"c", "s"}


@pytest.mark.parametrize("suffix", ["parquet", "json"])
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[] if what == "cka" else [pytest.mark.soak]) for what in PROBES]
)
def test_a_table_is_written_as_its_name_says(what: str, suffix: str, folder: Path) -> None:
    write_table(what, suffix, "out", folder)
    assert rows_of(folder / "out" / f"{what}.{suffix}") == (9 if what == "cka" else 3)


def test_two_runs_write_the_same_bytes(written: Path) -> None:
    for what in PROBES:
        write_table(what, "csv", "again", written)
    assert len(list((written / "out").iterdir())) == 6
    for path in (written / "out").iterdir():
        assert path.read_bytes() == (written / "again" / path.name).read_bytes(), path.name


def furnish_gaps(folder: Path) -> Path:
    """Write a model with a layer that holds NaN, and one that has no rows."""
    model = classifier()
    weight = next(one for one in model.graph.initializer if one.name == "body.1.weight")
    weight.CopyFrom(tensor("body.1.weight", np.full((8, 6, 3, 3), np.nan, "f4")))
    model.graph.node.append(helper.make_node("Shape", ["x"], ["shape"], name="shape"))
    return write(folder / "gaps.onnx", model)


def test_only_layers_with_a_value_are_said_to_have_few_rows(folder: Path) -> None:
    furnish_gaps(folder)
    lines = filterdb("saturation", "gaps.onnx", "--limit", "5", cwd=folder).stdout.splitlines()
    assert [line for line in lines if "not defined" in line] == [
        "  not defined: body.1, head: its activations hold NaN or infinity"
    ]
    assert not any("fewer rows" in line for line in lines)
    few = filterdb("saturation", "a.onnx", "--limit", "5", cwd=folder).stdout
    assert "fewer rows than features, so that less than all could be used: head" in few


@pytest.mark.parametrize("what", PROBES)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_could_not_be_looked_at_is_listed_beside_the_table(what: str, suffix: str, folder: Path) -> None:
    furnish_gaps(folder)
    table, beside = f"out/t.{suffix}", folder / "out" / "t.skipped.csv"
    shared = ("--data", "data.npz", "--out", table)
    done = filterdb(what, "gaps.onnx", "--kind", "all", *shared, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "the layers not looked at: out/t.skipped.csv" in done.stdout
    rows = list(csv.DictReader(beside.read_text("utf-8").splitlines()))
    assert [(row["layer"], row["op_type"]) for row in rows] == [("shape", "Shape")]
    assert rows[0]["reason"] in done.stdout
    # A table in its place that leaves nothing out has no list; what somebody else has put there stays.
    done = filterdb(what, "a.onnx", *shared, cwd=folder)
    assert (done.returncode, beside.exists()) == (0, False)
    beside.write_text("layer,mine\n")
    filterdb(what, "a.onnx", *shared, cwd=folder)
    assert beside.read_text() == "layer,mine\n"


def test_json_lists_what_could_not_be_looked_at_and_needs_no_other_file(folder: Path) -> None:
    furnish_gaps(folder)
    filterdb("saturation", "gaps.onnx", "--kind", "all", "--limit", "9", "--out", "t.json", cwd=folder)
    found = json.loads((folder / "t.json").read_text())
    assert [one["layer"] for one in found["skipped"]] == ["shape"]
    assert not (folder / "t.skipped.csv").exists()


def test_one_is_said_in_the_singular(folder: Path) -> None:
    done = filterdb("cka", "a.onnx", "b.onnx", "--layers", "head", "--limit", "9", "--batch", "8", cwd=folder)
    assert done.stdout.splitlines()[:3] == [
        "CKA of a.onnx (1 layer) with b.onnx (1 layer)",
        "  on 8 rows of scikit-learn's digits, in one batch",
        "  left out: 1 row of a short last batch; --batch changes how many",
    ]


def test_a_figure_as_pdf_has_the_same_bytes_every_time(folder: Path) -> None:
    for name in ("one.pdf", "two.pdf"):
        done = filterdb("saturation", "a.onnx", "--limit", "9", "--figure", name, cwd=folder, TZ="UTC")
        assert done.returncode == 0, done.stderr
    content = (folder / "one.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"Date" not in content
    assert content == (folder / "two.pdf").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["saturation", "a.onnx", "b.onnx"], "several models are given, and --out is not"),
        (["saturation", "."], "a zoo is given, and --out is not"),
        (["saturation", "a.onnx", "--layers", "body.0", "head"], "try: --layers body.0 --layers head"),
        (["cka", "a.onnx", "--layers", "body.0", "head"], "head is no model: there is no such file"),
        (["saturation", "a.onnx", "--layers", "body.0,head"], "try: --layers body.0 --layers head"),
        (["saturation", "a.onnx", "nowhere", "--out", "o"], "no such file or folder"),
    ],
)
def test_what_is_missing_from_a_command_is_named(folder: Path, arguments: list[str], told: str) -> None:
    done = filterdb(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "it is not said where" not in done.stderr
    assert not (folder / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["saturation", "a.onnx", "--layers", "bdy.0"], "try: --layers body.0"),
        (["saturation", "a.onnx", "--kind", "convs"], "try: kind conv"),
        (["saturation", "a.onnx", "--memory", "much"], "expected: a size such as 2GiB"),
        (["saturation", "a.onnx", "--out", "t.xlsx"], "the table cannot be written as .xlsx"),
        (["saturation", "a.onnx", "--figure", "f.jpg"], "the figure cannot be written as .jpg"),
        (["cka", "a.onnx", "--batch", "3"], "at least 4 for CKA"),
        (["sparsity", "a.onnx", "--data", "plain.npy"], "the data has no labels"),
        (["cka", "a.onnx", "--data", "nowhere"], "there is no such file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_way_out(folder: Path, arguments: list[str], told: str) -> None:
    np.save(folder / "plain.npy", images(8))
    done = filterdb(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_models_that_cannot_be_used_are_exit_code_1_and_named(folder: Path) -> None:
    (folder / "no.onnx").write_bytes(b"nothing of use")
    # Where a model is loaded is the same for all of them.
    for what, name in (*((what, "no.onnx") for what in PROBES), ("saturation", "missing.onnx")):
        done = filterdb(what, name, cwd=folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"in: {name}" in done.stderr


def test_without_the_extra_a_message_says_what_to_install(folder: Path) -> None:
    (folder / "hidden").mkdir()
    for package, module in (("onnxruntime", "onnxruntime"), ("Pillow", "PIL"), ("scikit-learn", "sklearn")):
        (folder / "hidden" / f"{module}.py").write_text(f"raise ImportError('no {module} here')")
        done = filterdb("sparsity", "a.onnx", cwd=folder, PYTHONPATH=str(folder / "hidden"))
        (folder / "hidden" / f"{module}.py").unlink()
        assert (done.returncode, done.stdout) == (2, "")
        assert f"probes need {package}, which cannot be loaded" in done.stderr
        assert "try: pip install 'filterdb[probe]'" in done.stderr


def test_importing_the_probes_loads_none_of_their_packages() -> None:
    program = "import sys, json, filterdb.probe, filterdb.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & {"onnxruntime", "PIL", "sklearn", "onnx", "matplotlib", "numpy"} == set()


def test_the_public_names_are_exactly_these() -> None:
    assert probe.__all__ == [
        "CKAResult",
        "SaturationResult",
        "SparsityResult",
        "cka",
        "saturation",
        "sparsity",
    ]
    assert all(callable(getattr(probe, name)) for name in probe.__all__)


def test_a_long_run_says_how_far_it_is(folder: Path) -> None:
    from filterdb.run.probing.single import probe as stage

    seen = []

    class Noted:
        def __init__(self, *what: object) -> None:
            seen.append([*what, 0])

        def __enter__(self) -> Noted:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def advance(self, amount: float = 1) -> None:
            seen[-1][-1] += amount

    for what in (probe.cka, probe.saturation, probe.sparsity):
        what(folder / "a.onnx", data=folder / "data.npz", batch=16, progress=Noted)  # type: ignore[operator]
    assert seen == [
        ["cka", 48, "rows", 48],
        ["saturation", 60, "rows", 60],
        ["sparsity score", 3, "layers", 3],
    ]
    assert stage("saturation", folder / "a.onnx", data=folder / "data.npz").empty is False
