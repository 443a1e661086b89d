"""A published file of 20 million filters is analysed in the memory that one of 2 million takes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

CODE = """
import json, re, sys, time
from pathlib import Path
from filterdb.config import RunConfig
from filterdb.run.analysis.analyze import analyze
begun = time.perf_counter()
config = RunConfig(workers=2).with_analyze(by=("Task",), permutations=19, draws=19)
report = analyze(Path(sys.argv[1]), Path(sys.argv[2]), config)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps({
    "filters": int(report.layers["n"].sum()),
    "peak": int(peak) * 1024,
    "seconds": time.perf_counter() - begun,
}))
"""


def write(path: Path, filters: int, *, records: int = 400) -> Path:
    """Write filters in the layout of v1.0.0: one block of random ones, again and again at another scale."""
    block = np.random.default_rng(0).normal(0, 0.1, (100_000, 3, 3))
    with h5py.File(path, "w") as file:
        made = file.create_dataset("filters", (filters, 3, 3), "<f8")
        for start in range(0, filters, len(block)):
            part = block[: filters - start]
            made[start : start + len(part)] = part * (1 + start % 7)
    edges = np.linspace(0, filters, records + 1).astype(int)
    frame = pd.DataFrame(
        {
            "model_id": np.arange(records) // 8,
            "conv_depth": np.arange(records) % 8,
            "conv_depth_norm": np.arange(records) % 8 / 7,
            "layer_id": np.arange(records) % 8,
            "filter_ids": [f"{a}:{b - 1}" for a, b in itertools.pairwise(edges)],
            "model": [f"net{record // 8}" for record in range(records)],
            "Task": [("Classification", "Segmentation")[record // 8 % 2] for record in range(records)],
        }
    ).astype({"filter_ids": object, "model": object, "Task": object})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indexed = frame.set_index(["model_id", "conv_depth", "conv_depth_norm", "layer_id"])
        indexed.to_hdf(path, key="meta", mode="a")
    return path


def measured(folder: Path, filters: int) -> dict[str, Any]:
    path = write(folder / f"{filters}.h5", filters)
    command = [sys.executable, "-c", CODE, str(path), str(folder / f"results {filters}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    path.unlink()
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["filters"] == filters
    return found


def test_memory_stays_flat_over_twenty_million_filters_of_float64(tmp_path: Path) -> None:
    few, many = measured(tmp_path, 2_000_000), measured(tmp_path, 20_000_000)
    print(few, many)
    assert many["peak"] < few["peak"] + (48 << 20)
    assert many["peak"] < 20_000_000 * 72 / 3
