"""The results folder: what an analysis writes, whole or not at all, and reads again when nothing changed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb.errors import CorruptDataError, NotADatasetError, UsageError
from filterdb.opening import map_array, open_regular
from filterdb.run import files
from filterdb.run.place import FORMAT, MANIFEST, STAGED, files_in, require_replaceable
from filterdb.shift import AxisShift, CoordinateSystem, arrange
from filterdb.stats import Cube

BASIS: Final = "basis.json"
FORMAT_VERSION: Final = 1

_MAX_JSON: Final = 64 << 20
_MAX_PAIRS: Final = 1 << 25
_STEM_LENGTH: Final = 60
_AGAIN: Final = "filterdb analyze writes them again"


@dataclass(frozen=True, slots=True)
class Measured:
    """What only the filters can tell: the coordinates, and the cube of counts in them.

    Parameters
    ----------
    coordinates
        Basis, bins and weights.
    cube
        Statistics and counts of every record.
    """

    coordinates: CoordinateSystem
    cube: Cube


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that an analysis found.

    Parameters
    ----------
    measured
        Coordinates and cube.
    meta
        The records of the data set, as ``/meta`` has them: results can be asked without the data set.
    layers, models
        Metrics and labels of every record, and their summary of every model.
    shifts
        What every axis shows, by the axis' name.
    manifest
        What it was made from, and how.
    """

    measured: Measured
    meta: pd.DataFrame
    layers: pd.DataFrame
    models: pd.DataFrame
    shifts: Mapping[str, AxisShift]
    manifest: Mapping[str, Any]


def save(results: Results, out: Path, staging: Path) -> None:
    """Write a results folder; until it is complete, the old one stands.

    Parameters
    ----------
    results
        What to write.
    out
        The folder.
    staging
        Where to prepare it: what :func:`filterdb.run.place.held` gives.
    """
    out = out.resolve()
    with files.writing(out):
        require_replaceable(out)
        new = staging / STAGED
        (new / "shift").mkdir(parents=True)
        _save_measured(results.measured, new)
        for name, table in _tables(results).items():
            table.to_parquet(new / f"{name}.parquet")
        stems = axis_stems(results.shifts)
        for name, shift in results.shifts.items():
            _save_shift(shift, new / "shift" / stems[name])
        marks = {"format": FORMAT, "format_version": FORMAT_VERSION, "axes": stems}
        written = {"files": [MANIFEST, *files_in(new)]}
        files.write_json(new / MANIFEST, {**results.manifest, **marks, **written})
        files.replace_folder(new, out)


def _tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"layers": results.layers, "models": results.models, "meta": _storable(results.meta)}


def _storable(meta: pd.DataFrame) -> pd.DataFrame:
    """Turn columns of several kinds of values, which published files may have, into text."""
    kinds = {
        name: pd.api.types.infer_dtype(meta[name], skipna=True)
        for name in meta.columns
        if meta[name].dtype == object
    }
    mixed = {name: meta[name].map(str, na_action="ignore") for name, kind in kinds.items() if "mixed" in kind}
    return meta.assign(**mixed)


def axis_stems(names: Iterable[str]) -> dict[str, str]:
    """Return the file name of each axis, without its ending; no two axes share one on any file system."""
    stems: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^\w-]+", "_", name)[:_STEM_LENGTH]
        if stem.casefold() in {taken.casefold() for taken in stems.values()}:
            stem = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        stems[name] = stem
    return stems


def _save_shift(shift: AxisShift, stem: Path) -> None:
    for table, kind in ((shift.pairs, ""), (shift.groups, ".groups")):
        table.to_parquet(stem.with_name(f"{stem.name}{kind}.parquet"))
        table.to_csv(stem.with_name(f"{stem.name}{kind}.csv"), index=False)
    shift.matrix.frame().to_csv(stem.with_name(f"{stem.name}.matrix.csv"))


def read_table(path: Path, *, most_rows: int) -> pd.DataFrame:
    """Read a table of a results folder with its index, once it is known how much memory that takes.

    Parameters
    ----------
    path
        The file.
    most_rows
        Rows that it may have.

    Raises
    ------
    OSError, ValueError
        If it is missing or damaged, or takes more than such a table can.
    """
    # Arrow takes a while to load, and not all that needs coordinates needs tables.
    from filterdb.store.parquet import check_size

    path.stat()
    try:
        check_size(path, most_rows=most_rows)
    except CorruptDataError as error:
        raise ValueError(f"{path.name}: {error.reason}") from error
    return pd.read_parquet(path)


def _load_shift(stem: Path) -> AxisShift:
    """Read the tables of an axis; the matrix is made of them again, in the order of the groups' table."""
    pairs, groups = (
        read_table(stem.with_name(f"{stem.name}{kind}.parquet"), most_rows=_MAX_PAIRS)
        for kind in ("", ".groups")
    )
    names = groups["group"].tolist()
    # Before there is a matrix of them.
    if len(pairs) < len(names) * (len(names) - 1) // 2:
        raise ValueError(f"the table of {stem.name} lacks pairs of groups")
    distance = {
        frozenset((a, b)): d for a, b, d in zip(pairs["group_a"], pairs["group_b"], pairs["D"], strict=True)
    }
    rows, columns = np.triu_indices(len(names), k=1)
    values = [distance[frozenset((names[a], names[b]))] for a, b in zip(rows, columns, strict=True)]
    by = str(pairs["measure"].iloc[0]) if len(pairs) else "paper"
    sizes = groups["filters"].to_numpy(np.float64)
    return AxisShift(pairs, groups, arrange(names, np.array(values), sizes, ordered=True, by=by))


