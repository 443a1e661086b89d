"""One pandas frame as a group of an HDF5 file, in the ``table`` layout that ``pandas.read_hdf`` reads.

Written through pandas itself, so that the layout is pandas' own. Read with h5py and an unpickler that
runs nothing, because a plain ``read_hdf`` executes whatever a file's attributes tell it to.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pandas as pd

from filterdb import schema
from filterdb.errors import CorruptDataError, UsageError
from filterdb.store import attributes
from filterdb.store.guard import Room, check_extent
from filterdb.text import MISSING_TEXT

_BLOCK_BYTES: Final = 1 << 23
_NUMBERS: Final = ("<i8", "<f8", "|u1")
_OTHER_NUMBERS: Final = ("|i1", "<i2", "<i4", "<f4")
_PICKLED_NONE: Final = "N."
_PANDAS_MISSING_TEXT: Final = "nan"
_MAX_FIELDS: Final = 2 * schema.MAX_COLUMNS
_MAX_BYTES: Final = 1 << 32
_MOST_TIMES: Final = 64
"""What a large table may take, in sizes of its file: that of a real one holds the filters too."""

_TEXT_BYTES: Final = 64
"""What a text takes in memory, however short it is, and how wide its field."""

_NUMBER_BYTES: Final = 8


def write_frames(path: Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write frames into a new HDF5 file, each under its name; empty ones leave no trace.

    Parameters
    ----------
    path
        The file, overwritten.
    frames
        Frames by name.
    """
    for name, frame in frames.items():
        _check_size(name, frame)
    with warnings.catch_warnings():
        # "Visual Category" is no Python identifier, and reproducing the published names is the point.
        warnings.filterwarnings("ignore", category=_natural_name_warning())
        with pd.HDFStore(str(path), "w", complevel=1, complib="zlib") as file:
            for name, frame in frames.items():
                if len(frame):
                    file.put(
                        name, frame, format="table", index=False, track_times=False, nan_rep=MISSING_TEXT
                    )


def _check_size(name: str, frame: pd.DataFrame) -> None:
    columns = [*frame.index.names, *frame.columns] if frame.index.nlevels > 1 else list(frame.columns)
    if len(columns) > schema.MAX_COLUMNS or schema.names_bytes(columns) > schema.MAX_NAMES_BYTES:
        raise UsageError(
            f"the table /{name} has {len(columns):,} columns, whose names take "
            f"{schema.names_bytes(columns):,} bytes",
            expected=f"{schema.MAX_COLUMNS:,} columns and {schema.MAX_NAMES_BYTES:,} bytes at most",
        )


def _natural_name_warning() -> type[Warning]:
    import tables

    kind: type[Warning] = tables.NaturalNameWarning
    return kind


def read_frame(group: h5py.Group, *, where: Path, own: bool = True) -> pd.DataFrame:
    """Read a frame in pandas' ``table`` layout.

    Parameters
    ----------
    group
        The group that holds the dataset ``table``.
    where
        The file, for messages and to know its size.
    own
        Whether it must be as :func:`write_frames` writes it; other frames may hold numbers of other widths.
    """
    table = group["table"]
    _check_type(table, where, _NUMBERS if own else (*_NUMBERS, *_OTHER_NUMBERS))
    check_extent(table, where=where)
    fields = {name: _names_of(table, name, where) for name in table.dtype.names if name != "index"}
    absent = MISSING_TEXT if own else _PANDAS_MISSING_TEXT
    missing = {field: _missing_text(group, field, absent, where) for field in fields}
    room = Room(where, max(_MAX_BYTES, _MOST_TIMES * where.stat().st_size))
    room.spend(len(table) * _row_bytes(table.dtype), f"the rows of {table.name}")
    columns = _read_columns(table, fields, missing, where, room)
    frame = pd.DataFrame({name: columns[name] for name in _order(group, columns, where)})
    levels = group.attrs.get_id("levels").get_type() if "levels" in group.attrs else None
    # A plain index leaves a number of levels there, a MultiIndex the pickled list of their names.
    if isinstance(levels, h5py.h5t.TypeStringID):
        return frame.set_index(_texts(attributes.read_pickle(group, "levels", where=where), group, where))
    return frame


def _missing_text(group: h5py.Group, field: str, absent: str, where: Path) -> str | None:
    """Return what stands for a missing text in a field: since pandas 3.1 there may be one for each field."""
    if attributes.read(group, "data_col_nan_rep", where=where):
        return attributes.read_text(group["table"], f"{field}_nan_rep", where=where)
    text = attributes.read_text(group, "nan_rep", where=where)
    return absent if text in (None, _PICKLED_NONE) else text


