"""Write a data set file: the tables through PyTables, then the filters through h5py, never both at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from filterdb import schema
from filterdb.errors import CorruptDataError, UsageError
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
    attributes: Mapping[str, int] | None = None,
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
        Values of :data:`filterdb.schema.OPTIONAL_ATTRIBUTES`.

    Raises
    ------
    UsageError
        If there is no filter, or more columns than a table holds.
    CorruptDataError
        If the tables contradict each other, or the filters that are given.
    """
    if not len(tables.meta):
        raise UsageError("there is no filter to write", where=path, expected="at least one layer")
    schema.validate_meta(tables.meta, n_filters=tables.n_filters, where=path)
    schema.validate_tables(**tables.by_name(), where=path)
    header = content_header(tables, kernel, attributes)
    digest = content_hash(header, tables.by_name())
    write_frames(path, tables.by_name())
    with h5py.File(path, "r+") as file:
        dataset = _create(file, tables.n_filters, kernel, compression)
        _fill(dataset, filters, path)
        file["filters"] = dataset
        # Last, because a file without them is none of ours.
        file.attrs.update({**header, "content_hash": digest})
    return digest


def content_header(
    tables: Tables, kernel: Kernel, attributes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return the root attributes of a data set, but for its content hash.

    Parameters
    ----------
    tables, kernel
        What the file holds.
    attributes
        Values of :data:`filterdb.schema.OPTIONAL_ATTRIBUTES`.
    """
    unknown = set(attributes or {}) - set(schema.OPTIONAL_ATTRIBUTES)
    if unknown:
        raise ValueError(f"the format has no root attribute {min(unknown)!r}")
    return {
        "format": schema.FORMAT,
        "format_version": schema.FORMAT_VERSION,
        "kernel": str(kernel),
        "n_filters": tables.n_filters,
        "n_records": len(tables.meta),
        "n_models": len(tables.models),
        **(attributes or {}),
    }


def _create(file: h5py.File, rows: int, kernel: Kernel, compression: str | None) -> h5py.Dataset:
    return file.create_dataset(
        "filter",
        shape=(rows, kernel.size),
        dtype="<f4",
        # Chunks hold whole filters; h5py's own guess would split them.
        chunks=(schema.chunk_rows(rows, kernel.size), kernel.size),
        compression=compression,
        shuffle=compression is not None,
        track_times=False,
    )


def _fill(dataset: h5py.Dataset, filters: Iterable[Filters], where: Path) -> None:
    """Write blocks of any height as whole chunks, so that no chunk is touched twice."""
    rows, width = dataset.shape
    buffer = np.empty(dataset.chunks, dtype="<f4")
    row = used = 0
    for block in filters:
        if block.ndim != 2 or block.shape[1] != width:
            raise CorruptDataError(
                f"filters of shape {block.shape} were given", where=where, expected=f"(n, {width})"
            )
        done = 0
        while done < len(block):
            taken = min(len(block) - done, len(buffer) - used)
            buffer[used : used + taken] = block[done : done + taken]
            used, done = used + taken, done + taken
            if used == len(buffer):
                row, used = _flush(dataset, buffer, row, used, where), 0
    row = _flush(dataset, buffer, row, used, where)
    if row != rows:
        raise CorruptDataError(f"{row:,} filters were given", where=where, expected=f"{rows:,}")


def _flush(dataset: h5py.Dataset, buffer: Filters, row: int, used: int, where: Path) -> int:
    rows = dataset.shape[0]
    if row + used > rows:
        raise CorruptDataError("more filters were given", where=where, expected=f"{rows:,}")
    if used:
        dataset[row : row + used] = buffer[:used]
    return row + used
