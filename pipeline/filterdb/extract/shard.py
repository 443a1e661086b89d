"""One model's filters and record as one file that is either complete or absent.

Layout: filters as little-endian float32, then the record as JSON in UTF-8, then a footer of 48 bytes: the
length of the JSON, its SHA-256, and a mark. The record comes last because it is known last: filters are
written layer by layer while the model is read, so that no more than one layer is ever in memory.

Plain float32 weights, nearly all there are, lie in the model's own files just as a data set holds them. They
are not copied: the record says where they are, and the model's identity that they are still the same.

The file's name appears in one step, but nothing waits for the disk: after a power cut a shard may be whole
in name only. :meth:`Shard.is_intact` tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np

from filterdb.errors import OutputError
from filterdb.types import Filters, ModelRecord, Origin

_FOOTER: Final = struct.Struct("<Q32s8s")
_MARK: Final = b"fdbshrd3"
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
        self._origins: list[Origin | None] = []
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

    def add(self, filters: Filters, origin: Origin | None = None) -> None:
        """Append one layer's filters, or note where they lie.

        Parameters
        ----------
        filters
            The filters.
        origin
            Where they lie in the model's files just so; with it, nothing is copied.
        """
        self._origins.append(origin)
        if origin is not None:
            return
        try:
            self._file.write(np.ascontiguousarray(filters, dtype="<f4").data)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def finish(self, record: ModelRecord) -> None:
        """Append the record and move the file to its name."""
        origins = [None if origin is None else (origin.location, origin.offset) for origin in self._origins]
        text = json.dumps({"record": record.to_json(), "origins": origins}).encode()
        try:
            self._file.write(text)
            self._file.write(_FOOTER.pack(len(text), hashlib.sha256(text).digest(), _MARK))
            self._file.close()
            self._temporary.replace(self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error


@dataclass(frozen=True, slots=True)
class Shard:
    """A whole shard: a model's record, and where the filters of each layer are.

    Parameters
    ----------
    path
        The shard.
    record
        What the model holds.
    origins
        For each layer where its filters lie in the model's own files; ``None`` where they are staged.
    """

    path: Path
    record: ModelRecord
    origins: tuple[Origin | None, ...]

    @classmethod
    def open(cls, path: Path) -> Shard | None:
        """Return a shard, or nothing if the file is not a whole one."""
        try:
            with path.open("rb") as file:
                found = _read_footer(file)
            if found is None:
                return None
            record = ModelRecord.from_json(found["record"])
            origins = tuple(None if origin is None else Origin(*origin) for origin in found["origins"])
            return cls(path, record, origins) if len(origins) == len(record.layers) else None
        except (OSError, ValueError, struct.error, KeyError, TypeError):
            return None

    def is_intact(self, width: int) -> bool:
        """Tell whether every staged byte is as it was written.

        Parameters
        ----------
        width
            Values of one filter.
        """
        try:
            with self.path.open("rb") as file:
                return all(
                    _sha256(file, 4 * width * layer.n_filters) == layer.weights_sha256
                    for layer, origin in zip(self.record.layers, self.origins, strict=True)
                    if origin is None
                )
        except OSError:
            return False

    def filters(self, model: Path, buffer: Filters, layers: range | None = None) -> Iterator[Filters]:
        """Iterate over filters in blocks that share one buffer.

        Parameters
        ----------
        model
            The model that was staged, for the filters that were left where they are.
        buffer
            Where blocks are read to; its height is the height of a block.
        layers
            Places of the layers to read; all where not given.
        """
        row_bytes = buffer.shape[1] * buffer.itemsize
        staged = 0
        with ExitStack() as stack:
            files: dict[Path, FileIO] = {}
            for place, (layer, origin) in enumerate(zip(self.record.layers, self.origins, strict=True)):
                path = self.path if origin is None else _place(model, origin)
                offset = staged if origin is None else origin.offset
                staged += layer.n_filters * row_bytes if origin is None else 0
                if layers is not None and place not in layers:
                    continue
                if path not in files:
                    files[path] = stack.enter_context(FileIO(path))
                files[path].seek(offset)
                yield from _blocks(files[path], layer.n_filters, buffer)


def _place(model: Path, origin: Origin) -> Path:
    return model.parent / origin.location if origin.location else model


def _blocks(file: FileIO, rows: int, buffer: Filters) -> Iterator[Filters]:
    for row in range(0, rows, len(buffer)):
        block = buffer[: min(len(buffer), rows - row)]
        view = block.data.cast("B")
        while view:
            got = file.readinto(view)
            if not got:
                raise OutputError("a file has become shorter", where=file.name, hint="run again")
            view = view[got:]
        yield block


def _read_footer(file: BinaryIO) -> dict[str, Any] | None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _FOOTER.size, 0))
    length, digest, mark = _FOOTER.unpack(file.read())
    if mark != _MARK or length > size - _FOOTER.size:
        return None
    file.seek(size - _FOOTER.size - length)
    text = file.read(length)
    found: dict[str, Any] = json.loads(text)
    return found if hashlib.sha256(text).digest() == digest else None


def _sha256(file: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    while length and (block := file.read(min(length, _BLOCK))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return what to raise where the operating system would not take what is written."""
    return OutputError(
        f"cannot write: {error.strerror}", where=path.parent, hint="free some space, and run again"
    )
