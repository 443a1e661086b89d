"""The demo zoo, extracted and analyzed once for all processes that run tests."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from filterdb.config import RunConfig
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract

ROOT = Path(__file__).parent.parent.parent


def build(base: Path) -> Path:
    """Make `build/demo` in a folder, as `make extract analyze` does, and return the folder."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "demo-for-the-api"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = RunConfig.load(ROOT / "configs" / "demo.yaml")
        demo = folder / "build" / "demo"
        extract(config, demo / "dataset.h5")
        analyze(demo / "dataset.h5", demo / "results", config)
    return folder
