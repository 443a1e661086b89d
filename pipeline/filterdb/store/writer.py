"""Write a data set file: the tables through PyTables, then the filters through h5py, never both at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from filterdb import schema
from filterdb.errors import CorruptDataError
from filterdb.store.frames import write_frames
from filterdb.store.hashing import content_hash
from filterdb.store.tables import Tables
from filterdb.types import Filters, Kernel


def write_dataset(
    path: Path,
    tables: Tables,
    filters: Iterable[Filters],
    *,
    kernel: Kernel,
    compression: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> str:
    """Write a complete data set file and return its content hash.

    The caller moves the file to its place: a writer that dies half-way leaves a file that does not open.

    Parameters
    ----------
    path
        The file, overwritten.
    tables
        The tables.
    filters
        Blocks of filters of any height that add up to the rows the tables speak of.
    kernel
        Kernel size of the filters.
    compression
        ``None`` or ``"gzip"``.
    attributes
        Further root attributes; they must not depend on clock, place or worker count.
    """
    schema.validate_meta(tables.meta, n_filters=tables.n_filters, where=path)
    header = content_header(tables, kernel)
    digest = content_hash(header, tables.by_name())
    write_frames(path, tables.by_name())
    with h5py.File(path, "r+") as file:
        dataset = _create(file, tables.n_filters, kernel, compression)
        _fill(dataset, filters, path)
        file["filters"] = dataset
        file.attrs.update({"format": schema.FORMAT, **header, **(attributes or {}), "content_hash": digest})
    return digest


def content_header(tables: Tables, kernel: Kernel) -> dict[str, Any]:
    """Return the root attributes that say what a file holds."""
    return {
        "format_version": schema.FORMAT_VERSION,
        "kernel": str(kernel),
        "n_filters": tables.n_filters,
        "n_records": len(tables.meta),
        "n_models": len(tables.models),
    }


def _create(file: h5py.File, rows: int, kernel: Kernel, compression: str | None) -> h5py.Dataset:
    return file.create_dataset(
        "filter",
        shape=(rows, kernel.size),
        dtype="<f4",
        # Chunks hold whole filters; h5py's own guess would split them.
        chunks=(min(schema.CHUNK_ROWS, rows), kernel.size) if rows else None,
        compression=compression,
        shuffle=compression is not None,
        track_times=False,
    )


def _fill(dataset: h5py.Dataset, filters: Iterable[Filters], where: Path) -> None:
    """Write blocks of any height as whole chunks, so that no chunk is touched twice."""
    rows, width = dataset.shape
    buffer = np.empty((min(schema.CHUNK_ROWS, max(rows, 1)), width), dtype="<f4")
    row = used = 0
    for block in filters:
        for start in range(0, len(block), len(buffer)):
            part = block[start : start + len(buffer)]
            while len(part):
                taken = min(len(part), len(buffer) - used)
                buffer[used : used + taken] = part[:taken]
                used, part = used + taken, part[taken:]
                if used == len(buffer):
                    row, used = _flush(dataset, buffer, row, used, where), 0
    row = _flush(dataset, buffer, row, used, where)
    if row != rows:
        raise CorruptDataError(f"{row} filters were given", where=where, expected=f"{rows}")


def _flush(dataset: h5py.Dataset, buffer: np.ndarray, row: int, used: int, where: Path) -> int:
    if row + used > dataset.shape[0]:
        raise CorruptDataError("more filters were given than the tables speak of", where=where)
    if used:
        dataset[row : row + used] = buffer[:used]
    return row + used
