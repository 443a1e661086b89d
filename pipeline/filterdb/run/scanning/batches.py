"""One batch of a scan: what a worker does, in a thread, in a child process or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from filterdb.errors import FilterDBError, StoreError
from filterdb.run.scanning.buffers import thread_buffer
from filterdb.stats import Task
from filterdb.store import DatasetFile, open_dataset
from filterdb.types import Filters, RowRange

WINDOW_ROWS: Final = 1 << 17
"""Rows that a thread holds at most, unless one panel of a layer needs more."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong, and nobody is told
    """The run is over, and what is still under way is not wanted any more."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What a data set file was when a run began; who finds another must not use it.

    HDF5 reads zeros where a file was cut off, so that only a look before and after tells.

    Parameters
    ----------
    size
        Bytes.
    modified
        When it was written, in nanoseconds.
    stated
        The content hash that it states; published files state none.
    """

    size: int
    modified: int
    stated: str

    @classmethod
    def of(cls, file: DatasetFile) -> Self:
        """Return the state of an open file."""
        state = file.path.stat()
        return cls(state.st_size, state.st_mtime_ns, _stated(file))

    def require(self, path: Path) -> None:
        """Refuse a file that is not in this state, as far as that shows without opening it.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        StoreError
            If it is another one, has changed, or is gone.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise StoreError(
                f"the data set file is gone: {error.strerror}",
                where=path,
                expected="the file that the run began with",
                hint="put it back and run the same command again",
            ) from error
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            raise changed(path)


def _stated(file: DatasetFile) -> str:
    return str(file.attributes.get("content_hash", ""))


def changed(path: Path) -> StoreError:
    """Return the error that a data set file is not the one that a run began with."""
    return StoreError(
        "the data set file has changed during the run",
        where=path,
        expected="the same file until the run ends",
        hint="run the same command again when nobody writes to it",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Some records to scan.

    Parameters
    ----------
    place
        Where its result belongs among those of all batches.
    path, state
        The data set file.
    scan
        What to compute: a function of a reader, the tasks and the arguments.
    tasks
        What the scan needs to know of each record.
    arguments
        What else the scan takes.
    """

    place: int
    path: Path
    state: FileState
    scan: Callable[..., Any]
    tasks: Sequence[Task]
    arguments: tuple[Any, ...]

    @property
    def rows(self) -> int:
        """How many filters it has."""
        return sum(len(task.rows) for task in self.tasks)


@contextmanager
def opened(job: Job) -> Generator[DatasetFile]:
    """Open the file of a job, which must be the one that the run began with.

    Parameters
    ----------
    job
        The job.

    Raises
    ------
    StoreError
        If the file has changed.
    """
    job.state.require(job.path)
    with _unless_changed(job), open_dataset(job.path) as file:
        if _stated(file) != job.state.stated:
            raise changed(job.path)
        yield file


def run_job(job: Job, stopped: Callable[[], bool] | None = None, file: DatasetFile | None = None) -> Any:
    """Scan the records of a job.

    Parameters
    ----------
    job
        The job.
    stopped
        Tells whether to give up half-way.
    file
        The job's file, where :func:`opened` has opened it already.

    Raises
    ------
    StoreError
        If the file is not the one that the run began with, from the first read to the last.
    """
    job.state.require(job.path)
    with _unless_changed(job), opened(job) if file is None else nullcontext(file) as source:
        window = _Window(source, job.tasks[-1].rows.stop, stopped or (lambda: False))
        result = job.scan(window.read, job.tasks, *job.arguments)
    job.state.require(job.path)
    return result


@contextmanager
def _unless_changed(job: Job) -> Generator[None]:
    """Whatever a reader makes of it: the reason is that the file has changed, where it has."""
    try:
        yield
    except MemoryError as error:
        raise FilterDBError(
            "a worker ran out of memory", where=job.path, hint="use fewer --workers, or a larger machine"
        ) from error
    except Stopped:
        raise
    except Exception:
        job.state.require(job.path)
        raise


class _Window:
    """Rows of a file through a buffer that is read ahead: small records come many at a time."""

    def __init__(self, file: DatasetFile, stop: int, stopped: Callable[[], bool]) -> None:
        self._file, self._stop, self._stopped = file, stop, stopped
        self._start = self._end = 0
        self._rows = np.empty((0, file.kernel.size), np.float32)

    def read(self, start: int, stop: int) -> Filters:
        """Return rows, good until the next call."""
        if self._stopped():
            raise Stopped
        if not self._start <= start <= stop <= self._end:
            end = max(stop, min(start + WINDOW_ROWS, self._stop))
            buffer = thread_buffer(max(end - start, WINDOW_ROWS), self._file.kernel.size)
            self._rows = self._file.read(RowRange(start, end), buffer)
            self._start, self._end = start, end
        return self._rows[start - self._start : stop - self._start]
