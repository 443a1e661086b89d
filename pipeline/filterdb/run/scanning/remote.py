"""The jobs of a scan on the workers of a Dask cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from filterdb.errors import FilterDBError, StoreError, UsageError
from filterdb.run.scanning.batches import FileState, Job, run_job
from filterdb.run.workforce.connect import Versions, ask_workers, require_versions, versions
from filterdb.run.workforce.waiting import AGAIN, PATIENCE_SECONDS, completed


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
        # Impure: Dask need not hash what it is given, because a run computes nothing twice.
        futures = self.client.map(_run_there, jobs, ours=versions(), pure=False)
        waiting = {future.key: (future, job) for future, job in zip(futures, jobs, strict=True)}
        results: dict[int, Any] = {}
        try:
            for future in completed(self.client, self.name, futures, self.patience):
                _, job = waiting.pop(future.key)
                results[job.place] = self._result(future)
                future.release()
                note(job)
        finally:
            for future, _ in waiting.values():
                future.release()
        return [results[job.place] for job in jobs]

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
                f"the Dask scheduler was lost during the run ({error})", where=self.name, hint=AGAIN
            ) from error
        except Exception as error:
            raise FilterDBError(
                f"a Dask worker failed: {type(error).__name__}: {error}", where=self.name, hint=AGAIN
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
