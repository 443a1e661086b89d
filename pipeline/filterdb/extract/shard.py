"""One model's filters and record as one file that is either complete or absent.

Layout: the filters as little-endian float32, then the record as JSON in UTF-8, then a footer of sixteen
bytes: the length of the JSON and a mark. The record comes last because it is known last: filters are
written layer by layer while the model is read, so that no more than one layer is ever in memory.
"""

from __future__ import annotations

import json
import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from filterdb.errors import OutputError
from filterdb.types import Filters, ModelRecord

_FOOTER: Final = struct.Struct("<Q8s")
_MARK: Final = b"fdbshrd1"


class ShardWriter:
    """Collect the filters of one model; the file appears under its name when it is finished.

    Parameters
    ----------
    path
        The shard's name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            self._file = self._temporary.open("wb")
        except OSError as error:
            raise _cannot_write(self._temporary, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, filters: Filters) -> None:
        """Append one layer's filters."""
        try:
            self._file.write(np.ascontiguousarray(filters, dtype="<f4").data)
        except OSError as error:
            raise _cannot_write(self._temporary, error) from error

    def finish(self, record: ModelRecord) -> None:
        """Append the record and move the file to its name."""
        text = json.dumps(record.to_json(), sort_keys=True).encode()
        try:
            self._file.write(text)
            self._file.write(_FOOTER.pack(len(text), _MARK))
            self._file.close()
            self._temporary.replace(self._path)
        except OSError as error:
            raise _cannot_write(self._path, error) from error


def read_record(path: Path) -> ModelRecord | None:
    """Return the record of a shard, or nothing if the file is not a whole shard.

    Parameters
    ----------
    path
        The shard.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _FOOTER.size, 0))
            length, mark = _FOOTER.unpack(file.read())
            if mark != _MARK or length > size - _FOOTER.size:
                return None
            file.seek(size - _FOOTER.size - length)
            return ModelRecord.from_json(json.loads(file.read(length)))
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return None


def read_filters(path: Path, rows: int, buffer: Filters) -> Iterator[Filters]:
    """Iterate over the filters of a shard in blocks that share one buffer.

    Parameters
    ----------
    path
        The shard.
    rows
        How many filters it holds.
    buffer
        Where blocks are read to; its height is the height of a block.
    """
    with path.open("rb", buffering=0) as file:
        for start in range(0, rows, len(buffer)):
            block = buffer[: min(len(buffer), rows - start)]
            view = block.data.cast("B")
            while view:
                got = file.readinto(view)
                if not got:
                    raise OutputError("a staged file has become shorter", where=path, hint="run again")
                view = view[got:]
            yield block


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write: {error.strerror}", where=path, hint="free some space, and run again")
