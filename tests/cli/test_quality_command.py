"""`filterdb quality`: what a person reads, and what a program reads."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import helper
from rich.cells import cell_len

from filterdb import measure_quality
from filterdb.quality import METRICS
from filterdb.testing import graph_of, model_of, random_weight, tensor, write_model
from in_process import call

ESCAPE = "\x1b"


def filterdb(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    if not environment:
        return call("quality", *arguments, cwd=cwd)
    command = [sys.executable, "-m", "filterdb", "quality", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def low_rank(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Filters that are nearly all one pattern."""
    return random_weight(shape[:2], seed=seed)[:, :, None, None] + 1e-3 * random_weight(shape, seed=seed + 1)


def sparse(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """One pattern, and a quarter of the filters switched off."""
    weight = low_rank(shape, seed)
    weight[: shape[0] // 4] *= np.float32(1e-5)
    return weight


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return {
        "stem": random_weight((32, 3, 7, 7)),
        "body.random": random_weight((32, 32, 3, 3), seed=1),
        "body.flat": low_rank((32, 32, 3, 3), 2),
        "body.sparse": sparse((32, 32, 3, 3), 4),
        "body.point": random_weight((8, 32, 1, 1), seed=6),
        "body.good": random_weight((32, 8, 3, 3), seed=7) * np.linspace(0.1, 2, 9, dtype="f4").reshape(3, 3),
    }


@pytest.fixture
def model(tmp_path: Path, weights: dict[str, np.ndarray]) -> Path:
    nodes = [helper.make_node("Conv", ["x", f"{n}.weight"], [f"y{n}"], name=n) for n in weights]
    nodes.append(helper.make_node("ConvTranspose", ["x", "up.weight"], ["z"], name="up"))
    stored = [tensor(f"{name}.weight", weight) for name, weight in weights.items()]
    stored.append(tensor("up.weight", random_weight((4, 4, 3, 3))))
    graph = graph_of(nodes, outputs=["z"], weights=stored)
    return write_model(tmp_path / "model.onnx", model_of(graph))


def test_a_person_reads_a_table_of_all_layers_with_marks_reasons_and_counts(model: Path) -> None:
    done = filterdb("model.onnx", cwd=model.parent)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:8] == [
        "model.onnx",
        "  layer            weight      n  sparse      H  H/T_H  orth.  labels",
        "  stem           32x3x7x7     96     0 %  1.574      -  0.934",
        "! body.random   32x32x3x3  1,024     0 %  0.952  1.002  0.956  random",
        "  body.flat     32x32x3x3  1,024   2.0 %  0.000  0.000  0.856  low diversity",
        "! body.sparse   32x32x3x3  1,024  27.3 %  0.000  0.000  0.853  low diversity",
        "  body.point     8x32x1x1    256   1.6 %      -      -  0.852",
        "  body.good      32x8x3x3    256     0 %  0.749  0.794  0.865",
    ]
    assert "  T_H is known for filters of 9 values, not of 49: stem" in lines
    assert "  filters of one value have no variance entropy: body.point" in lines
    assert lines[lines.index("not measured:") + 1] == "  up (ConvTranspose 3x3): a transposed convolution"
    assert lines[-1] == (
        "6 layers, 3,680 filters: 2 degenerate (!), 1 random, 2 low diversity; 1 not measured"
    )


def test_the_table_fits_a_hundred_columns_whatever_names_and_numbers_are(tmp_path: Path) -> None:
    names = ["漢字" * 40, "features." * 20 + "end", "a\x1b[31mred\x07", "", "x"]
    state = {name: random_weight((1000, 300, 3, 3), seed=i) for i, name in enumerate(names)}
    np.savez(tmp_path / "w.npz", **{name or "weight": weight for name, weight in state.items()})
    done = filterdb("w.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()[1:7]
    assert max(map(cell_len, done.stdout.splitlines())) <= 100
    assert len({cell_len(line[: line.index("300,000")]) for line in table[1:]}) == 1
    assert "…" in table[1]
    assert "…" in table[2]
    assert table[2].split()[1].endswith("features.end")
    assert ESCAPE not in done.stdout
    assert r"a\x1b[31mred\x07" in done.stdout


def test_json_is_complete_and_strict(model: Path) -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    done = filterdb("model.onnx", "--json", cwd=model.parent)
    found = json.loads(done.stdout, parse_constant=refuse)
    expected = measure_quality(model, kernel="any")
    assert found["file"] == "model.onnx"
    assert found["counts"] == {
        "layers": 6,
        "filters": 3680,
        "random": 1,
        "low_diversity": 2,
        "degenerate": 2,
        "skipped": 1,
    }
    assert [row["layer"] for row in found["layers"]] == list(expected)
    for row in found["layers"]:
        layer = expected[row["layer"]]
        for name in METRICS:
            assert row[name] == (None if np.isnan(layer[name]) else layer[name])
        assert row["reason"] == layer.reason
        assert row["random"] == layer.labels.get("random")
    assert found["skipped"] == [
        {
            "layer": "up",
            "op_type": "ConvTranspose",
            "kernel": "3x3",
            "reason": "a transposed convolution",
        }
    ]


def test_csv_is_complete_and_keeps_every_digit(model: Path) -> None:
    done = filterdb("model.onnx", "--csv", cwd=model.parent)
    found = {row["layer"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    expected = measure_quality(model, kernel="any").to_frame()
    assert list(found["stem"]) == ["layer", *expected.columns]
    assert list(found) == [*expected.index, "up"]
    for layer, metrics in expected[list(METRICS)].iterrows():
        for name, value in metrics.items():
            assert found[layer][name] == "" if np.isnan(value) else float(found[layer][name]) == value
    assert found["up"]["reason"] == "a transposed convolution"
    assert {found["up"][name] for name in METRICS} == {""}


@pytest.mark.parametrize(
    ("column", "first"),
    [
        ("sparsity", "body.sparse"),
        ("variance_entropy_norm", "body.flat"),
        ("orthogonality", "body.point"),
        ("n", "body.random"),
        ("layer", "body.flat"),
        ("degenerate", "body.random"),
    ],
)
def test_sorting_puts_the_worst_layer_first_and_the_undefined_last(
    model: Path, column: str, first: str
) -> None:
    done = filterdb("model.onnx", "--sort", column, "--json", cwd=model.parent)
    rows = json.loads(done.stdout)["layers"]
    assert rows[0]["layer"] == first
    known = [row[column] is not None for row in rows]
    assert known == sorted(known, reverse=True)


def test_layers_are_chosen_by_name_and_pattern(model: Path) -> None:
    def names(*arguments: str) -> list[str]:
        done = filterdb("model.onnx", "--csv", *arguments, cwd=model.parent)
        return pd.read_csv(io.StringIO(done.stdout))["layer"].tolist()

    assert names("--layers", "body.r*") == ["body.random"]
    assert names("--layers", "stem", "--layers", "up") == ["stem", "up"]
    assert names("--layers", "body.*", "--kernel", "1x1")[0] == "body.point"


def test_layers_of_one_kind_that_are_not_measured_are_told_in_one_line(model: Path) -> None:
    done = filterdb("model.onnx", "--kernel", "7x7", cwd=model.parent)
    told = " ".join(done.stdout.partition("not measured:")[2].split())
    assert told.startswith(
        "4 layers, such as body.random, body.flat, body.sparse (Conv 3x3): the kernel is 3x3, not 7x7"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sort", "sparsty"], "try: --sort sparsity"),
        (["--layers", "body.randm"], "try: --layers body.random"),
        (["--layers", "nothing like it"], "expected: the name of a layer"),
        (["--kernel", "3 by 3"], "expected: a size such as 3x3, or any"),
        (["--csv", "--json"], "one of them"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_way_out(model: Path, arguments: list[str], told: str) -> None:
    done = filterdb("model.onnx", *arguments, cwd=model.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_files_that_cannot_be_used_are_exit_code_1_and_named(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.pt", "m.safetensors", "m.npz", "m.npy", "m.h5", "m"):
        for content in (None, b"", b"nothing of use"):
            if content is not None:
                (tmp_path / name).write_bytes(content)
            done = filterdb(name, cwd=tmp_path)
            assert (done.returncode, done.stdout) == (1, ""), name
            assert f"in: {name}" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_model_without_a_convolution_is_exit_code_1_and_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"line.weight": np.ones((3, 3, 3), "f4")})
    done = filterdb("w.npz", cwd=tmp_path)
    assert done.returncode == 1
    assert "line (tensor 3): a 1-D convolution" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 layers, 0 filters")


def on_a_terminal(model: Path, **environment: str) -> str:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "filterdb", "quality", model.name]
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    child = subprocess.Popen(
        command, cwd=model.parent, stdout=theirs, env={**plain, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")


def test_colour_is_for_terminals_that_want_it_and_changes_no_character(model: Path) -> None:
    plain = filterdb("model.onnx", cwd=model.parent).stdout
    assert ESCAPE not in plain
    coloured = on_a_terminal(model)
    assert f"{ESCAPE}[31m! body.sparse" in coloured
    assert f"{ESCAPE}[33m  body.flat" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert on_a_terminal(model, **setting) == plain
