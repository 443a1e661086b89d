"""The one object of a PyTables ``VLArray``, read without HDF5's heap.

A pickled column lies in HDF5's global heap. On a damaged heap the library may go in circles for ever, and it
takes as much memory as the file says. The format is a list of lengths, though, and it is read here as such:
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import h5py

from filterdb.errors import CorruptDataError, UnsafeFileError
from filterdb.store.guard import MAX_CHUNK_BYTES

_ELEMENT: Final = struct.Struct("<IQI")
"""How many values, the address of the collection that holds them, and their number in it."""

_COLLECTION: Final = struct.Struct("<4sB3xQ")
_OBJECT: Final = struct.Struct("<HH4xQ")


def read_heap_object(array: h5py.Dataset, *, path: Path, limit: int) -> bytes:
    """Return the bytes that the single row of a variable-length array holds.

    Parameters
    ----------
    array
        The array, of bytes of variable length.
    path
        The file it is in.
    limit
        How many bytes there may be.

    Raises
    ------
    CorruptDataError
        If the row, or the heap that it points to, is not as the format says.
    UnsafeFileError
        If there are more bytes.
    """
    values = h5py.check_vlen_dtype(array.dtype)
    if values is None or values.itemsize != 1 or array.shape != (1,) or array.chunks is None:
        raise _damaged(array, path, "is no single object")
    if array.file.id.get_create_plist().get_sizes() != (8, 8):
        raise _damaged(array, path, "has addresses of another size")
    length, address, number = _ELEMENT.unpack(_first_element(array, path))
    if length > limit:
        raise UnsafeFileError(
            f"{array.name} holds an object of {length:,} bytes", where=path, expected=f"{limit:,} at most"
        )
    with path.open("rb") as file:
        return _find(file, address, number, length, array, path)


def _first_element(array: h5py.Dataset, path: Path) -> bytes:
    """Return the first 16 bytes of the only chunk, whichever of gzip and shuffle it went through."""
    if array.id.get_num_chunks() != 1 or array.id.get_chunk_info(0).size > MAX_CHUNK_BYTES:
        raise _damaged(array, path, "is not in one chunk")
    mask, data = array.id.read_direct_chunk((0,))
    plist = array.id.get_create_plist()
    # The mask tells which filters were left out: HDF5 does not shuffle rows of variable length.
    codes = [plist.get_filter(at)[0] for at in range(plist.get_nfilters()) if not mask >> at & 1]
    size = array.chunks[0] * _ELEMENT.size
    if size > MAX_CHUNK_BYTES:
        raise _damaged(array, path, "has a chunk that is too large")
    if h5py.h5z.FILTER_DEFLATE in codes:
        data = zlib.decompressobj().decompress(data, size)
    if len(data) != size:
        raise _damaged(array, path, "has a chunk of another size")
    element: bytes = data[:: array.chunks[0]] if h5py.h5z.FILTER_SHUFFLE in codes else data[: _ELEMENT.size]
    return element


def _find(file: BinaryIO, address: int, number: int, length: int, array: h5py.Dataset, path: Path) -> bytes:
    """Walk over a collection's objects, each of which says how long it is, to the one that is meant."""
    end = path.stat().st_size
    place = address + _COLLECTION.size
    signature, version, size = _read(file, address, _COLLECTION, array, path)
    if signature != b"GCOL" or version != 1 or not _COLLECTION.size <= size <= end - address:
        raise _damaged(array, path, "points to no heap")
    end = address + size
    while place + _OBJECT.size <= end:
        found, _, held = _read(file, place, _OBJECT, array, path)
        place += _OBJECT.size
        if found == 0 or held > end - place:
            break
        if found == number:
            if held != length:
                break
            file.seek(place)
            return file.read(length)
        place += -(-held // 8) * 8
    raise _damaged(array, path, "points to an object that is not there")


def _read(
    file: BinaryIO, place: int, layout: struct.Struct, array: h5py.Dataset, path: Path
) -> tuple[Any, ...]:
    if place > path.stat().st_size - layout.size:
        raise _damaged(array, path, "points past the end of the file")
    file.seek(place)
    return layout.unpack(file.read(layout.size))


def _damaged(array: h5py.Dataset, path: Path, what: str) -> CorruptDataError:
    return CorruptDataError(
        f"{array.name} {what}", where=path, expected="one pickled array, as pandas writes a column of objects"
    )
