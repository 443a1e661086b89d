"""Scan a data set file with Dask: batches of records of even cost, on threads, processes or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from filterdb import stats
from filterdb.config import RunConfig
from filterdb.run.buffers import thread_buffer
from filterdb.run.cluster import connected
from filterdb.run.workers import worker_count
from filterdb.shift import Basis
from filterdb.stats import Cube, Task
from filterdb.store import DatasetFile
from filterdb.types import Filters, RowRange

BATCH_ROWS: Final = 1 << 18
"""Rows of one task: enough to outweigh its scheduling, little enough to spread evenly."""

WINDOW_ROWS: Final = 2 * BATCH_ROWS
"""Rows that a thread holds at most, unless one panel of a layer needs more."""

LOCAL: Final = ("threads", "processes", "synchronous")


@dataclass(frozen=True, slots=True)
class Scanner:
    """A data set file and the means to scan it.

    Parameters
    ----------
    path
        The file; the workers must see it under this name.
    tasks
        What a scan needs to know of each record, in order.
    width
        Values of one filter.
    scheduler
        ``threads``, ``processes`` or a Dask client.
    workers
        How many, for a local scheduler.
    """

    path: Path
    tasks: Sequence[Task]
    width: int
    scheduler: Any
    workers: int

    def statistics(self) -> NDArray[Any]:
        """Return the statistics of every record."""
        return np.concatenate(self._run(stats.measure, self.width))

    def cube(self, records: NDArray[Any], basis: Basis, bins: int) -> Cube:
        """Count every record's coefficients in a basis, over the range that all of them have."""
        tasks = [
            Task(task.rows, task.out_channels, bool(n == finite))
            for task, n, finite in zip(self.tasks, records["n"], records["finite"], strict=True)
        ]
        scanner = Scanner(self.path, tasks, self.width, self.scheduler, self.workers)
        extremes = np.stack(scanner._run(stats.find_range, basis.coordinates))
        low, high = float(extremes[:, 0].min()), float(extremes[:, 1].max())
        counts = np.concatenate(scanner._run(stats.count, basis.coordinates, low, high, bins))
        return Cube.of(records, counts, low, high)

    def _run(self, scan: Callable[..., Any], *arguments: Any) -> list[Any]:
        # BLAS must not start threads of its own: tasks are parallel already, and sums would depend on them.
        alone = self.scheduler != "threads"
        jobs = [delayed(_scan)(self.path, scan, batch, arguments, alone) for batch in _batches(self.tasks)]
        options = {"num_workers": self.workers} if isinstance(self.scheduler, str) else {}
        with threadpool_limits(1, "blas"):
            return list(compute(*jobs, scheduler=self.scheduler, **options))


@contextmanager
def scanner(path: Path, config: RunConfig) -> Iterator[Scanner]:
    """Open what runs the scans of a data set file.

    Parameters
    ----------
    path
        The data set file.
    config
        Scheduler and workers.
    """
    with DatasetFile(path) as file:
        meta, width = file.tables.meta, file.kernel.size
    columns = (meta[name] for name in ("filter_start", "filter_end", "out_channels", "nonfinite"))
    tasks = [
        Task(RowRange(start, end), channels, finite=not nonfinite)
        for start, end, channels, nonfinite in zip(*columns, strict=True)
    ]
    workers = worker_count(config.workers, len(tasks))
    if config.scheduler == "local" or config.scheduler in LOCAL:
        kind = "threads" if config.scheduler == "local" else config.scheduler
        yield Scanner(path.absolute(), tasks, width, kind, workers)
        return
    with connected(config.scheduler) as client:
        yield Scanner(path.absolute(), tasks, width, client, workers)


def _batches(tasks: Sequence[Task]) -> list[list[Task]]:
    batches: list[list[Task]] = [[]]
    rows = 0
    for task in tasks:
        if rows >= BATCH_ROWS:
            batches.append([])
            rows = 0
        batches[-1].append(task)
        rows += len(task.rows)
    return batches


def _scan(
    path: Path, scan: Callable[..., Any], tasks: Sequence[Task], arguments: tuple[Any, ...], alone: bool
) -> Any:
    if alone:
        threadpool_limits(1, "blas")
    with DatasetFile(path) as file:
        return scan(_Window(file, tasks[-1].rows.stop).read, tasks, *arguments)


class _Window:
    """Rows of a file through a buffer that is read ahead: small records come many at a time."""

    def __init__(self, file: DatasetFile, stop: int) -> None:
        self._file, self._stop = file, stop
        self._start = self._end = 0
        self._rows = np.empty((0, file.kernel.size), np.float32)

    def read(self, start: int, stop: int) -> Filters:
        """Return rows, good until the next call."""
        if not self._start <= start <= stop <= self._end:
            end = max(stop, min(start + WINDOW_ROWS, self._stop))
            buffer = thread_buffer(max(end - start, WINDOW_ROWS), self._file.kernel.size)
            self._rows = self._file.read(RowRange(start, end), buffer)
            self._start, self._end = start, end
        return self._rows[start - self._start : stop - self._start]
