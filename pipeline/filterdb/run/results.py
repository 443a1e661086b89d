"""The results folder: what an analysis writes, whole or not at all, and reads again when nothing changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from filterdb.errors import CorruptDataError, OutputError
from filterdb.run import files
from filterdb.shift import Basis
from filterdb.stats import Cube

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """What only the filters can tell: the basis, and the cube of counts in it.

    Parameters
    ----------
    basis
        The coordinates.
    cube
        Statistics and counts of every record.
    """

    basis: Basis
    cube: Cube


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that an analysis found.

    Parameters
    ----------
    measured
        Basis and cube.
    layers, models
        Metrics and labels of every record, and their summary of every model.
    shifts
        The long table of every axis, by the axis' name.
    manifest
        What it was made from, and how.
    """

    measured: Measured
    layers: pd.DataFrame
    models: pd.DataFrame
    shifts: Mapping[str, pd.DataFrame]
    manifest: Mapping[str, Any]


def save(results: Results, out: Path) -> None:
    """Write a results folder; until it is complete, the old one stands.

    Parameters
    ----------
    results
        What to write.
    out
        The folder.
    """
    if out.exists() and not out.is_dir():
        raise OutputError("this is a file", where=out, expected="the name of a folder")
    with files.writing(out), files.exclusive_folder(_staging(out), purpose=str(out)) as staging:
        files.discard_content(staging)
        new = staging / "results"
        (new / "shift").mkdir(parents=True)
        _save_measured(results.measured, new)
        results.layers.to_parquet(new / "layers.parquet")
        results.models.to_parquet(new / "models.parquet")
        for name, table in results.shifts.items():
            table.to_parquet(new / "shift" / f"{axis_stem(name)}.parquet")
            table.to_csv(new / "shift" / f"{axis_stem(name)}.csv", index=False)
        files.write_json(new / MANIFEST, dict(results.manifest))
        files.replace_folder(new, out)
        files.discard(staging)


def _staging(out: Path) -> Path:
    return out.with_name(f"{out.name}.staging")


def axis_stem(name: str) -> str:
    """Return the file name of an axis, without its ending."""
    return re.sub(r"[^\w.-]+", "_", name)


def _save_measured(measured: Measured, folder: Path) -> None:
    cube = measured.cube
    np.save(folder / "cube.npy", cube.rows, allow_pickle=False)
    description = {
        "records": len(cube),
        "low": cube.low,
        "high": cube.high,
        "components": int(cube.counts.shape[1]),
        "bins": int(cube.counts.shape[2]),
        "fields": {
            name: str(cube.rows.dtype.fields[name][0])
            for name in cube.rows.dtype.names or ()
            if cube.rows.dtype.fields
        },
    }
    files.write_json(folder / "cube.json", description)
    files.write_json(folder / "basis.json", measured.basis.to_json())


def read_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of a results folder, empty where there is none."""
    return files.read_json(out / MANIFEST)


def load_measured(out: Path) -> Measured:
    """Open the basis and the cube of a results folder; the cube is mapped, not read.

    Raises
    ------
    CorruptDataError
        If one of them is missing or damaged.
    """
    try:
        description = files.read_json(out / "cube.json")
        rows = np.load(out / "cube.npy", mmap_mode="r", allow_pickle=False)
        cube = Cube(rows, float(description["low"]), float(description["high"]))
        if len(rows) != description["records"] or "counts" not in (rows.dtype.names or ()):
            raise ValueError("cube.npy is not what cube.json says")
        return Measured(Basis.from_json(files.read_json(out / "basis.json")), cube)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"the results are damaged: {error}", where=out, hint="filterdb analyze writes them again"
        ) from error


def require_results(out: Path) -> dict[str, Any]:
    """Return the manifest of a results folder, or say that there is none."""
    manifest = read_manifest(out)
    if not manifest:
        raise OutputError("this is no results folder", where=out, hint="filterdb analyze writes one")
    return manifest
