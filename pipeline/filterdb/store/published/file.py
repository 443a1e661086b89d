"""A published CNN-Filter-DB file, read as it is by everything that reads a data set file."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.errors import CorruptDataError, NotADatasetError
from filterdb.store import attributes
from filterdb.store.guard import check_extent, refuse_unsafe
from filterdb.store.hashing import content_hash
from filterdb.store.published.columns import published_tables
from filterdb.store.published.fixed import read_fixed
from filterdb.store.published.table import read_table
from filterdb.store.reader import DatasetFile, open_hdf5, reading
from filterdb.store.tables import Tables
from filterdb.types import Filters, Kernel, RowRange

FORMAT: Final = "CNN-Filter-DB"
NAMES: Final = ("filters", "filter")
"""What the filters are called; where both names are there, they are one object."""

SUBSET: Final = "filterdb_subset"
"""The root attribute of a part that ``filterdb subset`` has written of such a file."""

SAMPLES: Final = 1_024
"""Places of the filters that make the identity of a file: evenly spread, first and last among them."""

SAMPLE_ROWS: Final = 64

_BLOCK_ROWS: Final = 1 << 15
_IDENTITY: Final = 1
_CACHE_SLOTS: Final = 521
_CACHE_BYTES: Final = 1 << 25
_scratch = threading.local()
_identities: dict[tuple[Path, int, int], str] = {}
"""What the identities of this process' files are, while they do not change."""


def open_dataset(path: Path | str) -> DatasetFile:
    """Open a data set file, ours or a published one.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    StoreError
        If it is neither, or not safe to read.
    """
    path = Path(path)
    with open_hdf5(path) as file, reading(path):
        ours = attributes.read_text(file, "format", where=path) is not None
        # Asked of the links, because asking the file would follow them.
        found = {name for name in (*NAMES, "models") if file.id.links.exists(name.encode())}
    # One of ours whose writer died has no attributes yet, but all its tables.
    return (
        PublishedFile(path)
        if found & set(NAMES) and "models" not in found and not ours
        else DatasetFile(path)
    )


class PublishedFile(DatasetFile):
    """A published file, open for reading with the tables, the types and the guards of our own.

    Parameters
    ----------
    path
        The file: ``/filters`` or ``/filter``, N x 9 or N x 3 x 3 of float32 or float64, and ``/meta``, a
        pandas frame in the fixed or the table layout.
    """

    checks: ClassVar[str] = (
        "every filter can be read, the records cover them all, and the counts fit; "
        "a published file holds no hashes, so that changed values cannot be told"
    )

    def _inspect(self) -> None:
        refuse_unsafe(self._file, self.path, aliases=NAMES)
        self._filter = _open_filters(self._file, self.path)
        self._layout = _layout(self._file, self.path)
        rows, *kernel = self._filter.shape
        self.attributes = {
            "format": FORMAT,
            "layout": f"{self._filter.name} {self._filter.dtype} {self._filter.shape}, /meta {self._layout}",
            "kernel": str(Kernel(*kernel)) if len(kernel) == 2 else "3x3",
            "n_filters": rows,
        }

    @property
    def content_hash(self) -> str:
        """The identity of the file: not of its content, all of which would take too long to read."""
        # Every batch of an analysis asks for it.
        stat = self.path.stat()
        key = (self.path.absolute(), stat.st_size, stat.st_mtime_ns)
        if key not in _identities:
            _identities[key] = self._identity(stat.st_size, stat.st_mtime_ns)
        return _identities[key]

    @cached_property
    def tables(self) -> Tables:
        """The table of the file in our words, with the models that it names."""
        with reading(self.path):
            return published_tables(self.read_meta(), n_filters=self.n_filters, where=self.path)

    def read_meta(self) -> pd.DataFrame:
        """Read the table in the words of the file, whose columns may hold objects of mixed kinds."""
        read = read_fixed if self._layout == "fixed" else read_table
        return read(self._file["meta"], where=self.path)

    @property
    def filters(self) -> h5py.Dataset:
        """The filters as they are stored."""
        return self._filter

    @property
    def is_part(self) -> bool:
        """Whether ``filterdb subset`` has written it, so that its models may lack records."""
        return attributes.read_text(self._file, SUBSET, where=self.path) is not None

    def _identity(self, size: int, modified: int) -> str:
        """Hash what is quickly had: size and time of change, the table, and filters at many places."""
        described = json.dumps([_IDENTITY, self.attributes, size, modified], sort_keys=True)
        digest = hashlib.sha256(described.encode())
        digest.update(content_hash({}, {"meta": self.tables.meta}).encode())
        buffer = np.empty((SAMPLE_ROWS, self.kernel.size), np.float32)
        starts = np.linspace(0, max(0, self.n_filters - SAMPLE_ROWS), SAMPLES).astype(np.int64)
        for start in np.unique(starts).tolist():
            rows = RowRange(start, min(start + SAMPLE_ROWS, self.n_filters))
            digest.update(np.ascontiguousarray(self.read(rows, buffer), "<f4").data)
        return digest.hexdigest()

    def _fill(self, rows: RowRange, target: Filters) -> None:
        """Read rows as float32, some at a time where they are stored otherwise."""
        shape = self._filter.shape[1:]
        if self._plain is not None:
            self._plain.fill(rows, target)
            return
        if self._filter.dtype == np.float32:
            self._filter.read_direct(target.reshape(len(rows), *shape), source_sel=np.s_[rows.slice])
            return
        scratch = _thread_scratch(shape)
        for start in range(0, len(rows), _BLOCK_ROWS):
            part = target[start : start + _BLOCK_ROWS].reshape(-1, *shape)
            begin = rows.start + start
            self._filter.read_direct(
                scratch, source_sel=np.s_[begin : begin + len(part)], dest_sel=np.s_[: len(part)]
            )
            # A weight beyond float32 becomes infinite, and is counted as such.
            with np.errstate(over="ignore"):
                np.copyto(part, scratch[: len(part)], casting="same_kind")


