"""The stage that turns an export back into the data set file that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError, NotADatasetError
from filterdb.run import files
from filterdb.run.exchange.derive import DeriveReport, Made, derive
from filterdb.run.exchange.export import FORMAT, FORMAT_VERSION, MANIFEST, TABLES, part_name
from filterdb.store import Tables
from filterdb.store.hashing import content_hash
from filterdb.store.parquet import read_filters, read_table
from filterdb.store.verify import LayerHashes
from filterdb.store.writer import content_header
from filterdb.text import clean_text
from filterdb.types import Filters, Kernel, RowRange

_MAX_MANIFEST: Final = 1 << 20
_MOST_SKIPPED: Final = 10_000_000
_ANOTHER: Final = "take another copy of the folder, or export the data set again"


def ingest(folder: Path, out: Path, *, compression: str = "none", force: bool = False) -> DeriveReport:
    """Write the data set file that an export was made of.

    Parameters
    ----------
    folder
        The export.
    out
        The file to write.
    compression, force
        As for :func:`filterdb.run.exchange.derive.derive`.

    Raises
    ------
    NotADatasetError
        If the folder is no export of a data set file.
    CorruptDataError
        If a part of it is missing or has changed.
    """
    stated = _Stated.read(folder)
    return derive(
        out,
        lambda: _make(folder, stated),
        operation={"name": "import", "sources": [stated.content_hash]},
        sources=[],
        compression=compression,
        force=force,
    )


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the manifest of an export says."""

    content_hash: str
    kernel: Kernel
    counts: Mapping[str, int]
    attributes: Mapping[str, int]
    tables: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> _Stated:
        path = folder / MANIFEST
        data = files.read_json(path) if path.is_file() and path.stat().st_size <= _MAX_MANIFEST else {}
        if data.get("format") != FORMAT:
            found = (
                "this is no export of filterdb"
                if folder.is_dir()
                else "this is a file"
                if folder.exists()
                else "no such folder"
            )
            raise NotADatasetError(found, where=folder, expected="a folder that filterdb export has written")
        if data.get("format_version") != FORMAT_VERSION:
            raise NotADatasetError(
                f"an export of format version {data.get('format_version')!r}",
                where=folder,
                expected=f"format version {FORMAT_VERSION}",
                hint="use the filterdb that wrote it",
            )
        dataset, tables = data.get("dataset"), data.get("tables")
        if not isinstance(dataset, dict) or not isinstance(tables, dict):
            raise _damaged(path, "it describes no data set")
        if dataset.get("format") != schema.FORMAT or dataset.get("format_version") != schema.FORMAT_VERSION:
            raise NotADatasetError(
                f"this is the export of a file in the format {str(dataset.get('format'))[:50]!r}",
                where=folder,
                expected=f"{schema.FORMAT} version {schema.FORMAT_VERSION}",
                hint="open the file that it was made of",
            )
        return cls(
            str(data.get("content_hash")),
            _kernel(dataset.get("kernel"), path),
            {name: _count(dataset.get(name), name, path) for name in ("n_filters", "n_records", "n_models")},
            {
                name: _count(dataset[name], name, path)
                for name in schema.OPTIONAL_ATTRIBUTES
                if name in dataset
            },
            {name: str(tables.get(name)) for name in TABLES},
        )


def _damaged(path: Path, reason: str) -> CorruptDataError:
    return CorruptDataError(f"the export is damaged: {reason}", where=path, hint=_ANOTHER)


def _kernel(text: Any, path: Path) -> Kernel:
    try:
        return Kernel.parse(str(text)[:50])
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _count(value: Any, name: str, path: Path) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise _damaged(path, f"{name} is {str(value)[:50]!r}")
    return value


def _make(folder: Path, stated: _Stated) -> Made:
    tables = _tables(folder, stated)
    header = content_header(tables, stated.kernel, stated.attributes)
    if content_hash(header, tables.by_name()) != stated.content_hash:
        raise _damaged(folder / MANIFEST, "the tables are not those that the content hash is of")
    _check_parts(folder, tables)
    return Made(tables, _blocks(folder, tables, stated.kernel.size), stated.kernel, stated.attributes)


