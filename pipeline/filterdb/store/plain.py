"""Rows that lie in a file as they are in memory: HDF5 says where, and the system reads them.

HDF5 lets one thread in at a time, and takes twice as long for it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import h5py
import numpy as np

from filterdb.types import Filters, RowRange


def chunk_offsets(dataset: h5py.Dataset) -> list[int] | None:
    """Return where the file holds each chunk of whole rows; nothing where it does not hold them as they are.

    Parameters
    ----------
    dataset
        A chunked data set.
    """
    if dataset.chunks[1:] != dataset.shape[1:]:
        return None
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    found: dict[int, int] = {}

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.size == size and not chunk.filter_mask:
            found[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    starts = range(0, dataset.shape[0], dataset.chunks[0])
    return [found[start] for start in starts] if len(found) == len(starts) else None


class Handle:
    """An open file that stays open until the last one who reads from it is done.

    HDF5's own is gone at once when the file is closed, and its number may be another file's then.

    Parameters
    ----------
    number
        A number for it of its own, as ``os.dup`` gives one.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Reads rows of float32 past HDF5, in any number of threads at once.

    Parameters
    ----------
    handle
        The file.
    offsets
        Where each chunk begins.
    height
        Rows of a chunk.
    width
        Values of a row.
    """

    handle: Handle
    offsets: Sequence[int]
    height: int
    width: int

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> Self | None:
        """Return a reader of a data set, or nothing where only HDF5 can read it.

        Parameters
        ----------
        dataset
            Rows of numbers.
        """
        file, layout = dataset.file, dataset.id.get_create_plist()
        plain = layout.get_nfilters() == 0 and dataset.dtype == np.dtype("=f4") == np.dtype("<f4")
        if not (plain and file.driver == "sec2" and not file.userblock_size and hasattr(os, "preadv")):
            return None
        offsets, height = _layout(dataset)
        if offsets is None:
            return None
        return cls(Handle(os.dup(file.id.get_vfd_handle())), offsets, height, math.prod(dataset.shape[1:]))

    def fill(self, rows: RowRange, target: Filters) -> None:
        """Read rows that exist into memory that holds as many.

        Raises
        ------
        EOFError
            If the file ends before them.
        """
        row_bytes, row = 4 * self.width, rows.start
        view = target.data.cast("B")
        while row < rows.stop:
            chunk, inside = divmod(row, self.height)
            count = min(self.height - inside, rows.stop - row)
            begin = (row - rows.start) * row_bytes
            part = view[begin : begin + count * row_bytes]
            self._read(part, self.offsets[chunk] + inside * row_bytes)
            row += count

    def _read(self, view: memoryview, offset: int) -> None:
        while view:
            got = os.preadv(self.handle.number, [view], offset)
            if not got:
                raise EOFError("it ends before its filters do")
            offset, view = offset + got, view[got:]


def _layout(dataset: h5py.Dataset) -> tuple[list[int] | None, int]:
    """Return where parts of whole rows begin, and how many rows a part has."""
    if dataset.chunks is not None:
        return chunk_offsets(dataset), dataset.chunks[0]
    begin = dataset.id.get_offset()
    return (None if begin is None else [begin]), dataset.shape[0]
