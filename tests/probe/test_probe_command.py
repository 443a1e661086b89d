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

from filterdb import probe


def filterdb(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "filterdb", "probe", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a.onnx", classifier())
    write(tmp_path / "b.onnx", classifier(seed=50))
    data = images(60)
    np.savez(tmp_path / "data.npz", x=data, labels=(data.mean(axis=(1, 2, 3)) > 0).astype(int))
    return tmp_path


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


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_tables_and_figures_are_written_whole(folder: Path, suffix: str) -> None:
    for what in ("cka", "saturation", "sparsity"):
        out, figure = f"out/{what}.{suffix}", f"out/{what}.svg"
        done = filterdb(what, "a.onnx", "--data", "data.npz", "--out", out, "--figure", figure, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert f"the table: {out}" in done.stdout
        assert "<svg" in (folder / figure).read_text("utf-8")
        if suffix == "csv":
            rows = len(list(csv.DictReader((folder / out).read_text("utf-8").splitlines())))
        elif suffix == "parquet":
            rows = len(pd.read_parquet(folder / out))
        else:
            data = json.loads((folder / out).read_text("utf-8"))
            rows = len(data["pairs" if what == "cka" else "layers"])
        assert rows == (9 if what == "cka" else 3)
    assert {path.name[0] for path in (folder / "out").iterdir()} == {"c", "s"}


def test_two_runs_write_the_same_bytes(folder: Path) -> None:
    for name in ("one", "two"):
        for what in ("cka", "saturation", "sparsity"):
            arguments = [
                "--data",
                "data.npz",
                "--out",
                f"{name}/{what}.csv",
                "--figure",
                f"{name}/{what}.png",
            ]
            assert filterdb(what, "a.onnx", *arguments, cwd=folder).returncode == 0
    for path in (folder / "one").iterdir():
        assert path.read_bytes() == (folder / "two" / path.name).read_bytes(), path.name


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
    for what in ("cka", "saturation", "sparsity"):
        for name in ("no.onnx", "missing.onnx"):
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