def _tables(folder: Path, stated: _Stated) -> Tables:
    most = {"meta": stated.counts["n_records"], "models": stated.counts["n_models"], "skipped": _MOST_SKIPPED}
    read = {name: read_table(folder / f"{name}.parquet", most_rows=most[name]) for name in TABLES}
    tables = Tables(
        meta=_indexed(read["meta"], folder / "meta.parquet"),
        models=_numbered(read["models"], folder / "models.parquet"),
        skipped=read["skipped"],
    )
    for name, frame in tables.by_name().items():
        _check_cells(frame, folder / f"{name}.parquet")
        if content_hash({}, {name: frame}) != stated.tables[name]:
            raise CorruptDataError(
                "the table has changed since it was exported",
                where=folder / f"{name}.parquet",
                expected=f"cells with the hash {stated.tables[name][:16]}",
                hint=_ANOTHER,
            )
    schema.validate_meta(tables.meta, n_filters=stated.counts["n_filters"], where=folder / "meta.parquet")
    schema.validate_tables(**tables.by_name(), where=folder)
    return tables


def _indexed(meta: pd.DataFrame, path: Path) -> pd.DataFrame:
    missing = [name for name in schema.INDEX if name not in meta.columns]
    if missing:
        raise CorruptDataError(f"there is no column {missing[0]!r}", where=path, expected=str(schema.INDEX))
    return meta.set_index(list(schema.INDEX))


def _numbered(models: pd.DataFrame, path: Path) -> pd.DataFrame:
    ids = models["model_id"].to_numpy() if "model_id" in models.columns else None
    if ids is None or not np.array_equal(ids, np.arange(len(models))):
        raise CorruptDataError("model_id does not number the rows", where=path, expected="0, 1, 2 ...")
    return models.drop(columns="model_id").rename_axis("model_id")


def _check_cells(frame: pd.DataFrame, path: Path) -> None:
    """Refuse what a table of a data set file cannot hold, or would give back as something else."""
    for name in frame.columns:
        if not str(name).isprintable():
            raise CorruptDataError(
                f"a column is called {name!r}", where=path, expected="printable characters"
            )
        if frame[name].dtype == "str" and any(clean_text(cell) != cell for cell in frame[name].dropna()):
            raise CorruptDataError(
                f"the column {name!r} holds a NUL or a symbol for it", where=path, expected="other characters"
            )


def _check_parts(folder: Path, tables: Tables) -> None:
    """Name the first file of filters that is not there, or that no model has."""
    expected = [part_name(int(model_id)) for model_id in tables.meta.index.unique("model_id")]
    for name in expected:
        if not (folder / name).exists():
            raise CorruptDataError("a part of the export is missing", where=folder / name, hint=_ANOTHER)
    found = {path.relative_to(folder).as_posix() for path in (folder / "filters").rglob("*.parquet")}
    if unknown := sorted(found - set(expected)):
        raise CorruptDataError(
            "no model has these filters", where=folder / unknown[0], expected="the parts of the export alone"
        )


def _blocks(folder: Path, tables: Tables, width: int) -> Iterator[Filters]:
    """Read the filters of all models, and make sure that they are those that the records speak of."""
    meta, hashes, row = tables.meta, LayerHashes(tables.meta), 0
    counts = (meta["filter_end"] - meta["filter_start"]).to_numpy()
    ids, layers = (meta.index.get_level_values(name).to_numpy() for name in ("model_id", "layer_id"))
    for model_id in np.unique(ids).tolist():
        own = slice(*np.searchsorted(ids, [model_id, model_id + 1]).tolist())
        path = folder / part_name(model_id)
        parts = read_filters(path, first=row, layer_ids=layers[own], counts=counts[own], width=width)
        for block in parts:
            rows = RowRange(row, row + len(block))
            for problem in hashes.add(rows, block):
                raise CorruptDataError(problem, where=path, hint=_ANOTHER)
            yield block
            row = rows.stop
