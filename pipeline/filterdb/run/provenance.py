"""Where a result comes from: versions, configuration, clock and machine, kept beside the result."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import filterdb
from filterdb.config import RunConfig

_PACKAGES = ("numpy", "pandas", "h5py", "tables", "onnx", "dask", "pyarrow")


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
