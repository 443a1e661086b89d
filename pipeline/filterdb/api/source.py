"""The filters behind a :class:`FilterDB`: a file that is opened when needed, and rows of it as one array."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import StoreError, UsageError
from filterdb.store import DatasetFile, open_dataset
from filterdb.types import Filters, RowRange

_ROOM: Final = 0.9
"""Share of the free memory that one array may take."""


class Source:
    """A data set file that travels: where it arrives, it is opened anew, if it still is the same one.

    Threads may share it; HDF5 lets one of them read at a time.

    Parameters
    ----------
    path
        The file.
    identity
        What it has to be: :attr:`identity` of the file that was opened first. It is opened at once where
        none is given, and else when it is needed.
    """

    def __init__(self, path: str | os.PathLike[str], identity: str | None = None) -> None:
        self.path = Path(path)
        self._absolute = self.path.absolute()
        self._lock = threading.RLock()
        self._file: DatasetFile | None = None
        self._closed = False
        if identity is None:
            self._file = open_dataset(self.path)
            identity = _identity(self._file)
        self.identity = identity

    def __reduce__(self) -> tuple[Any, ...]:
        return (Source, (self._absolute, self.identity))

    def __dask_tokenize__(self) -> tuple[str, str]:
        return (str(self._absolute), self.identity)

    @property
    def file(self) -> DatasetFile:
        """The open file."""
        with self._lock:
            if self._closed:
                raise UsageError(
                    "the data set file was closed", where=self.path, hint="open it again: filterdb.open(...)"
                )
            if self._file is None:
                self._file = self._reopened()
            return self._file

    def close(self) -> None:
        """Close the file, for good."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def _reopened(self) -> DatasetFile:
        file = open_dataset(self._absolute)
        if _identity(file) == self.identity:
            return file
        file.close()
        raise StoreError(
            "the data set file is not the one that was opened: it was replaced or has changed",
            where=self._absolute,
            expected="the file that the FilterDB was made of",
            hint="open it again: filterdb.open(...)",
        )


def _identity(file: DatasetFile) -> str:
    """Return what tells a file from others without reading it: published files state no content hash."""
    stated = file.attributes.get("content_hash")
    if stated is not None:
        return str(stated)
    state = file.path.stat()
    return f"{state.st_size} bytes, changed at {state.st_mtime_ns}"


class FilterRows:
    """Rows of ``/filter`` in any order as one array of two dimensions, of which slices are read on demand.

    Parameters
    ----------
    source
        The file.
    starts, stops
        The ranges of rows, one after the other.
    """

    ndim: Final = 2
    dtype: Final = np.dtype(np.float32)

    def __init__(self, source: Source, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        begins = np.ones(len(starts), bool)
        begins[1:] = starts[1:] != stops[:-1]
        first = np.flatnonzero(begins)
        self._source, self._starts = source, starts[first]
        self._stops = stops[np.append(first[1:], len(stops)) - 1] if len(stops) else stops
        self._offsets = np.concatenate([[0], np.cumsum(self._stops - self._starts)]).astype(np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return (FilterRows, (self._source, self._starts, self._stops))

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("filterdb rows", self.token)

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @property
    def width(self) -> int:
        """Values of one filter."""
        return self._source.file.kernel.size

    @property
    def shape(self) -> tuple[int, int]:
        """How many filters of how many values."""
        return (len(self), self.width)

    @property
    def token(self) -> str:
        """A hash of what the rows hold."""
        digest = hashlib.sha256(self._source.identity.encode())
        digest.update(self._starts.tobytes() + self._stops.tobytes())
        return digest.hexdigest()[:32]

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        if not isinstance(rows, slice):
            raise TypeError(f"rows are read by slices, not by {type(rows).__name__}")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise TypeError("rows are read by slices without a step")
        found = self.read(start, max(start, stop))
        return found[(slice(None), *columns)]

    def read(self, start: int, stop: int) -> Filters:
        """Read some of the rows, by their places in this array.

        Parameters
        ----------
        start, stop
            The first, and the one after the last.
        """
        out = np.empty((stop - start, self.width), np.float32)
        file, row = self._source.file, start
        part = int(np.searchsorted(self._offsets, start, side="right")) - 1
        while row < stop:
            begin = int(self._starts[part]) + row - int(self._offsets[part])
            end = min(int(self._stops[part]), begin + stop - row)
            file.read(RowRange(begin, end), out[row - start :])
            row += end - begin
            part += 1
        return out

    def require_room(self) -> None:
        """Refuse to read more than the memory holds, because the system would end the process instead."""
        import psutil

        needed, free = len(self) * self.width * self.dtype.itemsize, psutil.virtual_memory().available
        if needed > free * _ROOM:
            raise UsageError(
                f"{len(self):,} filters take {needed / 1e9:,.1f} GB of memory",
                where=self._source.path,
                expected=f"no more than the {free / 1e9:,.1f} GB that are free",
                hint="filters_dask() reads them in parts; select() chooses some",
            )
