"""Scan a data set file: batches of records of even cost, on threads, processes or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb import stats
from filterdb.config import RunConfig
from filterdb.run.progress import progress
from filterdb.run.provenance import Timings
from filterdb.run.scanning.batches import FileState, Job, changed
from filterdb.run.scanning.engines import Engine, engine
from filterdb.shift import Basis
from filterdb.stats import Cube, Task
from filterdb.store import open_dataset
from filterdb.types import RowRange

BATCH_ROWS: Final = 1 << 20
"""Most rows of one batch: enough to outweigh its scheduling and the opening of the file."""

_LEAST_ROWS: Final = 1 << 16
_BATCHES: Final = 16
"""How many batches there are at least, if they are not too small then: so many spread evenly."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """A data set file and the means to scan it.

    Parameters
    ----------
    path, state
        The file, and what it was when the run began.
    tasks
        What a scan needs to know of each record, in order.
    width
        Values of one filter.
    engine
        What runs the batches.
    timings
        Takes the time of each scan.
    """

    path: Path
    state: FileState
    tasks: Sequence[Task]
    width: int
    engine: Engine
    timings: Timings = field(default_factory=Timings)

    def statistics(self) -> NDArray[Any]:
        """Return the statistics of every record."""
        return np.concatenate(self._run("statistics", stats.measure, self.width))

    def limits(
        self, records: NDArray[Any], basis: Basis, chosen: NDArray[np.bool_] | None = None
    ) -> tuple[float, float]:
        """Return the least and the largest coefficient of all records, or of the chosen ones."""
        extremes = np.stack(self._knowing(records, chosen)._run("range", stats.find_range, basis.coordinates))
        return stats.bounds(float(extremes[:, 0].min()), float(extremes[:, 1].max()))

    def cube(
        self, records: NDArray[Any], basis: Basis, bins: int, limits: tuple[float, float] | None = None
    ) -> Cube:
        """Count every record's coefficients in a basis, between limits or over the range that all have."""
        low, high = limits or self.limits(records, basis)
        scanner = self._knowing(records)
        counts = np.concatenate(scanner._run("counts", stats.count, basis.coordinates, low, high, bins))
        return Cube.of(records, counts, low, high)

    def _knowing(self, records: NDArray[Any], chosen: NDArray[np.bool_] | None = None) -> Scanner:
        """Return a scanner of the chosen records that knows which have only finite filters."""
        kept = np.ones(len(self.tasks), bool) if chosen is None else chosen
        tasks = [
            Task(task.rows, task.out_channels, bool(n == finite))
            for task, n, finite, keep in zip(self.tasks, records["n"], records["finite"], kept, strict=True)
            if keep
        ]
        return replace(self, tasks=tasks)

    def _run(self, what: str, scan: Callable[..., Any], *arguments: Any) -> list[Any]:
        jobs = [
            Job(place, self.path, self.state, scan, batch, arguments)
            for place, batch in enumerate(_batches(self.tasks))
        ]
        total = sum(job.rows for job in jobs)
        with self.timings.phase(what), progress(what, total, "filters") as bar:
            return self.engine.run(jobs, lambda job: bar.advance(job.rows))


@contextmanager
def scanner(
    path: Path, config: RunConfig, *, content_hash: str | None = None, timings: Timings | None = None
) -> Iterator[Scanner]:
    """Open what runs the scans of a data set file.

    Parameters
    ----------
    path
        The data set file.
    config
        Scheduler and workers.
    content_hash
        What the file must hold, where something was read from it before.
    timings
        Takes the time of each scan.
    """
    path = path.absolute()
    with open_dataset(path) as file:
        state, meta, width = FileState.of(file), file.tables.meta, file.kernel.size
        if content_hash not in (None, file.content_hash):
            raise changed(path)
    columns = (meta[name] for name in ("filter_start", "filter_end", "out_channels", "nonfinite"))
    tasks = [
        # A published file does not know the last two.
        Task(RowRange(start, end), 0 if np.isnan(channels) else int(channels), finite=nonfinite == 0)
        for start, end, channels, nonfinite in zip(*columns, strict=True)
    ]
    timings = timings or Timings()
    with ExitStack() as stack:
        with timings.phase("workers"):
            means = stack.enter_context(engine(config, path, state, len(_batches(tasks))))
        yield Scanner(path, state, tasks, width, means, timings)


def _batches(tasks: Sequence[Task]) -> list[list[Task]]:
    batches: list[list[Task]] = [[]]
    total = sum(len(task.rows) for task in tasks)
    most = min(BATCH_ROWS, max(_LEAST_ROWS, total // _BATCHES))
    rows = 0
    for task in tasks:
        if rows >= most:
            batches.append([])
            rows = 0
        batches[-1].append(task)
        rows += len(task.rows)
    return batches
