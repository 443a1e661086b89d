"""Write a data set file: tables through PyTables, then filters, never by two libraries at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py

from filterdb import schema
from filterdb.errors import UsageError
from filterdb.store import attributes as attributes_of
from filterdb.store.frames import write_frames
from filterdb.store.hashing import content_hash
from filterdb.store.tables import Tables
from filterdb.store.target import CompressedTarget, PlainTarget, Target
from filterdb.types import Filters, Kernel

Fill = Callable[["Target"], None]
"""What gives every filter to a target."""


def write_dataset(
    path: Path,
    tables: Tables,
    filters: Iterable[Filters] | Fill,
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
        Blocks of filters of any height that add up to the rows the tables speak of, or a function that gives
        them to a :class:`Target`, from several threads if it likes.
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
    target = PlainTarget if compression is None else CompressedTarget
    with target(path, tables.n_filters, kernel) as filled:
        if callable(filters):
            filters(filled)
        else:
            row = 0
            for block in filters:
                filled.write(row, block)
                row += len(block)
        filled.check_complete()
    with h5py.File(path, "r+") as file:
        file["filters"] = file["filter"]
        # Last, because a file without them is none of ours.
        for name, value in {**header, "content_hash": digest}.items():
            attributes_of.write(file, name, value)
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
