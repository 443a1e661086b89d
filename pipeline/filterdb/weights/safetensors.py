"""The safetensors format: a length, a header in JSON, and then nothing but values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from filterdb.errors import NotAModelError
from filterdb.types import WeightArray
from filterdb.weights.entries import Entry
from filterdb.weights.tensors import MOST_AXES, as_float32, not_floating

HEADER_BYTES = 100_000_000
"""Longest header that the format allows."""

_TYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}


def entries(path: Path) -> Iterator[Entry]:
    """Yield the tensors of a file, which stays mapped while one of them is in use.

    Raises
    ------
    NotAModelError
        If the file is damaged, or none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER_BYTES):
            raise _damaged(f"the file has {size} bytes, but its header is said to have {length}")
        header = _parse(file.read(length))
    start = 8 + length
    for name, fields in header.items():
        if name != "__metadata__":
            yield _entry(path, name, fields, start, size - start)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged("the header is no JSON that the format allows") from error
    if not isinstance(header, dict):
        raise _damaged("the header names no tensors")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _entry(path: Path, name: str, fields: Any, start: int, size: int) -> Entry:
    try:
        kind, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
        whole = all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(f"tensor {name!r} has no dtype, shape and data_offsets") from error
    if len(shape) > MOST_AXES:
        raise _damaged(f"tensor {name!r} has {len(shape)} axes, more than {MOST_AXES}")
    if not whole or not begin <= end <= size:
        raise _damaged(f"tensor {name!r} is said to lie outside of the {size} bytes of values")
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    if dtype is not None and end - begin != math.prod(shape) * dtype.itemsize:
        raise _damaged(f"tensor {name!r} of shape {list(shape)} does not fit its {end - begin} bytes")

    def read() -> WeightArray:
        if dtype is None:
            raise not_floating(str(kind))
        values = np.memmap(path, dtype, "r", start + begin, shape)
        return as_float32(values.view(np.ndarray))

    return Entry(name, shape, str(kind) if dtype is None else dtype.name, read)


def _damaged(what: str) -> NotAModelError:
    return NotAModelError(
        what, expected="a complete .safetensors file", hint="compare its size with the original"
    )
