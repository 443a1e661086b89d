"""Run a function on many inputs in processes that may die, hang or eat memory without harm to others.

Locally, child processes are supervised: each input has a bound on time and memory, a process that dies is
replaced, and the input that killed it gets the reason. With a Dask scheduler the same function runs as
Dask tasks on its workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psutil
from pebble import ProcessExpired, ProcessPool

from filterdb.errors import FilterDBError, UsageError, WorkerError

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one input may cost.

    Parameters
    ----------
    seconds
        Time.
    memory
        Bytes that a worker process may allocate; files that it maps do not count.
    """

    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class Done(Generic[In, Out]):
    """One input with what came of it: a result, or the reason why there is none."""

    item: In
    result: Out | None
    error: WorkerError | None = None


def cpu_count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(setting: int | str, items: int) -> int:
    """Return how many processes to start for some inputs."""
    wanted = cpu_count() if isinstance(setting, str) else setting
    return max(1, min(wanted, items))


def memory_per_worker(setting: int | str, workers: int) -> int:
    """Return the memory bound of a worker: what is set, or a fair share of four fifths of the machine."""
    if isinstance(setting, int):
        return setting
    return int(psutil.virtual_memory().total * 0.8) // workers


def run_supervised(
    function: Callable[[In], Out], items: Sequence[In], *, workers: int, limits: Limits
) -> Iterator[Done[In, Out]]:
    """Run a function on every input in supervised child processes, in any order.

    Parameters
    ----------
    function
        A module-level function.
    items
        Inputs; the costly ones first spreads the work best.
    workers
        How many processes.
    limits
        What one input may cost.

    Raises
    ------
    FilterDBError
        What the function raised on purpose: it ends the whole run.
    """
    pool = ProcessPool(
        max_workers=workers,
        initializer=_prepare,
        initargs=(limits.memory,),
        context=_context(),
    )
    finished = False
    try:
        futures: dict[Any, In] = {
            pool.schedule(function, args=(item,), timeout=limits.seconds): item for item in items
        }
        for future in as_completed(futures):
            yield _outcome(future, futures[future], limits)
        finished = True
    finally:
        pool.close() if finished else pool.stop()
        pool.join()


def _context() -> Any:
    """Children come from a small clean server process: no threads or locks of ours to inherit."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["filterdb.extract.worker"])
    return context


def _prepare(memory: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Counts what is allocated, not what is mapped from files: a model of 10 GB may be mapped.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _outcome(future: Any, item: In, limits: Limits) -> Done[In, Any]:
    try:
        return Done(item, future.result())
    except FutureTimeout:
        reason = f"reading it took more than {limits.seconds:g} s"
        hint = "raise extract.timeout in the configuration"
    except ProcessExpired as error:
        reason = f"the process that read it died ({_cause(error.exitcode)})"
        hint = "look at the file; it harmed nothing else"
    except MemoryError:
        reason = f"reading it needs more than {limits.memory / 2**30:.1f} GiB of memory"
        hint = "raise extract.memory in the configuration, or use fewer workers"
    except FilterDBError:
        raise
    except Exception as error:  # noqa: BLE001 - one model's trouble must not cost the zoo's other models
        reason = f"reading it failed unexpectedly: {type(error).__name__}: {error}"
        hint = "please report this"
    return Done(item, None, WorkerError(reason, hint=hint))


def _cause(exitcode: int | None) -> str:
    if exitcode is None:
        return "cause unknown"
    if exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def run_on_dask(
    function: Callable[[In], Out], items: Sequence[In], *, scheduler: str
) -> Iterator[Done[In, Out]]:
    """Run a function on every input as tasks of a running Dask cluster, in any order.

    Parameters
    ----------
    function
        A module-level function.
    items
        Inputs; the workers must see the files they name.
    scheduler
        Address of the scheduler.
    """
    from distributed import Client, as_completed
    from distributed.scheduler import KilledWorker

    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(
            f"no Dask scheduler answers: {error}", where=scheduler, hint="start one with: dask scheduler"
        ) from error
    with client:
        futures = {
            f.key: (f, item)
            for item, f in zip(items, client.map(function, items, pure=False, retries=0), strict=True)
        }
        for future in as_completed([f for f, _ in futures.values()]):
            item = futures[future.key][1]
            try:
                yield Done(item, future.result())
            except KilledWorker as error:
                yield Done(item, None, WorkerError(f"it killed the workers that read it: {error}"))
            except FilterDBError:
                raise
            except Exception as error:  # noqa: BLE001 - as above: a model costs only itself
                yield Done(item, None, WorkerError(f"reading it failed: {type(error).__name__}: {error}"))
