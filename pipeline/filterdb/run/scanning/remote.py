"""The jobs of a scan on the workers of a Dask cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from threadpoolctl import threadpool_limits

from filterdb.errors import FilterDBError, StoreError, UsageError
from filterdb.run.scanning.batches import FileState, Job, run_job
from filterdb.run.workforce.connect import Versions, ask_workers, require_versions, versions

PATIENCE_SECONDS: Final = 60.0
"""How long a cluster may have no worker that takes work; one that was lost is back sooner."""

_LOOK_EVERY: Final = 2.0
_AGAIN: Final = "see the logs of scheduler and workers, and run the same command again"


@dataclass(frozen=True, slots=True)
class OnDask:
    """A connected Dask cluster.

    Parameters
    ----------
    client
        The connection.
    name
        What messages call the cluster.
    patience
        Seconds to wait for workers to come back.
    """

    client: Any
    name: str
    patience: float = PATIENCE_SECONDS

    def run(self, jobs: Sequence[Job], note: Callable[[Job], None]) -> list[Any]:
        """Return the results of all jobs in their order.

        Dask gives the jobs of a lost worker to others; what takes several workers down ends the run.
        """
        done: SimpleQueue[Any] = SimpleQueue()
        # Impure: Dask need not hash what it is given, because a run computes nothing twice.
        futures = self.client.map(_run_there, jobs, ours=versions(), pure=False)
        waiting = {future.key: (future, job) for future, job in zip(futures, jobs, strict=True)}
        del futures
        results: dict[int, Any] = {}
        try:
            for future, _ in waiting.values():
                future.add_done_callback(done.put)
            while waiting:
                _, job = waiting.pop((future := self._next(done)).key)
                results[job.place] = self._result(future)
                future.release()
                note(job)
        finally:
            for future, _ in waiting.values():
                future.release()
        return [results[job.place] for job in jobs]

    def _next(self, done: SimpleQueue[Any]) -> Any:
        """Return the next job that is done, unless no worker takes work for so long that none will."""
        idle_since = time.monotonic()
        while True:
            try:
                return done.get(timeout=_LOOK_EVERY)
            except Empty:
                if self._states() & {"running", "init"}:
                    idle_since = time.monotonic()
            if time.monotonic() - idle_since > self.patience:
                raise self._stalled()

    def _states(self) -> set[str]:
        """Return what the workers do, as far as the scheduler says."""
        try:
            known = self.client.sync(self.client.scheduler.identity, n_workers=-1, callback_timeout=30)
        except (OSError, TimeoutError, CancelledError):
            return set()
        return {str(worker["status"]) for worker in known["workers"].values()}

    def _stalled(self) -> FilterDBError:
        paused = "paused" in self._states()
        what = "the Dask workers are out of memory and take no more work"
        return FilterDBError(
            what if paused else "no Dask worker is left",
            where=self.name,
            expected=f"one that works within {self.patience:g} s",
            hint="start workers with a larger --memory-limit and fewer --nthreads" if paused else _AGAIN,
        )

    def _result(self, future: Any) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise FilterDBError(
                f"{error.allowed_failures + 1} Dask workers died over the same batch of filters",
                where=f"{self.name}, last {error.last_worker.address}",
                hint="they may have run out of memory: start them with a larger --memory-limit and fewer "
                "--nthreads",
            ) from error
        except FilterDBError:
            raise
        except CancelledError as error:
            raise FilterDBError(
                f"the Dask scheduler was lost during the run ({error})", where=self.name, hint=_AGAIN
            ) from error
        except Exception as error:
            raise FilterDBError(
                f"a Dask worker failed: {type(error).__name__}: {error}", where=self.name, hint=_AGAIN
            ) from error


def require_sight(client: Any, name: str, path: Path, state: FileState) -> None:
    """Refuse a cluster of which a worker does not see the data set file, or sees another one.

    Parameters
    ----------
    client
        A connected client.
    name
        What messages call the cluster.
    path, state
        The file.
    """
    ask_workers(client, name, _look, path, state)


def _look(path: Path, state: FileState) -> None:
    """On a worker: say what there is under the name of the file."""
    expected = "workers that share the file system with the computer that runs filterdb"
    hint = "put the file where all of them see it under the same name"
    try:
        state.require(path)
    except StoreError as error:
        found = "sees another file" if path.exists() else "does not see the data set file"
        raise UsageError(
            f"a Dask worker on {socket.gethostname()} {found}", where=path, expected=expected, hint=hint
        ) from error


def _run_there(job: Job, *, ours: Versions) -> Any:
    """On a worker, which may have joined when the run had begun: check it, and run a job."""
    require_versions(ours, versions(), f"on {socket.gethostname()}")
    if not job.path.exists():
        _look(job.path, job.state)
    # For good: the worker's other threads run jobs too, and must not find the limit lifted.
    threadpool_limits(1, "blas")
    return run_job(job)