def _check_type(table: h5py.Dataset, where: Path, numbers: tuple[str, ...]) -> None:
    """Refuse everything but numbers and fixed-width text: objects and references are not for a file."""
    dtype = table.dtype
    if table.ndim != 1 or dtype.names is None or "index" not in dtype.names or len(dtype.names) > _MAX_FIELDS:
        raise CorruptDataError(f"{table.name} is no table of records", where=where)
    for name in dtype.names:
        base, shape = dtype[name].base, dtype[name].shape
        known = base.str in numbers or base.kind == "S" or base.kind == "b"
        if not known or base.hasobject or len(shape) > 1:
            raise CorruptDataError(
                f"the field {name!r} of {table.name} is of type {dtype[name]}",
                where=where,
                expected="int64, float64, bool or text of fixed width",
            )


def _row_bytes(dtype: np.dtype[Any]) -> int:
    """Return what a row takes in memory at least; wide text takes no more than what it says."""
    kinds = [dtype[name] for name in dtype.names or ()]
    return sum(
        math.prod(kind.shape) * (_TEXT_BYTES if kind.base.kind == "S" else _NUMBER_BYTES) for kind in kinds
    )


def _names_of(table: h5py.Dataset, field: str, where: Path) -> list[str]:
    """Return the columns that a field holds side by side."""
    names = _texts(attributes.read_pickle(table, f"{field}_kind", where=where), table, where)
    shape = table.dtype[field].shape
    width = shape[0] if shape else 1
    if width != len(names):
        raise CorruptDataError(
            f"field {field!r} of {table.name} holds {width} columns", where=where, expected=f"{len(names)}"
        )
    return names


def _texts(value: Any, node: attributes.Node, where: Path) -> list[str]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    raise CorruptDataError(f"the description of {node.name} is damaged", where=where)


def _order(group: h5py.Group, columns: Mapping[str, Any], where: Path) -> list[str]:
    """Return the frame's columns in their order, index levels first, as pandas keeps them."""
    axes = attributes.read_pickle(group, "non_index_axes", where=where)
    if isinstance(axes, list) and len(axes) == 1 and isinstance(axes[0], tuple) and len(axes[0]) == 2:
        order = _texts(axes[0][1], group, where)
        if len(order) == len(columns) and set(order) == set(columns):
            return order
    raise CorruptDataError(f"the description of {group.name} is damaged", where=where)


def _read_columns(
    table: h5py.Dataset,
    fields: Mapping[str, list[str]],
    missing: Mapping[str, str | None],
    where: Path,
    room: Room,
) -> dict[str, Any]:
    """Read all columns, some rows at a time, so that wide text costs no more than what it says."""
    parts: dict[str, list[Any]] = {name: [] for names in fields.values() for name in names}
    height = max(1, _BLOCK_BYTES // table.dtype.itemsize)
    if table.chunks:
        height = -(-height // table.chunks[0]) * table.chunks[0]
    for start in range(0, len(table), height):
        rows = table[start : start + height]
        if not np.array_equal(rows["index"], np.arange(start, start + len(rows))):
            raise CorruptDataError(f"the rows of {table.name} are not numbered from 0", where=where)
        for field, names in fields.items():
            block = rows[field].reshape(len(rows), -1)
            for place, name in enumerate(names):
                cells = block[:, place]
                if cells.dtype.kind == "S":
                    room.spend(int(np.char.str_len(cells).sum()), f"the texts of {table.name}")
                parts[name].append(_values(cells, missing[field], name, where))
    return {name: _joined(parts[name], table, field) for field, names in fields.items() for name in names}


def _values(cells: np.ndarray, missing: str | None, name: str, where: Path) -> Any:
    if cells.dtype.kind in "ub" and cells.max(initial=0) > 1:
        raise CorruptDataError(f"the column {name!r} holds more than true and false", where=where)
    if cells.dtype.kind != "S":
        return cells
    try:
        text = [cell.decode("utf-8") for cell in cells.tolist()]
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"the column {name!r} holds bytes that are no UTF-8", where=where) from error
    return [None if cell == missing else cell for cell in text]


def _joined(parts: list[Any], table: h5py.Dataset, field: str) -> Any:
    kind = table.dtype[field].base.kind
    if kind == "S":
        return pd.Series([cell for part in parts for cell in part], dtype="str")
    values = np.concatenate(parts) if parts else np.empty(0, table.dtype[field].base)
    return values.astype(bool) if kind in "ub" else values