def _save_measured(measured: Measured, folder: Path) -> None:
    cube = measured.cube
    with (folder / "cube.npy").open("wb") as file:
        # Through `write` alone: where numpy has the file, it does not tell a full disk from other trouble.
        np.save(SimpleNamespace(write=file.write), cube.rows, allow_pickle=False)
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
    files.write_json(folder / BASIS, measured.coordinates.to_json())


def read_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of a results folder; empty where there is none that this version can use."""
    manifest = files.read_json(out / MANIFEST)
    known = manifest.get("format") == FORMAT and manifest.get("format_version") == FORMAT_VERSION
    return manifest if known else {}


def joined(meta: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Return the records with all that they can be grouped by: what ``/meta`` says, and their quality.

    Parameters
    ----------
    meta
        The records; a column of theirs that is called like a metric stays.
    layers
        Metrics and labels of the same records.
    """
    return meta.join(layers.drop(columns=[name for name in layers.columns if name in meta.columns]))


def load_measured(out: Path) -> Measured:
    """Open the coordinates and the cube of a results folder; the cube is mapped, not read.

    Raises
    ------
    CorruptDataError
        If one of them is missing or damaged, or if they are not of each other.
    """
    try:
        coordinates = read_coordinates(out / BASIS)
        rows = map_array(out / "cube.npy")
        cube = Cube(rows, coordinates.low, coordinates.high)
        shape = (len(rows), coordinates.kernel.size, coordinates.bins)
        if "counts" not in (rows.dtype.names or ()) or cube.counts.shape != shape:
            raise ValueError(f"cube.npy is not what {BASIS} says")
        description = files.read_json(out / "cube.json")
        if [description[name] for name in ("records", "low", "high")] != [len(rows), cube.low, cube.high]:
            raise ValueError("cube.npy is not what cube.json says")
    except UsageError as error:
        raise CorruptDataError(
            f"the results are damaged: {BASIS}: {error.what}", where=out, hint=_AGAIN
        ) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"the results are damaged: {error}", where=out, hint=_AGAIN) from error
    return Measured(coordinates, cube)


def read_coordinates(path: Path) -> CoordinateSystem:
    """Read a ``basis.json``, whoever has written it.

    Raises
    ------
    UsageError
        If there is no such file.
    CorruptDataError
        If it does not hold coordinates of this format.
    """
    expected = f"all, subset, or the {BASIS} of a results folder"
    try:
        with open_regular(path) as file:
            text = file.read(_MAX_JSON + 1)
    except FileNotFoundError:
        raise UsageError(
            "no such file", where=path, expected=expected, hint="filterdb analyze writes one"
        ) from None
    except OSError as error:
        raise UsageError(
            f"the file cannot be read: {error.strerror}", where=path, expected=expected
        ) from error
    try:
        if len(text) > _MAX_JSON:
            raise ValueError(f"it is larger than {_MAX_JSON:,} bytes")
        data = json.loads(text.decode("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no mapping")  # noqa: TRY004 - a sentence like the others
        return CoordinateSystem.from_json(data)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"these are no coordinates: {error}", where=path, expected=expected) from error


def load(out: Path, *, dataset: str | None = None) -> Results:
    """Read a results folder.

    Parameters
    ----------
    out
        The folder.
    dataset
        Content hash of the data set that the results have to be of; any where not given.

    Raises
    ------
    NotADatasetError
        If it is no results folder, or one of another format version or data set.
    CorruptDataError
        If something in it is missing or damaged.
    """
    manifest = require_results(out, dataset=dataset)
    measured = load_measured(out)
    try:
        most = len(measured.cube)
        layers, models, meta = (
            read_table(out / f"{name}.parquet", most_rows=most) for name in ("layers", "models", "meta")
        )
        shifts = {name: _load_shift(out / "shift" / stem) for name, stem in dict(manifest["axes"]).items()}
        if not len(layers) == len(meta) == len(measured.cube):
            raise ValueError("its tables are of different numbers of records")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"the results are damaged: {error}", where=out, hint=_AGAIN) from error
    return Results(measured, meta, layers, models, shifts, manifest)


def require_results(out: Path, *, dataset: str | None = None) -> dict[str, Any]:
    """Return the manifest of a results folder, or say why it cannot be used.

    Parameters
    ----------
    out
        The folder.
    dataset
        Content hash of the data set that the results have to be of.
    """
    manifest = files.read_json(out / MANIFEST)
    if manifest.get("format") != FORMAT:
        found = "this is no results folder" if out.exists() else "no such folder"
        raise NotADatasetError(found, where=out, hint="filterdb analyze writes one")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise NotADatasetError(
            f"results of format version {manifest.get('format_version')!r}",
            where=out,
            expected=f"format version {FORMAT_VERSION}",
            hint="use the filterdb that wrote them, or analyze the data set again",
        )
    if dataset is not None and manifest.get("dataset") != dataset:
        raise NotADatasetError(
            f"these are the results of another data set, {str(manifest.get('dataset_file'))!r}",
            where=out,
            expected=f"results of the data set with the content hash {dataset[:16]}",
            hint="analyze the data set, or name its results",
        )
    return manifest
