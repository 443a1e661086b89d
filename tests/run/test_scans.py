"""The same bits, whoever computes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import command_of
from test_progress import on_a_terminal

from filterdb import shift
from filterdb.config import RunConfig
from filterdb.run.extraction.extract import extract
from filterdb.run.provenance import Timings
from filterdb.run.scanning import batches, engines, scans
from filterdb.stats import Cube, merge_records
from filterdb.store import open_dataset
from filterdb.testing import conv_net, write_model
from seldom import seldom


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(4):
        shapes = [(16, 3, 3, 3), (40 + seed, 16, 3, 3), (64, 40 + seed, 3, 3), (1, 1, 3, 3)]
        write_model(folder / "zoo" / f"m{seed}.onnx", conv_net(shapes, seed=10 * seed))
    out = folder / "dataset.h5"
    extract(RunConfig(zoo=(str(folder / "zoo"),), workers=1), out)
    return out


def cube_of(dataset: Path, kind: str, workers: int) -> Cube:
    alone = kind == "alone"
    config = RunConfig(scheduler="threads" if alone else kind, workers=workers)
    with scans.scanner(dataset, config) as scan:
        if alone:
            scan = replace(scan, engine=engines.Threads(0))
        records = scan.statistics()
        return scan.cube(records, shift.fit_basis(merge_records(records, "scaled")), 70)


@pytest.mark.parametrize(
    ("batch", "kind", "workers"),
    [
        *((batch, "threads", workers) for batch in (1, 5_000, 1 << 18) for workers in (1, 2)),
        (5_000, "processes", 2),
        *(seldom(batch, "processes", 2) for batch in (1, 1 << 18)),
        # A cluster takes seconds to start, and gets its batches from the same place.
        (5_000, "cluster", 2),
        *(seldom(batch, "cluster", 2) for batch in (1, 1 << 18)),
    ],
)
def test_schedulers_workers_and_batches_change_no_bit(
    dataset: Path, kind: str, workers: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cube_of(dataset, "alone", 1)
    monkeypatch.setattr(scans, "BATCH_ROWS", batch)
    found = cube_of(dataset, kind, workers)
    assert found.rows.tobytes() == expected.rows.tobytes()
    assert (found.low, found.high) == (expected.low, expected.high)


def test_a_window_smaller_than_a_layer_changes_no_bit(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cube_of(dataset, "alone", 1)
    monkeypatch.setattr(batches, "WINDOW_ROWS", 700)
    assert np.array_equal(cube_of(dataset, "threads", 2).counts, expected.counts)


class Counter:
    """Stands for a bar, and keeps what it is told."""

    def __init__(self, what: str, total: float, unit: str) -> None:
        self.what, self.total, self.unit, self.steps = what, total, unit, list[float]()

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: float = 1) -> None:
        self.steps.append(amount)


@pytest.mark.parametrize("kind", ["threads", "processes", seldom("cluster")])
def test_progress_of_every_scan_is_counted_in_filters(
    dataset: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Counter] = []

    def bar(*arguments: Any) -> Counter:
        bars.append(Counter(*arguments))
        return bars[-1]

    monkeypatch.setattr(scans, "progress", bar)
    monkeypatch.setattr(scans, "BATCH_ROWS", 1)
    with open_dataset(dataset) as file:
        filters, records = file.n_filters, len(file.tables.meta)
    cube_of(dataset, kind, 2)
    assert [bar.what for bar in bars] == ["statistics", "range", "counts"]
    for shown in bars:
        assert (shown.unit, shown.total, sum(shown.steps)) == ("filters", filters, filters)
        assert len(shown.steps) == records


@pytest.mark.parametrize("scheduler", ["threads", "processes", seldom("cluster")])
def test_a_terminal_sees_a_bar_with_rate_and_time_left(scheduler: str, dataset: Path, tmp_path: Path) -> None:
    line = command_of(dataset, tmp_path / "results", "--by", "depth_decile", "--scheduler", scheduler)
    code, seen = on_a_terminal(line)
    assert code == 0
    for what in ("statistics", "range", "counts"):
        assert what in seen
    assert "filters" in seen
    assert re.search(r"[\d,.]+/s", seen)
    assert re.search(r"\d:\d\d:\d\d", seen)
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


def test_every_phase_is_timed(dataset: Path) -> None:
    timings = Timings()
    with scans.scanner(dataset, RunConfig(), timings=timings) as scan:
        records = scan.statistics()
        scan.cube(records, shift.fit_basis(merge_records(records, "scaled")), 70)
    assert list(timings.seconds) == ["workers", "statistics", "range", "counts"]


COMPILING = """
import hashlib, sys
from pathlib import Path
from filterdb.config import RunConfig
from filterdb.run.scanning import scans
from filterdb.shift import fit_basis
from filterdb.stats import merge_records

with scans.scanner(Path(sys.argv[1]), RunConfig(scheduler="threads", workers=1)) as scan:
    records = scan.statistics()
    cube = scan.cube(records, fit_basis(merge_records(records, "scaled")), 70)
print(hashlib.sha256(cube.rows.tobytes()).hexdigest(), cube.low, cube.high)
"""


@pytest.mark.soak
def test_the_run_that_compiles_has_the_bits_of_those_that_find_it_compiled(
    dataset: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", COMPILING, str(dataset)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert first == second
