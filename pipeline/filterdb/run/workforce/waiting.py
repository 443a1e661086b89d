"""Wait for the tasks of a Dask cluster, though not for workers that never come back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from filterdb.errors import FilterDBError

PATIENCE_SECONDS: Final = 60.0
"""How long a cluster may have no worker that takes work; one that was lost is back sooner."""

AGAIN: Final = "see the logs of scheduler and workers, and run the same command again"

_LOOK_EVERY: Final = 2.0
_STATES_SECONDS: Final = 30
_ANSWER_SECONDS: Final = 10


def completed(
    client: Any, name: str, futures: Sequence[Any], patience: float = PATIENCE_SECONDS
) -> Iterator[Any]:
    """Iterate over futures as they are done.

    Parameters
    ----------
    client
        The connection.
    name
        What messages call the cluster.
    futures
        The tasks.
    patience
        Seconds to wait for workers to come back.

    Raises
    ------
    FilterDBError
        If for so long no worker takes work.
    """
    done: SimpleQueue[Any] = SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    for _ in futures:
        yield _next(client, name, done, patience)


def ask_all(client: Any, function: Any, *arguments: Any) -> None:
    """Call a function on all workers that answer soon; those that do not are left alone.

    Parameters
    ----------
    client
        The connection.
    function
        A module-level function.
    arguments
        What it takes.
    """
    with suppress(Exception, CancelledError):
        # What `client.run` does, which waits for a worker that is stuck as long as that is stuck.
        client.sync(client._run, function, *arguments, on_error="ignore", callback_timeout=_ANSWER_SECONDS)


def _next(client: Any, name: str, done: SimpleQueue[Any], patience: float) -> Any:
    idle_since = time.monotonic()
    while True:
        try:
            return done.get(timeout=_LOOK_EVERY)
        except Empty:
            if _states(client) & {"running", "init"}:
                idle_since = time.monotonic()
        if time.monotonic() - idle_since > patience:
            raise _stalled(name, patience, paused="paused" in _states(client))


def _states(client: Any) -> set[str]:
    """Return what the workers do, as far as the scheduler says."""
    try:
        known = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_STATES_SECONDS)
    except (OSError, TimeoutError, CancelledError):
        return set()
    return {str(worker["status"]) for worker in known["workers"].values()}


def _stalled(name: str, patience: float, *, paused: bool) -> FilterDBError:
    what = "the Dask workers are out of memory and take no more work"
    return FilterDBError(
        what if paused else "no Dask worker is left",
        where=name,
        expected=f"one that works within {patience:g} s",
        hint="start workers with a larger --memory-limit and fewer --nthreads" if paused else AGAIN,
    )