def _thread_scratch(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return memory for one block, the same for each call of a thread."""
    held: NDArray[np.float64] | None = getattr(_scratch, "rows", None)
    if held is None or held.shape[1:] != shape:
        held = _scratch.rows = np.empty((_BLOCK_ROWS, *shape), np.float64)
    return held


def _open_filters(file: h5py.File, path: Path) -> h5py.Dataset:
    # A name that links to the other one is no second object.
    names = [name for name in NAMES if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    found = [file[name] for name in names]
    if not found or not isinstance(found[0], h5py.Dataset):
        raise NotADatasetError("there are no /filters", where=path, expected="the filters of the data set")
    if any(other != found[0] for other in found[1:]):
        raise CorruptDataError("/filters and /filter are two objects", where=path, expected="one, or a link")
    dataset = found[0]
    fits = dataset.shape[1:] == (9,) or (dataset.ndim == 3 and 0 < max(dataset.shape[1:]) <= 1024)
    if dataset.dtype not in (np.dtype("<f4"), np.dtype("<f8")) or not fits or not dataset.size:
        raise CorruptDataError(
            f"{dataset.name} is {dataset.dtype} of shape {dataset.shape}",
            where=path,
            expected="float32 or float64 of shape (N, 9) or (N, 3, 3)",
        )
    check_extent(dataset, where=path)
    if dataset.compression is None:
        return dataset
    # HDF5's own cache is smaller than a chunk, and automatic chunks even split rows.
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    access.set_chunk_cache(_CACHE_SLOTS, max(_CACHE_BYTES, 2 * chunk), 1.0)
    return h5py.Dataset(h5py.h5d.open(file.id, names[0].encode(), access))


def _layout(file: h5py.File, path: Path) -> str:
    """Return which of pandas' layouts ``/meta`` has."""
    meta = file.get("meta")
    if isinstance(meta, h5py.Dataset):
        raise NotADatasetError(
            "/meta is CSV text: this is an early version of CNN-Filter-DB",
            where=path,
            expected="v0.1.0 or v1.0.0, in which /meta is a pandas frame",
            hint="download v1.0.0: https://doi.org/10.5281/zenodo.6371680",
        )
    if not isinstance(meta, h5py.Group):
        raise NotADatasetError("there is no /meta", where=path, expected="a pandas frame beside the filters")
    if isinstance(meta.get("table"), h5py.Dataset):
        return "table"
    if isinstance(meta.get("axis0"), h5py.Dataset):
        return "fixed"
    raise NotADatasetError(
        "/meta is no pandas frame", where=path, expected="the fixed or the table layout of DataFrame.to_hdf"
    )
