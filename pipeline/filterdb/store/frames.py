"""One pandas frame as a group of an HDF5 file, in the ``table`` layout that ``pandas.read_hdf`` reads.

Written through pandas itself, so that the layout is pandas' own. Read with h5py and an unpickler that
runs nothing, because a plain ``read_hdf`` executes whatever a file's attributes tell it to.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pandas as pd

from filterdb.errors import CorruptDataError
from filterdb.store import safepickle

MISSING_TEXT: Final = "\N{SYMBOL FOR NULL}"
"""What stands for a missing string in the file; it cannot occur in a cell."""


def clean_text(text: str) -> str:
    """Return text without the two characters that a fixed-width cell cannot hold."""
    return text.replace("\0", "").replace(MISSING_TEXT, "")


def write_frames(path: Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write frames into a new HDF5 file, each under its name; empty ones leave no trace.

    Parameters
    ----------
    path
        The file, overwritten.
    frames
        Frames by name.
    """
    with warnings.catch_warnings():
        # "Visual Category" is no Python identifier, and reproducing the published names is the point.
        warnings.filterwarnings("ignore", category=_natural_name_warning())
        with pd.HDFStore(str(path), "w", complevel=1, complib="zlib") as file:
            for name, frame in frames.items():
                if len(frame):
                    file.put(
                        name, frame, format="table", index=False, track_times=False, nan_rep=MISSING_TEXT
                    )


def _natural_name_warning() -> type[Warning]:
    import tables

    kind: type[Warning] = tables.NaturalNameWarning
    return kind


def read_frame(group: h5py.Group, *, where: object) -> pd.DataFrame:
    """Read a frame in pandas' ``table`` layout.

    Parameters
    ----------
    group
        The group that holds the dataset ``table``.
    where
        What to name in messages.
    """
    table = group["table"]
    if table.dtype.names is None:
        raise CorruptDataError("no table of records", where=where)
    rows = table[:]
    missing = _text(group.attrs.get("nan_rep", b"nan"))
    columns: dict[str, Any] = {}
    for field in table.dtype.names:
        if field != "index":
            columns.update(_field_columns(table, field, rows[field], missing, where))
    try:
        [(_, order)] = _attribute(group, "non_index_axes", where)
        frame = pd.DataFrame({name: columns[name] for name in order})
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(f"the description of {group.name} is damaged", where=where) from error
    # A plain index leaves a number of levels there, a MultiIndex the pickled list of their names.
    if isinstance(group.attrs.get("levels"), bytes):
        return frame.set_index(_attribute(group, "levels", where))
    return frame


def _field_columns(
    table: h5py.Dataset, field: str, values: np.ndarray, missing: str, where: object
) -> dict[str, Any]:
    names = _attribute(table, f"{field}_kind", where)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CorruptDataError(f"the description of field {field!r} is damaged", where=where)
    block = values.reshape(len(values), -1)
    if block.shape[1] != len(names):
        raise CorruptDataError(
            f"field {field!r} holds {block.shape[1]} columns", where=where, expected=f"{len(names)}"
        )
    if block.dtype.kind == "S":
        return {name: _decode(block[:, i], missing) for i, name in enumerate(names)}
    boolean = _text(table.attrs.get(f"{field}_dtype", b"")) == "bool"
    return {name: block[:, i].astype(bool) if boolean else block[:, i] for i, name in enumerate(names)}


def _decode(cells: np.ndarray, missing: str) -> pd.Series[Any]:
    text = [cell.decode("utf-8", "replace") for cell in cells.tolist()]
    return pd.Series([None if cell == missing else cell for cell in text], dtype="str")


def _attribute(node: h5py.Group | h5py.Dataset, name: str, where: object) -> Any:
    value = node.attrs.get(name)
    if value is None:
        raise CorruptDataError(f"{node.name} has no attribute {name!r}", where=where)
    return safepickle.loads(bytes(value), where=f"{where}: {node.name}.attrs[{name!r}]")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
