"""A file of 20,000 records and 100 million filters opens in less than a fifth of a second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "api"))

from large_files import write_sparse

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

LIMIT = 0.2

# What every session with pandas and HDF5 has loaded is no part of opening a file; our own modules are.
CODE = """
import json, sys, time
import h5py, pandas
import filterdb
begun = time.perf_counter()
db = filterdb.open(sys.argv[1])
shown = repr(db)
first = time.perf_counter() - begun
begun = time.perf_counter()
filterdb.open(sys.argv[1])
print(json.dumps({"first": first, "again": time.perf_counter() - begun, "shown": shown}))
"""


def test_a_large_file_opens_at_once(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "large.h5", models=2_500, layers=8, filters=5_000)
    found = []
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        found.append(json.loads(done.stdout))
    print(found)
    assert found[0]["shown"] == "<FilterDB large.h5: 100,000,000 filters of 20,000 layers of 2,500 models>"
    # The best of several, because other processes may have the machine.
    assert min(one["first"] for one in found) < LIMIT
    assert min(one["again"] for one in found) < LIMIT / 4
