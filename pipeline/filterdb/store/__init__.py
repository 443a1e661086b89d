"""The data set file: the only home of HDF5.

:func:`write_dataset` makes one, :func:`open_dataset` reads one, ours or a published one, and
:func:`verify` checks one; ``docs/file-format.md`` says what is inside.
"""

from __future__ import annotations

from filterdb.store.hashing import filters_sha256
from filterdb.store.published import PublishedFile, PublishedPart, open_dataset
from filterdb.store.reader import DatasetFile
from filterdb.store.tables import Tables, ZooEntry, build_tables, read_records
from filterdb.store.target import Target
from filterdb.store.verify import verify
from filterdb.store.writer import write_dataset

__all__ = [
    "DatasetFile",
    "PublishedFile",
    "PublishedPart",
    "Tables",
    "Target",
    "ZooEntry",
    "build_tables",
    "filters_sha256",
    "open_dataset",
    "read_records",
    "verify",
    "write_dataset",
]
