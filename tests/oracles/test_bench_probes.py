"""What the benchmark of the probes compares gives the same numbers: a rival that does not is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torch_cka")
pytest.importorskip("delve")

pytestmark = pytest.mark.oracle

ROOT = Path(__file__).parent.parent.parent
ROWS, BATCH = 100, 50


def run(what: str, folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.probe_once", what, str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip().rpartition("\n")[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("twins")
    run("make", found)
    return found


def values(what: str, folder: Path, rows: int = ROWS) -> np.ndarray:
    said = json.loads(run(what, folder, "--rows", str(rows), "--batch", str(BATCH)))
    assert said["seconds"] > 0
    assert said["processor"] > 0
    return np.array(said["values"])


def test_cka_of_the_twins_is_that_of_torch_cka(folder: Path) -> None:
    ours = values("our_cka", folder)
    assert ours.shape == (20, 20)
    # Its float32 is what is between them: in float64 it gives ours.
    assert values("torch_cka", folder) == pytest.approx(ours, abs=5e-3)
    assert values("torch_cka_double", folder) == pytest.approx(ours, abs=1e-6)


def test_saturation_of_the_twin_is_that_of_delve_in_one_batch(folder: Path) -> None:
    ours = values("our_saturation", folder)
    assert ours.shape == (20,)
    assert (values("delve_at_once", folder) == ours).all()


def test_delve_in_batches_gives_the_saturation_of_the_last_batch(folder: Path) -> None:
    assert (values("delve", folder) == values("our_saturation", folder, rows=BATCH)).all()
