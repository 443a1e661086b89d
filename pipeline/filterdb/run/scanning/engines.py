"""What runs the jobs of a scan: threads of this process, child processes, or the workers of a Dask cluster.

All return the same bits: a job computes alone, in one thread, and its place among the results is fixed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import dask.local
import dask.threaded
from dask.callbacks import Callback
from threadpoolctl import threadpool_limits

from filterdb.config import RunConfig
from filterdb.errors import FilterDBError
from filterdb.run.scanning.batches import FileState, Job, opened, run_job
from filterdb.run.workforce.connect import Site, connected, refuse_dask_options
from filterdb.run.workforce.supervised import Limits
from filterdb.run.workforce.workers import Spare, memory_per_worker, run_supervised, started, worker_count

_JOB_SECONDS: Final = 24 * 3600.0
"""No batch takes a day; a child that does hangs."""

Note = Callable[[Job], None]
"""Is told of every job that is done, in the main thread."""


class Engine(Protocol):
    """A means to run jobs."""

    def run(self, jobs: Sequence[Job], note: Note) -> list[Any]:
        """Return the results of all jobs in their order.

        Parameters
        ----------
        jobs
            The jobs.
        note
            Is told of every job that is done.
        """


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads of this process: nothing to start, nothing to copy.

    Parameters
    ----------
    workers
        How many; 0 runs the jobs here, one after the other.
    """

    workers: int

    def run(self, jobs: Sequence[Job], note: Note) -> list[Any]:
        """Return the results of all jobs in their order."""
        over = threading.Event()
        by_place = {job.place: job for job in jobs}
        get = partial(dask.threaded.get, num_workers=self.workers) if self.workers else dask.local.get_sync
        # BLAS must not start threads of its own: jobs are parallel already, and sums would depend on them.
        with (
            opened(jobs[0]) as file,
            threadpool_limits(1, "blas"),
            Callback(posttask=lambda place, *_: note(by_place[place])),
        ):
            graph = {job.place: (partial(run_job, job, over.is_set, file),) for job in jobs}
            try:
                return list(get(graph, list(graph)))
            finally:
                over.set()


@dataclass(frozen=True, slots=True)
class Processes:
    """Supervised child processes: the batch of one that dies is computed again by another.

    Parameters
    ----------
    workers
        How many.
    spare
        Children that have started; they are kept from one scan to the next.
    """

    workers: int
    limits: Limits
    spare: Spare[Job, Any] = field(default_factory=list)

    def run(self, jobs: Sequence[Job], note: Note) -> list[Any]:
        """Return the results of all jobs in their order."""
        results: dict[int, Any] = {}
        crew = run_supervised(
            run_job, jobs, workers=self.workers, limits=self.limits, spare=self.spare, keep=True
        )
        # What ends this loop early ends the children at once, not when a traceback is forgotten.
        with closing(crew) as dones:
            for done in dones:
                if done.error:
                    raise _failed(done.item.path, done.error.what, died=done.died)
                results[done.item.place] = done.result
                note(done.item)
        return [results[job.place] for job in jobs]


def _failed(path: Path, reason: str, *, died: bool) -> FilterDBError:
    return FilterDBError(
        f"a batch of filters cannot be scanned: {reason}",
        where=path,
        hint="use fewer --workers: the system may have ended them for want of memory" if died else None,
    )


@contextmanager
def engine(config: RunConfig, path: Path, state: FileState, items: int) -> Generator[Engine]:
    """Start what the configured scheduler stands for, and end it.

    Parameters
    ----------
    config
        Scheduler and workers.
    path, state
        The data set file, which every worker must see.
    items
        How much work there is: no more workers than that are started.
    """
    workers = worker_count(config.workers, items)
    refuse_dask_options(config)
    if config.scheduler in ("local", "threads"):
        yield Threads(workers)
    elif config.scheduler == "processes":
        limits = Limits(_JOB_SECONDS, memory_per_worker("auto", workers))
        with started(run_job, workers=workers) as spare:
            yield Processes(workers, limits, spare)
    else:
        from filterdb.run.scanning.remote import OnDask, require_sight

        site = Site.of(config, workers)
        with connected(site) as client:
            require_sight(client, site.name, path, state)
            yield OnDask(client, site.name)
