"""A pandas frame in the ``fixed`` layout: blocks of columns of one type, and the two axes beside them.

Columns of text are one pickled array of objects. Everything else is plain arrays.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb import schema
from filterdb.errors import CorruptDataError, UnsafeFileError
from filterdb.store import attributes, safepickle
from filterdb.store.guard import Room, check_extent
from filterdb.store.published import objects
from filterdb.store.published.heap import read_heap_object

MAX_BYTES: Final = 1 << 28
"""Of one block: the 120 numbers of 280,000 records."""

_CELL_BYTES: Final = 8
"""What a cell takes at least, once its column is one of ours."""


def read_fixed(group: h5py.Group, *, where: Path) -> pd.DataFrame:
    """Read a frame; its columns may still hold objects of mixed kinds.

    Parameters
    ----------
    group
        The group that holds the axes and the blocks.
    where
        The file, for messages and to know its size.

    Raises
    ------
    CorruptDataError
        If the parts of the frame do not fit together, or hold what no table of records holds.
    """
    room = Room(where)
    names = _labels(group, "axis0", where, room)
    index = _index(group, where, room)
    columns: dict[str, Any] = {}
    met: set[int] = set()
    for block in range(_count(group, "nblocks", where)):
        items = _labels(group, f"block{block}_items", where, room)
        _refuse_again(_member(group, f"block{block}_values", where), met, where)
        values = _values(group, f"block{block}_values", where, room)
        if values.shape != (len(index), len(items)):
            raise CorruptDataError(
                f"block {block} of {group.name} is of shape {values.shape}",
                where=where,
                expected=f"{len(index)} rows of {len(items)} columns",
            )
        columns |= {name: values[:, place] for place, name in enumerate(items)}
    if len(set(names)) != len(names) or set(columns) != set(names):
        raise CorruptDataError(f"the blocks of {group.name} do not hold its columns", where=where)
    return pd.DataFrame({name: columns[name] for name in names}, index=index)


def _refuse_again(node: h5py.Dataset, met: set[int], where: Path) -> None:
    """Refuse a block that is another one by another name: a link takes no space, and what it names does."""
    address = h5py.h5o.get_info(node.id).addr
    if address in met:
        raise CorruptDataError(
            f"{node.name} is the same object as another block", where=where, expected="values of its own"
        )
    met.add(address)


def _index(group: h5py.Group, where: Path, room: Room) -> pd.Index[Any]:
    """Return the rows' index; a plain one only numbers them."""
    if attributes.read_text(group, "axis1_variety", where=where) != "multi":
        return pd.RangeIndex(len(_array(group, "axis1", where, room)))
    arrays, names = [], []
    for level in range(_count(group, "axis1_nlevels", where)):
        node = _member(group, f"axis1_level{level}", where)
        values, codes = (
            _array(group, f"axis1_level{level}", where, room),
            _array(group, f"axis1_label{level}", where, room),
        )
        if (
            values.dtype.kind not in "iuf"
            or codes.dtype.kind not in "iu"
            or values.ndim != 1
            or codes.ndim != 1
        ):
            raise CorruptDataError(f"{node.name} is no level of numbers", where=where)
        if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < len(values):
            raise CorruptDataError(f"the index of {group.name} counts past {node.name}", where=where)
        # A code of -1 stands for a missing number.
        padded = np.append(values.astype(np.float64), np.nan) if (codes < 0).any() else values
        arrays.append(padded[codes])
        names.append(_name(node, where))
    if not arrays or len({len(array) for array in arrays}) > 1:
        raise CorruptDataError(f"the levels of {group.name} differ in length", where=where)
    return pd.MultiIndex.from_arrays(arrays, names=names)


