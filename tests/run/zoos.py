"""Zoos and commands that the tests of this folder share."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from filterdb.config import RunConfig
from filterdb.run.extraction.extract import extract
from filterdb.run.extraction.report import ExtractReport
from filterdb.testing import conv_net, write_model

SHAPES = [
    [(16, 3, 3, 3), (16, 16, 3, 3), (8, 16, 1, 1)],
    [(32, 3, 7, 7), (32, 1, 3, 3), (64, 32, 1, 1)],
    [(64, 3, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3)],
    [(8, 3, 5, 5), (8, 8, 1, 1)],
]


def varied_zoo(folder: Path, count: int, *, large: int = 0) -> Path:
    """Write models of many kinds: most are sound, and some are none, cut off, twice there or without 3x3."""
    rng = random.Random(count)
    for place in range(count):
        path = folder / rng.choice(["", "a", "b/c"]) / f"model{place:03d}.onnx"
        model = conv_net(SHAPES[place % len(SHAPES)], seed=place)
        write_model(path, model)
        if place % 10 == 5:
            path.write_bytes(rng.choice([b"", b"<html>", path.read_bytes()[:-100]]))
        if place % 10 == 7:
            twin = conv_net(SHAPES[0], seed=0)
            write_model(path, twin)
    for place in range(large):
        write_model(folder / f"large{place}.onnx", conv_net([(256, 256, 3, 3)] * 2, seed=1000 + place))
    tasks = ("Classification", "Segmentation")
    rows = [f"model{place:03d},{tasks[place // 2 % 2]}" for place in range(0, count, 2)]
    (folder / "models.csv").write_text("\n".join(["Name,Task", *rows, "nobody,Classification"]) + "\n")
    return folder


def config_of(zoo: Path, **values: object) -> RunConfig:
    table = zoo / "models.csv"
    given = {"workers": 1} | values
    return RunConfig(zoo=(str(zoo),), metadata=str(table) if table.exists() else None, **given)


def run(zoo: Path, out: Path, *, force: bool = False, **values: object) -> ExtractReport:
    return extract(config_of(zoo, **values), out, force=force)


def command(zoo: Path, out: Path, *options: object) -> list[str]:
    table = ["--metadata", str(zoo / "models.csv")] if (zoo / "models.csv").exists() else []
    return [
        *(sys.executable, "-m", "filterdb", "extract", str(zoo), *table, "--out", str(out)),
        *map(str, options),
    ]


def start(zoo: Path, out: Path, *options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(zoo, out, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def flip(path: Path, offset: int) -> None:
    """Invert one byte of a file; a negative offset counts from the end."""
    data = np.fromfile(path, dtype=np.uint8)
    data[offset] ^= 0xFF
    with path.open("r+b") as file:
        file.write(data.tobytes())
