"""One analysis in this process, compilation left out, for the benchmark to time.

A third argument says how many permutations and how many bootstrap draws there are of each pair.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from filterdb.config import RunConfig
from filterdb.run.analysis import results
from filterdb.run.analysis.analyze import analyze


def main(warm_up: Path, path: Path, draws: int) -> None:
    asked = {"by": ["Task", "Visual Category", "depth_decile"], "permutations": draws, "draws": draws}
    config = RunConfig.parse({"analyze": asked}, where="benchmark")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        analyze(warm_up, Path(folder) / "warm", config)
        begun = time.perf_counter()
        out = Path(folder) / "results"
        report = analyze(path, out, config)
        seconds = time.perf_counter() - begun
        phases = results.read_manifest(out)["seconds"]
    largest = {axis: float(table["D"].max()) for axis, table in report.shifts.items()}
    entropy = float(report.layers["variance_entropy"].mean())
    found = {"seconds": seconds, "phases": phases, "largest": largest, "entropy": entropy}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