def _labels(group: h5py.Group, name: str, where: Path, room: Room) -> list[str]:
    """Return the names of columns: text of fixed width, or pickled, as Python 2 did it."""
    node = _member(group, name, where)
    if h5py.check_vlen_dtype(node.dtype) is not None:
        array = _objects(node, where, room)
    else:
        array = _array(group, name, where, room)
    if array.ndim != 1 or len(array) > schema.MAX_COLUMNS or array.dtype.kind not in "SOiu":
        raise CorruptDataError(
            f"{node.name} is {array.dtype} of shape {array.shape}",
            where=where,
            expected=f"the names of {schema.MAX_COLUMNS:,} columns at most",
        )
    try:
        return [cell.decode("utf-8") if isinstance(cell, bytes) else str(cell) for cell in array.tolist()]
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"{node.name} holds bytes that are no UTF-8", where=where) from error


def _values(group: h5py.Group, name: str, where: Path, room: Room) -> NDArray[Any]:
    """Return a block as rows x columns."""
    node = _member(group, name, where)
    kind = attributes.read_text(node, "value_type", where=where) or ""
    if attributes.read(node, "shape", where=where) is not None or kind.startswith(
        ("datetime", "timedelta", "period")
    ):
        raise CorruptDataError(
            f"{node.name} holds {kind or 'no rows'}", where=where, expected="text and numbers"
        )
    pickled = h5py.check_vlen_dtype(node.dtype) is not None
    array = _objects(node, where, room) if pickled else _array(group, name, where, room)
    if array.dtype.kind not in "iufbO":
        raise CorruptDataError(
            f"{node.name} is of type {array.dtype}", where=where, expected="text and numbers"
        )
    if array.ndim == 1:
        return array[:, None]
    return array if attributes.read(node, "transposed", where=where) else array.T


def _objects(node: h5py.Dataset, where: Path, room: Room) -> NDArray[Any]:
    data = read_heap_object(node, path=where, limit=objects.MAX_BYTES)
    return objects.read_object_array(data, where=f"{where}: {node.name}", room=room)


def _array(group: h5py.Group, name: str, where: Path, room: Room) -> NDArray[Any]:
    node = _member(group, name, where)
    check_extent(node, where=where)
    if (
        math.prod(node.shape) * node.dtype.itemsize > MAX_BYTES
        or not 1 <= node.ndim <= 2
        or node.dtype.hasobject
    ):
        raise CorruptDataError(
            f"{node.name} is {node.dtype} of shape {node.shape}",
            where=where,
            expected="an array of text or numbers",
        )
    room.spend(math.prod(node.shape) * max(_CELL_BYTES, node.dtype.itemsize), node.name)
    array: NDArray[Any] = node[()]
    # PyTables writes truth values as bit fields, which h5py reads as numbers.
    truth = isinstance(node.id.get_type(), h5py.h5t.TypeBitfieldID)
    if truth and array.max(initial=0) > 1:
        raise CorruptDataError(f"{node.name} holds more than true and false", where=where)
    return array.astype(bool) if truth else array


def _member(group: h5py.Group, name: str, where: Path) -> h5py.Dataset:
    node = group.get(name)
    if not isinstance(node, h5py.Dataset):
        raise CorruptDataError(
            f"{group.name} has no {name}", where=where, expected="a pandas frame in the fixed layout"
        )
    return node


def _count(group: h5py.Group, name: str, where: Path) -> int:
    value = attributes.read(group, name, where=where)
    if not isinstance(value, int) or not 0 <= value <= schema.MAX_COLUMNS:
        raise CorruptDataError(f"the attribute {name!r} of {group.name} is {value!r}", where=where)
    return value


def _name(node: h5py.Dataset, where: Path) -> str:
    """Return what a level is called; Python 2 pickled such texts."""
    text = attributes.read_text(node, "name", where=where) or ""
    if text.startswith(("V", "S'", "N.")) and text.endswith("."):
        try:
            found = safepickle.loads(text.encode(), where=f"{where}: attribute 'name' of {node.name}")
        except UnsafeFileError:
            raise
        except CorruptDataError:
            return text
        return found if isinstance(found, str) else ""
    return text
