"""`filterdb quality --against`: where a model stands, for a person and for a program."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from filterdb import compare_model
from filterdb.config import RunConfig
from filterdb.quality import METRICS
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract
from filterdb.run.model import standing_table
from filterdb.testing import conv_net, random_weight, write_model
from in_process import call

TASKS = ("Classification", "Segmentation", "a task whose name is far too long for any table " * 3)


def quality(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return call("quality", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of 30 models in `results`, and a model beside them in `w.npz`."""
    folder = tmp_path_factory.mktemp("against")
    rows = ["Name,Task"]
    for seed in range(30):
        name = f"m{seed:02d}" if seed else "漢字-and-a-name-that-no-table-has-room-for" * 4
        weights = [
            random_weight((8 + seed, 6, 3, 3), seed=seed) ** 3,
            random_weight((6, 8, 3, 3), seed=99 + seed),
        ]
        write_model(folder / "zoo" / f"{name}.onnx", conv_net(weights))
        rows.append(f"{name},{TASKS[seed % 3]}")
    (folder / "zoo" / "models.csv").write_text("\n".join(rows) + "\n")
    config = RunConfig(zoo=(str(folder / "zoo"),), metadata=str(folder / "zoo" / "models.csv"), workers=1)
    extract(config, folder / "d.h5")
    few = {"permutations": 9, "draws": 9}
    analyze(folder / "d.h5", folder / "results", config.with_analyze(by=("Task", "model"), **few))
    sparse = random_weight((16, 8, 3, 3), seed=4)
    sparse[:8] *= np.float32(1e-6)
    weights = {
        "features." * 20 + "first": sparse,
        "middle": random_weight((4, 4, 1, 1)),
        "last": sparse[:, :4],
    }
    np.savez(folder / "w.npz", **{f"{name}.weight": weight for name, weight in weights.items()})
    return folder


