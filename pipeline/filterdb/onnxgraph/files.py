"""Files as read-only memory, and only files that an honest model would name."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ExternalDataError, ModelError, NotAModelError, UnsafeModelError
from filterdb.onnxgraph.text import clean
from filterdb.types import FileStamp, Origin

_CHUNK = 1 << 24
# A pipe or a device must neither hang the open nor be read.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_REFUSED = b"refused"


class MappedFile:
    """A regular file, mapped; its pages are given back once they have been read.

    Parameters
    ----------
    handle
        An open file descriptor, closed here.
    info
        What the system knows of it.
    """

    def __init__(self, handle: int, info: os.stat_result) -> None:
        self.stamp, size = FileStamp.of(info), info.st_size
        try:
            self._map = mmap.mmap(handle, size, access=mmap.ACCESS_READ) if size else None
        except (OSError, OverflowError) as error:
            raise ModelError(f"a file of {size} bytes cannot be mapped into memory: {error}") from error
        finally:
            os.close(handle)
        self.view = memoryview(self._map if self._map is not None else b"")
        self.size = size

    def release(self, start: int = 0, length: int | None = None) -> None:
        """Let the system drop pages that are not needed any more, so that resident memory stays flat."""
        if self._map is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        last = self.size if length is None else min(self.size, start + length)
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def offset_of(self, array: NDArray[Any]) -> int | None:
        """Return where an array's memory begins in the file, or nothing where it is not part of it."""
        if not self.size or not array.size:
            return None
        offset = array.ctypes.data - np.frombuffer(self.view, np.uint8).ctypes.data
        return int(offset) if 0 <= offset <= self.size - array.nbytes else None

    def sha256(self) -> bytes:
        """Return the digest of the whole file."""
        digest = hashlib.sha256()
        for start in range(0, self.size, _CHUNK):
            digest.update(self.view[start : start + _CHUNK])
            self.release(start, _CHUNK)
        return digest.digest()


def open_file(path: Path, *, limit: int) -> MappedFile:
    """Map a model file, after making sure that it is one to read."""
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        raise _cannot_open(path, error) from error
    info = os.fstat(handle)
    problem = _not_regular(info)
    if problem is None and info.st_size == 0:
        problem = "the file is empty"
    if problem is None and info.st_size > limit:
        problem = f"the file has {info.st_size} bytes, more than the limit of {limit}"
    if problem is not None:
        os.close(handle)
        raise NotAModelError(problem, where=path, expected="an ONNX model")
    return MappedFile(handle, info)


def _cannot_open(path: Path, error: OSError) -> ModelError:
    if isinstance(error, FileNotFoundError):
        return NotAModelError("there is no such file", where=path, expected="an ONNX model")
    if isinstance(error, PermissionError):
        return ModelError(
            "the file may not be read", where=path, expected="read permission", hint=f"chmod +r {path}"
        )
    return ModelError(f"the file cannot be opened: {error.strerror}", where=path)


def _not_regular(info: os.stat_result) -> str | None:
    if stat.S_ISDIR(info.st_mode):
        return "this is a folder"
    if not stat.S_ISREG(info.st_mode):
        return "this is a device or a pipe, not a regular file"
    return None


