"""Where a result comes from: versions, configuration, clock and machine, kept beside the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import filterdb
from filterdb.config import RunConfig

_PACKAGES = ("numpy", "pandas", "h5py", "tables", "onnx", "dask", "pyarrow")


class Timings:
    """How long the phases of a run take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a phase."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


def digest(**values: Any) -> str:
    """Return a hash of plain values: what a result was made from, in a line."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def of_run(config: RunConfig) -> dict[str, Any]:
    """Describe this run: what made the result, when, and from what configuration."""
    return {
        "filterdb": filterdb.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "command": sys.argv,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json", fallback=str),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def sidecar(path: Path) -> Path:
    """Return the file beside a data set file that says where it comes from."""
    return path.with_name(f"{path.name}.json")
