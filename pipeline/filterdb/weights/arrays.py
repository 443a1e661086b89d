"""NumPy's files: ``.npy`` and ``.npz``, without the pickles that they may hold."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from filterdb.errors import NotAModelError, WeightError
from filterdb.opening import NO_ARCHIVE, NO_HEADER
from filterdb.types import WeightArray
from filterdb.weights.entries import Entry
from filterdb.weights.tensors import MOST_AXES, as_float32

MEMBER_BYTES = 1 << 31
"""Largest array of an archive: it may be compressed, so that the file's size says nothing."""

_OBJECTS = "the array holds Python objects, which only a pickle can keep"
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def of_npy(path: Path) -> Iterator[Entry]:
    """Yield the array of a ``.npy`` file, named like the file.

    Raises
    ------
    NotAModelError
        If the file is none, or does not hold what it says.
    """
    with path.open("rb") as file:
        header = _header(file)
    if header.dtype.hasobject:
        raise NotAModelError(
            _OBJECTS, expected="an array of numbers", hint="numpy.save(path, array.astype('float32'))"
        )
    have = path.stat().st_size - header.offset
    if have != header.nbytes:
        raise NotAModelError(
            f"an array of shape {list(header.shape)} needs {header.nbytes} bytes, but the file has {have}",
            expected="a complete .npy file",
        )

    def read() -> WeightArray:
        order: Any = "F" if header.fortran else "C"
        return as_float32(np.memmap(path, header.dtype, "r", header.offset, header.shape, order))

    yield Entry(path.stem, header.shape, header.dtype.name, read)


def of_npz(path: Path) -> Iterator[Entry]:
    """Yield the arrays of an ``.npz`` archive; one that cannot be read says so when it is.

    Raises
    ------
    NotAModelError
        If the file is no such archive.
    """
    try:
        # Left open for what reads the values: to list a large archive again takes as long as all of them.
        archive = zipfile.ZipFile(path)
        members = [item for item in archive.infolist() if item.filename.endswith(".npy")]
        entries = [_member(archive, item) for item in members]
    except NO_ARCHIVE as error:
        raise NotAModelError(f"the archive cannot be read: {error}", expected="an .npz file") from error
    if not entries:
        raise NotAModelError("the archive holds no array", expected="an .npz file, as numpy.savez writes it")
    yield from entries


def _member(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Entry:
    with archive.open(item) as file:
        header = _header(file)
    name = item.filename.removesuffix(".npy")
    have = item.file_size - header.offset

    def read() -> WeightArray:
        if header.dtype.hasobject:
            raise WeightError(_OBJECTS)
        if have != header.nbytes:
            raise WeightError(
                f"an array of shape {list(header.shape)} needs {header.nbytes} bytes, the archive has {have}"
            )
        if have > MEMBER_BYTES:
            raise WeightError(f"the array has {have} bytes", expected=f"at most {MEMBER_BYTES}")
        try:
            with archive.open(item) as file:
                return as_float32(np.asarray(npy.read_array(file, allow_pickle=False)))
        except (*NO_ARCHIVE, *NO_HEADER) as error:
            raise WeightError(f"the array cannot be read: {error}") from error

    return Entry(name, header.shape, header.dtype.name, read)


def _header(file: IO[bytes]) -> _Header:
    """Read what an array is before anything of its size is allocated."""
    try:
        version = npy.read_magic(file)
        shape, fortran, dtype = _HEADERS[version](file)
        header = _Header(tuple(map(int, shape)), bool(fortran), dtype, file.tell())
        if len(shape) > MOST_AXES or not dtype.itemsize or not all(0 <= size < 1 << 63 for size in shape):
            raise ValueError("no shape and type of an array")
    except NO_HEADER as error:
        raise NotAModelError("the header of an array cannot be read", expected="a .npy file") from error
    return header
