"""The content hash: what makes two data set files the same, whatever their bytes on disk.

The tables are hashed cell by cell. The filters are covered through ``weights_sha256``, which each record
of ``/meta`` carries, so that no pass over ``/filter`` is needed to write a file, and a flipped byte can
be traced to its layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from filterdb.types import Filters

_MISSING = b"\xff" * 8


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
    digest = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for name in sorted(tables):
        digest.update(name.encode() + b"\0")
        _update(digest, tables[name])
    return digest.hexdigest()


def _update(digest: hashlib._Hash, frame: pd.DataFrame) -> None:
    for level, name in enumerate(frame.index.names):
        digest.update(f"{name}\0{len(frame)}\0".encode())
        digest.update(_bytes_of(frame.index.get_level_values(level).to_numpy()))
    for name in frame.columns:
        digest.update(f"{name}\0{len(frame)}\0".encode())
        digest.update(_bytes_of(frame[name].to_numpy()))


def _bytes_of(array: np.ndarray) -> bytes:
    if array.dtype == np.bool_:
        return b"b" + array.astype("u1").tobytes()
    if array.dtype.kind in "iu":
        return b"i" + array.astype("<i8").tobytes()
    if array.dtype.kind == "f":
        # One NaN for all: their payloads are no content.
        return b"f" + np.where(np.isnan(array), np.nan, array).astype("<f8").tobytes()
    cells = [None if cell is None or cell != cell else str(cell).encode() for cell in array.tolist()]
    return b"s" + b"".join(_MISSING if c is None else len(c).to_bytes(8, "little") + c for c in cells)
