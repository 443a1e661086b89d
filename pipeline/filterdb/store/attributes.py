"""Read single HDF5 attributes of a file that may come from anybody.

An attribute is looked at before it is read: its type, its shape and its size are claims of the file. Only
attributes that are asked for by name are ever read.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import h5py
import numpy as np

from filterdb.errors import CorruptDataError
from filterdb.store import safepickle

MAX_BYTES: Final = 1 << 17
"""An attribute in an object's header holds less than 64 KiB, and ours all do."""

Node: TypeAlias = h5py.Group | h5py.Dataset


def read(node: Node, name: str, *, where: object) -> bytes | str | int | None:
    """Read a text or an integer, or return nothing where there is no such attribute.

    Parameters
    ----------
    node
        The group or dataset.
    name
        The attribute's name.
    where
        The file, for messages.

    Raises
    ------
    CorruptDataError
        If the attribute holds anything else, or more than one value.
    """
    key = name.encode()
    if not h5py.h5a.exists(node.id, key):
        return None
    kind = h5py.h5a.open(node.id, key).get_type()
    space = h5py.h5a.open(node.id, key).get_space()
    text = isinstance(kind, h5py.h5t.TypeStringID)
    if text and kind.is_variable_str():
        # Such text lies in a heap, and on a damaged heap HDF5 may go in circles for ever.
        raise CorruptDataError(
            f"the attribute {name!r} of {node.name} is text of variable length",
            where=where,
            expected="text of fixed length",
        )
    # PyTables writes truth values as bit fields, which h5py reads as numbers.
    plain = text or isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeBitfieldID)
    if not plain or space.get_simple_extent_npoints() != 1 or kind.get_size() > MAX_BYTES:
        raise CorruptDataError(
            f"the attribute {name!r} of {node.name} is no single text or number", where=where
        )
    value: Any = node.attrs[name]
    if isinstance(value, np.ndarray):
        value = value.reshape(())[()]
    return value.item() if isinstance(value, np.generic) else value  # type: ignore[no-any-return]


def write(node: Node, name: str, value: str | int) -> None:
    """Write a text, of fixed length, or an integer."""
    if isinstance(value, str):
        node.attrs.create(name, value, dtype=h5py.string_dtype("utf-8", len(value.encode())))
    else:
        node.attrs[name] = value


def read_text(node: Node, name: str, *, where: object) -> str | None:
    """Read a text, or return nothing where the attribute is absent or holds a number."""
    value = read(node, name, where=where)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise CorruptDataError(
                f"the attribute {name!r} of {node.name} is no UTF-8", where=where
            ) from error
    return value if isinstance(value, str) else None


def read_pickle(node: Node, name: str, *, where: object) -> Any:
    """Read a pickle of lists, tuples, texts and numbers; see :mod:`filterdb.store.safepickle`."""
    value = read(node, name, where=where)
    if not isinstance(value, bytes):
        raise CorruptDataError(f"{node.name} has no pickled attribute {name!r}", where=where)
    return safepickle.loads(value, where=f"{where}: attribute {name!r} of {node.name}")
