"""Ten thousand models: time grows with their number, memory hardly at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from filterdb.testing import conv_net, write_model

_MEASURE = """
import json, resource, sys, time
from pathlib import Path
from filterdb.config import RunConfig
from filterdb.run.extraction.extract import extract
begun = time.perf_counter()
report = extract(RunConfig(zoo=(sys.argv[1],)), Path(sys.argv[2]))
print(json.dumps({
    "action": report.action,
    "parsed": report.parsed,
    "seconds": time.perf_counter() - begun,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
}))
"""


def measure(zoo: Path, out: Path) -> dict[str, float]:
    line = [sys.executable, "-c", _MEASURE, str(zoo), str(out)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    print({"models": len(list(zoo.iterdir())), **found})
    return found


@pytest.mark.soak
def test_time_is_linear_and_memory_flat_in_the_number_of_models(tmp_path: Path) -> None:
    found = {}
    for count in (1_000, 10_000):
        zoo = tmp_path / f"zoo{count}"
        for seed in range(count):
            write_model(zoo / f"m{seed:05d}.onnx", conv_net([(8, 3, 3, 3), (8, 8, 3, 3)], seed=seed))
        found[count] = measure(zoo, tmp_path / f"{count}.h5")
        assert found[count]["parsed"] == count
        assert measure(zoo, tmp_path / f"{count}.h5")["action"] == "fresh"
    few, many = found[1_000], found[10_000]
    # Ten times the models: twice that as a margin for a busy machine, where quadratic would be a hundred.
    assert many["seconds"] < 20 * few["seconds"]
    # The tables grow, by some 10 KB a model; the filters do not count.
    assert many["peak"] - few["peak"] < 300e6
    assert many["largest_worker"] < 1.2 * few["largest_worker"]
