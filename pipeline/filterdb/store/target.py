"""Where the filters of a new data set file go: ``/filter``, as HDF5 lays it out.

Plain chunks are laid out by HDF5 and filled without it. The file is given all its room first, so that a full
disk is found out at once; then any number of threads write at once, which HDF5 could not do, and nothing
that the disk refuses can upset the library. The system is asked to carry what is written to the disk at once,
rather than when somebody waits for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import h5py
import numpy as np

from filterdb import schema
from filterdb.errors import CorruptDataError
from filterdb.store.plain import chunk_offsets
from filterdb.types import Filters, Kernel


class Target(ABC):
    """The ``/filter`` of a file that is being written; a context manager.

    Parameters
    ----------
    path
        The file; it exists already.
    rows
        How many filters there will be.
    kernel
        Their size.
    """

    def __init__(self, path: Path, rows: int, kernel: Kernel) -> None:
        self.path, self.rows, self.width = path, rows, kernel.size
        self.height = schema.chunk_rows(rows, kernel.size)
        self._given = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def parallel(self) -> bool:
        """Whether rows may come in any order and from several threads."""

    @abstractmethod
    def _put(self, row: int, block: Filters) -> None:
        """Store rows that are known to fit."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def write(self, row: int, block: Filters) -> None:
        """Store a block of filters.

        Parameters
        ----------
        row
            Where the block begins.
        block
            The filters; the caller may reuse their memory afterwards.
        """
        if block.ndim != 2 or block.shape[1] != self.width:
            raise CorruptDataError(
                f"filters of shape {block.shape} were given", where=self.path, expected=f"(n, {self.width})"
            )
        if row + len(block) > self.rows:
            raise CorruptDataError("more filters were given", where=self.path, expected=f"{self.rows:,}")
        self._put(row, np.ascontiguousarray(block, dtype="<f4"))
        with self._lock:
            self._given += len(block)

    def check_complete(self) -> None:
        """Make sure that as many filters were given as there must be."""
        if self._given != self.rows:
            raise CorruptDataError(
                f"{self._given:,} filters were given", where=self.path, expected=f"{self.rows:,}"
            )


class PlainTarget(Target):
    """Chunks without compression, filled by plain writes in any order."""

    parallel = True

    def __init__(self, path: Path, rows: int, kernel: Kernel) -> None:
        super().__init__(path, rows, kernel)
        with h5py.File(path, "r+") as file:
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            dataset = _create(file, self, dcpl=layout)
            offsets = chunk_offsets(dataset)
        if offsets is None:
            raise CorruptDataError("HDF5 has given no room to some chunks", where=path)
        self._offsets = offsets
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        end = max(self._offsets) + self.height * self.width * 4
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._handle, 0, end)
            except BaseException:
                os.close(self._handle)
                raise

    def _put(self, row: int, block: Filters) -> None:
        done = 0
        while done < len(block):
            chunk, inside = divmod(row + done, self.height)
            part = block[done : done + self.height - inside]
            offset, view = self._offsets[chunk] + inside * self.width * 4, part.data.cast("B")
            _write(self._handle, view, offset)
            done += len(part)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


class CompressedTarget(Target):
    """Compressed chunks, through HDF5: rows must come in order, so that no chunk is compressed twice."""

    parallel = False

    def __init__(self, path: Path, rows: int, kernel: Kernel) -> None:
        super().__init__(path, rows, kernel)
        self._file = h5py.File(path, "r+")
        self._dataset = _create(self._file, self, compression="gzip", shuffle=True)
        self._buffer = np.empty((self.height, self.width), dtype="<f4")
        self._row = self._used = 0

    def _put(self, row: int, block: Filters) -> None:
        if row != self._row + self._used:
            raise ValueError(f"row {row} was given, expected {self._row + self._used}")
        done = 0
        while done < len(block):
            taken = min(len(block) - done, self.height - self._used)
            self._buffer[self._used : self._used + taken] = block[done : done + taken]
            self._used, done = self._used + taken, done + taken
            if self._used == self.height or self._row + self._used == self.rows:
                self._dataset[self._row : self._row + self._used] = self._buffer[: self._used]
                self._row, self._used = self._row + self._used, 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _create(file: h5py.File, target: Target, **options: object) -> h5py.Dataset:
    return file.create_dataset(
        "filter",
        shape=(target.rows, target.width),
        dtype="<f4",
        # Chunks hold whole filters; h5py's own guess would split them.
        chunks=(target.height, target.width),
        track_times=False,
        **options,
    )


def _write(handle: int, view: memoryview, offset: int) -> None:
    start, length = offset, len(view)
    while view:
        written = os.pwrite(handle, view, offset)
        offset, view = offset + written, view[written:]
    # A hint; what is not carried to the disk now will be when the file is synchronized.
    with contextlib.suppress(AttributeError):
        _LIBC.sync_file_range(handle, ctypes.c_int64(start), ctypes.c_int64(length), _START_WRITING)


_LIBC = ctypes.CDLL(None)
_START_WRITING: Final = 2
"""SYNC_FILE_RANGE_WRITE: begin to write, wait for nothing."""
