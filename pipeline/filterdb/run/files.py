"""Outputs that are complete or absent, and folders that one run has for itself."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from filterdb.errors import OutputError
from filterdb.opening import open_regular

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_HERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
LOCK = "lock"
_ATTEMPTS: Final = 1_000
_MAX_JSON: Final = 1 << 28
_HDF5_ERRNO = re.compile(r"errno = (\d+)")


_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a full or read-only disk into a message."""
    try:
        yield
    except OSError as error:
        raise _refused(path, error.errno or _hdf5_errno(error), error) from error
    except RuntimeError as error:
        # So h5py and PyTables pass on what the operating system told HDF5.
        if not (number := _hdf5_errno(error)):
            raise
        raise _refused(path, number, error) from error


def _hdf5_errno(error: Exception) -> int:
    match = _HDF5_ERRNO.search(str(error))
    return int(match[1]) if match else 0


def _refused(path: Path, number: int, error: Exception) -> OutputError:
    if number in _FULL:
        return OutputError(
            f"the disk is full: {os.strerror(number)}",
            where=path,
            hint="free some space, and run the same command again",
        )
    if number in _NOT_HERE:
        return OutputError(
            f"cannot write here: {os.strerror(number)}", where=path, hint="choose another --out"
        )
    return OutputError(f"cannot write: {error}", where=path)


def require_place(path: Path) -> None:
    """Make the folder that a file goes to, and refuse what can never become the file.

    Parameters
    ----------
    path
        The file that is going to be written.
    """
    if path.is_dir():
        raise OutputError("this is a folder", where=path, expected="the name of a file")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def sync_and_move(temporary: Path, path: Path) -> None:
    """Make a finished file appear under its name, for good even if the machine stops now.

    Parameters
    ----------
    temporary
        The finished file, on the same file system.
    path
        Its name.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make the content of a file, or the renames within a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file in one step."""
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        temporary.write_text(json.dumps(data, indent=2, sort_keys=True, default=str) + "\n", "utf-8")
        sync_and_move(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours; one that is missing or damaged counts as empty."""
    try:
        with open_regular(path) as file:
            text = file.read(_MAX_JSON + 1)
        data = json.loads(text.decode("utf-8")) if len(text) <= _MAX_JSON else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


@contextlib.contextmanager
def exclusive_folder(folder: Path, *, purpose: str) -> Iterator[Path]:
    """Hold a working folder that no other run may use at the same time.

    The folder outlives an interrupted run, which is how the next one resumes; :func:`discard` removes it.

    Parameters
    ----------
    folder
        The folder, made where it is missing.
    purpose
        What is written, for the message to a second run.
    """
    lock = folder / LOCK
    # A run that has just finished may remove the folder at any step of ours.
    for _ in range(_ATTEMPTS):
        if (handle := _open_lock(lock)) is not None and _is_held(handle, lock, purpose):
            break
    else:
        # Some places deny that a folder was made, or forget it at once.
        raise OutputError("no folder can be made here", where=folder, hint="choose another --out")
    try:
        yield folder
    finally:
        _remove_empty(folder, handle)
        os.close(handle)


def _remove_empty(folder: Path, handle: int) -> None:
    """Remove a folder that this run still holds and that holds nothing: who ends early leaves none."""
    with contextlib.suppress(OSError):
        lock = folder / LOCK
        if os.path.samestat(os.fstat(handle), lock.stat()) and [*folder.iterdir()] == [lock]:
            discard(folder)


def _open_lock(lock: Path) -> int | None:
    folder = lock.parent
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            return None
        except FileExistsError:
            if folder.is_file():
                raise
            return None


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a name to write to; what is there when the block ends appears in its place, in one step.

    Parameters
    ----------
    path
        The place. If the block fails, or is killed, it stays as it was.

    Raises
    ------
    OutputError
        If nothing can be written there, or another run does.
    """
    folder = path.with_name(f".{path.name}.staging")
    with exclusive_folder(folder, purpose=str(path)), writing(path):
        temporary = folder / f"new{path.suffix}"
        try:
            yield temporary
            sync_and_move(temporary, path)
        finally:
            discard(folder)


def _is_held(handle: int, lock: Path, purpose: str) -> bool:
    """Lock a file, and tell whether it still is the one that others see."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), lock.stat()):
            return True
    except FileNotFoundError:
        pass
    except BlockingIOError:
        os.close(handle)
        raise OutputError(
            f"another run is writing {purpose}",
            where=lock.parent,
            hint="wait for it, or choose another --out",
        ) from None
    except OSError as error:
        os.close(handle)
        raise OutputError(
            f"the file system cannot lock files: {error.strerror}",
            where=lock.parent,
            hint="choose another --out",
        ) from error
    os.close(handle)
    return False


def replace_folder(new: Path, path: Path) -> None:
    """Put a finished folder in the place of another; whoever looks sees the old one or the new one, whole.

    Parameters
    ----------
    new
        The finished folder, on the same file system.
    path
        The place, which may be free.
    """
    with writing(path):
        for entry in (*new.rglob("*"), new):
            sync(entry)
        if path.exists():
            _exchange(new, path)
            discard(new)
        else:
            new.rename(path)
        sync(path.parent)


def _exchange(a: Path, b: Path) -> None:
    """Swap two names in one step where the system can, in two where it cannot."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
            return
    aside = b.with_name(f".{b.name}.old")
    discard(aside)
    b.rename(aside)
    a.rename(b)
    aside.rename(a)


def refuse_foreign(folder: Path, patterns: Sequence[str]) -> None:
    """Refuse a working folder that holds anything but ours: it will be removed.

    Parameters
    ----------
    folder
        The folder, which this run holds.
    patterns
        What it may hold.
    """
    for path in sorted(folder.iterdir()):
        if not any(fnmatchcase(path.name, pattern) for pattern in (*patterns, LOCK)):
            raise OutputError(
                f"the working folder holds what filterdb has not written: {path.name!r}",
                where=folder,
                hint="move it elsewhere, or name another --out",
            )


def discard(folder: Path) -> None:
    """Remove a working folder that this run holds."""
    with contextlib.suppress(OSError):
        discard_content(folder)
        # Last, and only then the lock: a run that begins meanwhile must lose nothing of its own.
        (folder / LOCK).unlink()
        folder.rmdir()


def discard_content(folder: Path) -> None:
    """Empty a working folder that this run holds."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_temporary(folder: Path) -> None:
    """Remove what an interrupted run left half-written."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)


def require_space(path: Path, needed: int) -> None:
    """Refuse to start what the disk has no room for, or what may not become a file of that size.

    Parameters
    ----------
    path
        The file that is going to be written.
    needed
        Bytes that will be written.
    """
    require_free(path.parent, needed)
    # A hole takes no space, but must keep within the limits on the size of a file.
    with writing(path), path.open("wb") as file:
        file.truncate(needed)


def require_free(folder: Path, needed: int) -> None:
    """Refuse to start what the disk has no room for.

    Parameters
    ----------
    folder
        Where it is going to be written, in whatever files.
    needed
        Bytes that will be written.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"the disk is full: {free / 1e6:,.1f} MB are free, {needed / 1e6:,.1f} MB are needed",
            where=folder,
            hint="free some space, and run the same command again",
        )