class ExternalFiles:
    """The files beside a model that its weights may be kept in.

    Parameters
    ----------
    folder
        The only folder they may be in, however deep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, MappedFile | ModelError] = {}

    def file(self, location: str) -> MappedFile:
        """Return the file, or raise what is wrong with it, every time."""
        # A file has many names: a, ./a, .//a. Each would be mapped, and hashed.
        name = str(PurePosixPath(location))
        if name not in self._files:
            try:
                self._files[name] = self._open(location)
            except ModelError as error:
                self._files[name] = error
        found = self._files[name]
        if isinstance(found, ModelError):
            raise found.with_traceback(None)
        return found

    def read(self, location: str, offset: int, length: int) -> memoryview:
        """Return a part of a file.

        Raises
        ------
        ExternalDataError
            If the file is missing, or ends before the part does.
        UnsafeModelError
            If the location is none that an honest model has.
        """
        file = self.file(location)
        if offset < 0 or length < 0 or offset + length > file.size:
            raise ExternalDataError(
                f"external data {clean(location, 100)!r} has {file.size} bytes, but a tensor is said to have"
                f" {length} bytes at offset {offset}",
                expected="the file that the model was saved with",
            )
        return file.view[offset : offset + length]

    def stamps(self) -> Iterator[tuple[str, FileStamp]]:
        """Yield the state of each file that was opened."""
        for location, file in self._files.items():
            if isinstance(file, MappedFile):
                yield location, file.stamp

    def origin_of(self, array: NDArray[Any]) -> Origin | None:
        """Return where an array's memory lies in these files, or nothing where it is not part of them."""
        for location, file in self._files.items():
            if isinstance(file, MappedFile) and (offset := file.offset_of(array)) is not None:
                return Origin(location, offset)
        return None

    def release(self) -> None:
        """Let the system drop what was read of the files."""
        for file in self._files.values():
            if isinstance(file, MappedFile):
                file.release()

    def _open(self, location: str) -> MappedFile:
        parts = _safe_parts(location)
        folder = None
        try:
            folder = os.open(self.folder, _FLAGS | os.O_DIRECTORY)
            for part in parts[:-1]:
                inner = os.open(part, _FLAGS | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            handle = os.open(parts[-1], _FLAGS | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            raise _external_error(location, parts, folder, error) from error
        finally:
            if folder is not None:
                os.close(folder)
        info = os.fstat(handle)
        problem = _not_regular(info)
        if problem is None and info.st_nlink > 1:
            problem = f"the file has {info.st_nlink} names (hard links)"
        if problem is not None:
            os.close(handle)
            raise _unsafe(location, problem)
        return MappedFile(handle, info)


def identity(model: MappedFile, external: ExternalFiles, locations: Iterable[str]) -> tuple[str, int]:
    """Return the hash and the bytes of a model with everything that it refers to.

    Parameters
    ----------
    model
        The model file.
    external
        The files beside it.
    locations
        What the model refers to; one that cannot be opened counts as a fixed mark.
    """
    own, size = model.sha256(), model.size
    names = sorted(set(locations))
    if not names:
        return own.hex(), size
    digest, marks = hashlib.sha256(own), dict[MappedFile, bytes]()
    for name in names:
        mark = _REFUSED
        try:
            file = external.file(name)
        except ModelError:
            pass
        else:
            if file not in marks:
                marks[file], size = file.sha256(), size + file.size
            mark = marks[file]
        encoded = name.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded + len(mark).to_bytes(8, "little") + mark)
    return digest.hexdigest(), size


def _safe_parts(location: str) -> tuple[str, ...]:
    parts = PurePosixPath(location).parts
    if not parts or "\0" in location:
        raise _unsafe(location, "the location is no file name")
    if location.startswith(("/", "\\")) or parts[0][1:2] == ":":
        raise _unsafe(location, "the location is an absolute path")
    if ".." in parts or "\\" in location:
        raise _unsafe(location, "the location leads out of the model's folder")
    return parts


def _unsafe(location: str, problem: str) -> UnsafeModelError:
    return UnsafeModelError(
        f"external data {clean(location, 100)!r} is refused: {problem}",
        expected="a regular file of its own in the model's folder",
    )


def _external_error(location: str, parts: tuple[str, ...], folder: int | None, error: OSError) -> ModelError:
    # O_NOFOLLOW says ELOOP, and with O_DIRECTORY ENOTDIR: look whether a link is what it stumbled over.
    for part in parts:
        try:
            if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                return _unsafe(location, "the location is a symbolic link")
        except (OSError, ValueError):
            continue
    if isinstance(error, FileNotFoundError):
        return ExternalDataError(
            f"external data {clean(location, 100)!r} is missing", expected="the file beside the model"
        )
    return ExternalDataError(f"external data {clean(location, 100)!r} cannot be opened: {error.strerror}")
