"""One model's filters and record as one file that is either complete or absent.

Layout: the filters as little-endian float32, then the record as JSON in UTF-8, then a footer of 48 bytes:
the length of the JSON, its SHA-256, and a mark. The record comes last because it is known last: filters are
written layer by layer while the model is read, so that no more than one layer is ever in memory.

The file's name appears in one step, but nothing waits for the disk: after a power cut a shard may be whole
in name only. :func:`is_intact` tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np

from filterdb.errors import OutputError
from filterdb.types import Filters, ModelRecord, Origin

_FOOTER: Final = struct.Struct("<Q32s8s")
_MARK: Final = b"fdbshrd2"
_BLOCK: Final = 1 << 20


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
            raise cannot_write(self._temporary, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What a full disk does not take is still in the buffer, and closing tries again.
        try:
            self._file.close()
        except OSError as problem:
            if kind is None:
                raise cannot_write(self._path, problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, filters: Filters, _origin: Origin | None = None) -> None:
        """Append one layer's filters."""
        try:
            self._file.write(np.ascontiguousarray(filters, dtype="<f4").data)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def finish(self, record: ModelRecord) -> None:
        """Append the record and move the file to its name."""
        text = json.dumps(record.to_json(), sort_keys=True).encode()
        try:
            self._file.write(text)
            self._file.write(_FOOTER.pack(len(text), hashlib.sha256(text).digest(), _MARK))
            self._file.close()
            self._temporary.replace(self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error


def read_record(path: Path) -> ModelRecord | None:
    """Return the record of a shard, or nothing if the file is not a whole shard.

    Parameters
    ----------
    path
        The shard.
    """
    try:
        with path.open("rb") as file:
            return _read_record(file)
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return None


def _read_record(file: BinaryIO) -> ModelRecord | None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _FOOTER.size, 0))
    length, digest, mark = _FOOTER.unpack(file.read())
    if mark != _MARK or length > size - _FOOTER.size:
        return None
    file.seek(size - _FOOTER.size - length)
    text = file.read(length)
    return ModelRecord.from_json(json.loads(text)) if hashlib.sha256(text).digest() == digest else None


def is_intact(path: Path, width: int) -> bool:
    """Tell whether every byte of a shard is as it was written.

    Parameters
    ----------
    path
        The shard; it may be missing.
    width
        Values of one filter.
    """
    record = read_record(path)
    if record is None:
        return False
    try:
        with path.open("rb") as file:
            return all(
                _sha256(file, 4 * width * layer.n_filters) == layer.weights_sha256 for layer in record.layers
            )
    except OSError:
        return False


def _sha256(file: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    while length and (block := file.read(min(length, _BLOCK))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def read_filters(path: Path, rows: int, buffer: Filters, *, start: int = 0) -> Iterator[Filters]:
    """Iterate over the filters of a shard in blocks that share one buffer.

    Parameters
    ----------
    path
        The shard.
    rows
        How many filters to read.
    buffer
        Where blocks are read to; its height is the height of a block.
    start
        The first of them.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(start * buffer.shape[1] * buffer.itemsize)
        for row in range(0, rows, len(buffer)):
            block = buffer[: min(len(buffer), rows - row)]
            view = block.data.cast("B")
            while view:
                got = file.readinto(view)
                if not got:
                    raise OutputError("a staged file has become shorter", where=path, hint="run again")
                view = view[got:]
            yield block


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return what to raise where the operating system would not take what is written."""
    return OutputError(
        f"cannot write: {error.strerror}", where=path.parent, hint="free some space, and run again"
    )
