"""The content hash: what makes two data set files the same, whatever their bytes on disk.

The tables are hashed cell by cell, as ``docs/file-format.md`` defines it. The filters are covered through
``weights_sha256``, which each record of ``/meta`` carries, so that no pass over ``/filter`` is needed to
write a file, and a flipped byte can be traced to its layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb.types import Filters

_MISSING: Final = b"\xff" * 8
_NAN: Final = np.frombuffer(b"\0\0\0\0\0\0\xf8\x7f", "<f8")[0]
"""One NaN for all: their payloads are no content."""


def filters_sha256(filters: Filters) -> str:
    """Hash filters as stored: little-endian float32, row by row."""
    return hashlib.sha256(np.ascontiguousarray(filters, dtype="<f4").data).hexdigest()


def content_hash(header: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Hash what a data set holds.

    Parameters
    ----------
    header
        What the root attributes say of the content: format version, kernel, counts.
    tables
        The tables by name.
    """
    digest = hashlib.sha256(json.dumps(dict(header), sort_keys=True, separators=(",", ":")).encode("ascii"))
    for name in sorted(tables):
        columns = list(_columns(tables[name]))
        digest.update(_text(name) + _count(len(tables[name])) + _count(len(columns)))
        for column, values in columns:
            digest.update(_text(column))
            digest.update(_cells(values))
    return digest.hexdigest()


def _columns(frame: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the levels of a MultiIndex, then the columns; a plain index only numbers the rows."""
    if isinstance(frame.index, pd.MultiIndex):
        for level, name in enumerate(frame.index.names):
            yield str(name), frame.index.get_level_values(level).to_numpy()
    for name in frame.columns:
        yield str(name), frame[name].to_numpy()


def _cells(array: np.ndarray) -> bytes:
    if array.dtype == np.bool_:
        return b"b" + array.astype("u1").tobytes()
    if array.dtype.kind in "iu":
        return b"i" + array.astype("<i8").tobytes()
    if array.dtype.kind == "f":
        return b"f" + np.where(np.isnan(array), _NAN, array).astype("<f8").tobytes()
    return b"s" + b"".join(_text(cell) if isinstance(cell, str) else _MISSING for cell in array.tolist())


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return _count(len(encoded)) + encoded


def _count(number: int) -> bytes:
    return number.to_bytes(8, "little")
