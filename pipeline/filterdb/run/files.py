"""Outputs that are complete or absent, and folders that one run has for itself."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filterdb.errors import OutputError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a full or read-only disk into a message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                "the disk is full", where=path, hint="free some space, and run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
            raise OutputError(
                f"cannot write here: {error.strerror}", where=path, hint="choose another --out"
            ) from error
        raise OutputError(f"cannot write: {error}", where=path) from error


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
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
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
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
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
    lock = folder / "lock"
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise OutputError(
                f"another run is writing {purpose}", where=folder, hint="wait for it, or choose another --out"
            ) from None
        # A run that has just finished may have removed the folder between our open and our lock.
        if _same_file(handle, lock):
            break
        os.close(handle)
    try:
        yield folder
    finally:
        os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def discard(folder: Path) -> None:
    """Remove a working folder."""
    shutil.rmtree(folder, ignore_errors=True)


def discard_content(folder: Path) -> None:
    """Empty a working folder that this run holds."""
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()


def remove_temporary(folder: Path) -> None:
    """Remove what an interrupted run left half-written."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start what the disk has no room for.

    Parameters
    ----------
    folder
        A folder on the disk.
    needed
        Bytes that will be written.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{free / 2**30:.1f} GiB are free, about {needed / 2**30:.1f} GiB are needed",
            where=folder,
            hint="free some space, or choose another --out",
        )
