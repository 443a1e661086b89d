"""The same bits, whoever computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from filterdb import shift
from filterdb.config import RunConfig
from filterdb.run import scans
from filterdb.run.extract import extract
from filterdb.stats import Cube, merge_records
from filterdb.testing import conv_net, write_model


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(4):
        shapes = [(16, 3, 3, 3), (40 + seed, 16, 3, 3), (64, 40 + seed, 3, 3), (1, 1, 3, 3)]
        write_model(folder / "zoo" / f"m{seed}.onnx", conv_net(shapes, seed=10 * seed))
    out = folder / "dataset.h5"
    extract(RunConfig(zoo=(str(folder / "zoo"),)), out)
    return out


def cube_of(dataset: Path, kind: str, workers: int) -> Cube:
    with scans.scanner(dataset, RunConfig(workers=workers)) as local:
        scan = scans.Scanner(local.path, local.tasks, local.width, kind, workers)
        records = scan.statistics()
        return scan.cube(records, shift.fit_basis(merge_records(records, "scaled")), 70)


@pytest.mark.parametrize(("kind", "workers"), [("threads", 1), ("threads", 2), ("processes", 2)])
@pytest.mark.parametrize("batch", [1, 5_000, 1 << 18])
def test_schedulers_workers_and_batches_change_no_bit(
    dataset: Path, kind: str, workers: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cube_of(dataset, "synchronous", 1)
    monkeypatch.setattr(scans, "BATCH_ROWS", batch)
    found = cube_of(dataset, kind, workers)
    assert found.rows.tobytes() == expected.rows.tobytes()
    assert (found.low, found.high) == (expected.low, expected.high)


def test_a_window_smaller_than_a_layer_changes_no_bit(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cube_of(dataset, "synchronous", 1)
    monkeypatch.setattr(scans, "WINDOW_ROWS", 700)
    assert np.array_equal(cube_of(dataset, "threads", 2).counts, expected.counts)
