"""Arrays and archives as nobody's numpy writes them."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

HEADERS = {
    "brackets": b"(" * 8_999,
    "signs": b"-" * 9_000 + b"1",
    "a bracket": b"(",
    "a quote": b"'''",
    "lines": b"if 1:\n  x\n y",
    "negative": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-5,)}",
    "twice negative": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -3)}",
    "huge": b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
    "nothing": b"{'descr': 'S0', 'fortran_order': False, 'shape': (99999999999, 999999, 3, 3)}",
    "axes": b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s)}" % (b"1," * 2_000),
    "unhashable": b"{[]: 1}",
    "many types": b"{'descr': '%s', 'fortran_order': False, 'shape': (1,)}" % b",".join([b"f4"] * 2_000),
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
}  # fmt: skip


def npy(header: bytes, data: bytes = bytes(36)) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n" + data


def patched(path: Path, content: bytes, *, method: int | None = None, encrypted: bool = False) -> None:
    """Write an archive of one array, said to be packed by another method, or with a password."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    data = bytearray(path.read_bytes())
    directory = data.find(b"PK\1\2")
    if encrypted:
        data[6], data[directory + 8] = 1, 1
    if method is not None:
        for place in (8, directory + 10):
            struct.pack_into("<H", data, place, method)
    path.write_bytes(data)
