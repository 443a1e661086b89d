"""A pandas frame in the ``table`` layout, as any version of pandas wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import h5py
import pandas as pd

from filterdb.errors import CorruptDataError
from filterdb.store import attributes
from filterdb.store.frames import read_frame

_FOREIGN: Final = ("datetime", "timedelta", "period", "date")


def read_table(group: h5py.Group, *, where: Path) -> pd.DataFrame:
    """Read a frame; its text is of fixed width and never unpickled.

    Parameters
    ----------
    group
        The group that holds the dataset ``table``.
    where
        The file, for messages and to know its size.

    Raises
    ------
    CorruptDataError
        If it holds dates or categories, which are stored as numbers that mean something else.
    """
    table = group["table"]
    for field in table.dtype.names or ():
        kind = attributes.read_text(table, f"{field}_dtype", where=where) or ""
        meta = attributes.read_text(table, f"{field}_meta", where=where) or ""
        if meta == "category" or kind.startswith(_FOREIGN):
            raise CorruptDataError(
                f"the field {field!r} of {table.name} holds {meta if meta == 'category' else kind}",
                where=where,
                expected="text, numbers and truth values",
            )
    return read_frame(group, where=where, own=False)