def test_a_person_reads_findings_layers_groups_and_models(folder: Path) -> None:
    done = quality("w.npz", "--against", "results", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = compare_model(folder / "w.npz", folder / "results")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["w.npz", "beside results: 60 layers of 30 models"]
    words = " ".join(done.stdout.split())
    for finding in found.findings:
        assert " ".join(finding.split()) in words
    table = lines[next(place for place, line in enumerate(lines) if line.startswith("  layer ")) :]
    assert table[0].split() == [
        "layer",
        "out",
        "x",
        "in",
        "sparse",
        "pct",
        "H",
        "pct",
        "orth.",
        "pct",
        "peers",
        "labels",
    ]
    sparse = " ".join(next(line for line in table if " last " in line).split())
    peers = found.layers.loc["last", "peers"]
    assert sparse.startswith("! last 16x4 50.0 % 100 0.893 ")
    assert sparse.endswith(f" {peers} degenerate")
    nearest = found.nearest.iloc[0]
    assert re.search(rf"{nearest['D']:.3f} +{nearest['filters']:,} ", done.stdout)
    assert "and 25 more models; --json lists them all" in words
    assert "and 22 more groups; --json lists them all" in words
    assert "Visual Category" not in done.stdout
    assert "middle (tensor 1x1): the kernel is 1x1, not 3x3" in words
    assert "percentile among the peers, layers of the data set of the same tenth of depth" in words


def test_all_of_it_fits_a_hundred_columns_and_carries_no_escape(folder: Path) -> None:
    done = quality("w.npz", "--against", "results", cwd=folder)
    assert max(map(cell_len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout


def test_colour_changes_no_character(folder: Path) -> None:
    found = compare_model(folder / "w.npz", folder / "results")
    rows = standing_table.layer_rows(found)
    plain, coloured = (
        standing_table.as_text("w.npz", found, rows, found.skipped, colour=colour) for colour in (False, True)
    )
    assert "\x1b" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain


def test_json_is_complete_strict_and_what_python_says(folder: Path) -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    done = quality("w.npz", "--against", "results", "--json", cwd=folder)
    found = json.loads(done.stdout, parse_constant=refuse)
    expected = compare_model(folder / "w.npz", folder / "results")
    assert (found["file"], found["results"]) == ("w.npz", "results")
    assert (found["findings"], found["notes"]) == (list(expected.findings), list(expected.notes))
    assert found["compared_with"] == dict(expected.facts)
    assert found["counts"]["layers"] == 2
    for row, (name, layer) in zip(found["layers"], expected.layers.iterrows(), strict=True):
        assert row["layer"] == name
        for metric in METRICS[1:]:
            assert row[metric] == layer[metric]
            assert row[f"{metric}_percentile"] == layer[f"{metric}_percentile"]
        assert (row["depth"], row["peers"]) == (layer["depth"], layer["peers"])
    assert [row["D"] for row in found["nearest"]] == expected.nearest["D"].tolist()
    assert len(found["nearest"]) == 30
    assert {axis: len(rows) for axis, rows in found["drift"].items()} == {"Task": 3, "model": 30}
    assert [row["group"] for row in found["drift"]["Task"]] == expected.drift["Task"]["group"].tolist()
    assert found["skipped"][0]["layer"] == "middle"
    assert found["copies"] == []


def test_what_is_not_defined_is_null_in_json_and_empty_in_csv(folder: Path) -> None:
    np.save(folder / "one.npy", np.full((1, 1, 3, 3), 2, np.float32))
    found = json.loads(quality("one.npy", "--against", "results", "--json", cwd=folder).stdout)
    (layer,) = found["layers"]
    for name in ("orthogonality", "orthogonality_percentile", "depth", "depth_decile", "same_weights"):
        assert layer[name] is None
    done = quality("one.npy", "--against", "results", "--csv", cwd=folder)
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["orthogonality"], row["depth"], row["layer"]) == ("", "", "one")
    text = quality("one.npy", "--against", "results", cwd=folder).stdout
    assert "layers of the data set of any depth" in text


def test_csv_has_every_number_of_every_layer(folder: Path) -> None:
    done = quality("w.npz", "--against", "results", "--csv", cwd=folder)
    rows = {row["layer"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    layers = compare_model(folder / "w.npz", folder / "results").layers
    assert list(rows) == [*layers.index, "middle"]
    assert list(rows["last"]) == ["layer", *layers.columns]
    assert float(rows["last"]["sparsity_percentile"]) == layers.loc["last", "sparsity_percentile"]
    assert rows["middle"]["reason"] == "the kernel is 1x1, not 3x3"


def test_axes_layers_and_order_are_chosen(folder: Path) -> None:
    done = quality(
        "w.npz",
        "--against",
        "results",
        "--by",
        "depth_decile",
        "--by",
        "sparsity > 0.1",
        "--json",
        cwd=folder,
    )
    assert list(json.loads(done.stdout)["drift"]) == ["depth_decile", "sparsity > 0.1"]
    done = quality("w.npz", "--against", "results", "--layers", "last", "--json", cwd=folder)
    assert [row["layer"] for row in json.loads(done.stdout)["layers"]] == ["last"]
    done = quality(
        "w.npz", "--against", "results", "--sort", "orthogonality_percentile", "--json", cwd=folder
    )
    ranks = [row["orthogonality_percentile"] for row in json.loads(done.stdout)["layers"]]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--by", "Task"], 2, "--by is given without --against"),
        (["--against", "results", "--kernel", "5x5"], 2, "--kernel 5x5 is given with --against"),
        (["--against", "results", "--by", "Tusk"], 2, "Task"),
        (["--against", "results", "--sort", "sparsty"], 2, "try: --sort sparsity"),
        (["--against", "nowhere"], 1, "no such folder"),
        (["--against", "zoo"], 1, "this is no results folder"),
        (["--against", "d.h5"], 1, "this is no results folder"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_way_out(
    folder: Path, arguments: list[str], code: int, told: str
) -> None:
    done = quality("w.npz", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_without_a_kernel_of_that_size_is_exit_code_1(folder: Path) -> None:
    np.save(folder / "five.npy", random_weight((4, 4, 5, 5)))
    done = quality("five.npy", "--against", "results", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "five: the kernel is 5x5, not 3x3" in done.stderr
    assert "in: five.npy" in done.stderr
