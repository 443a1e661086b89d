"""Run a function on many inputs as tasks of a Dask cluster, each in a supervised child of a Dask worker.

The child keeps the promises of a local run: time and memory bounds a model, and a model that kills its
process costs only itself. What takes a whole Dask worker down, thrice, is tried again here, alone.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from typing import Any, Final

import psutil

from filterdb.errors import FilterDBError, OutputError
from filterdb.run.workforce.connect import Site, connected
from filterdb.run.workforce.supervised import Child, Done, In, Limits, Out
from filterdb.run.workforce.waiting import ask_all, completed
from filterdb.run.workforce.workers import run_supervised

_BATCH_ITEMS: Final = 32
_BATCH_BYTES: Final = 64 << 20

_children: dict[tuple[str, int], Child[Any, Any]] = {}
"""On a Dask worker: the child of each run and thread."""

_ended: set[str] = set()
"""On a Dask worker: the runs that are over, of which a batch may still be under way."""


def run_on_dask(
    function: Callable[[In], Out] | str,
    items: Sequence[In],
    *,
    site: Site,
    limits: Limits,
    sizes: Sequence[int] | None = None,
) -> Generator[Done[In, Out]]:
    """Run a function on every input on the workers of a Dask cluster, in any order.

    Parameters
    ----------
    function
        A module-level function, or its name as ``module:function``.
    items
        Inputs; the workers must see the files they name.
    site
        The cluster.
    limits
        What one input may cost; with no memory bound (0), a fair share of what its Dask worker has.
    sizes
        Bytes of each input: small ones travel together, because a task costs Dask about a millisecond.

    Raises
    ------
    UsageError
        If no scheduler answers, it has no workers, or these have another version of filterdb.
    """
    batches = _batches(items, sizes or [_BATCH_BYTES] * len(items))
    lost: list[In] = []
    with _named_run(site) as (client, run):
        work = partial(_run_batch, function=function, limits=limits, run=run)
        for batch, dones in _collect(client, work, batches, site.name):
            # Inputs were on a worker when it died, which says little about any one of them.
            lost += batch if dones is None else [done.item for done in dones if done.died]
            yield from (done for done in dones or () if not done.died)
    yield from run_supervised(function, lost, workers=1, limits=_of_this_machine(limits, 1))


def _batches(items: Sequence[In], sizes: Sequence[int]) -> list[list[In]]:
    batches: list[list[In]] = []
    room = 0
    for item, size in zip(items, sizes, strict=True):
        if not batches or size > room or len(batches[-1]) == _BATCH_ITEMS:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(item)
        room -= size
    return batches


def _collect(
    client: Any, work: Callable[..., Any], batches: Sequence[list[In]], name: str
) -> Iterator[tuple[list[In], list[Done[In, Any]] | None]]:
    from distributed.scheduler import KilledWorker

    futures = client.map(work, batches, pure=False)
    batch_of = dict(zip((future.key for future in futures), batches, strict=True))
    for future in completed(client, name, futures):
        try:
            dones = future.result()
        except KilledWorker:
            dones = None
        except FilterDBError:
            raise
        except (Exception, CancelledError) as error:
            raise OutputError(
                f"the Dask cluster failed: {type(error).__name__}: {error}",
                where=name,
                hint="see its log; the same command goes on from here",
            ) from error
        yield batch_of.pop(future.key), dones


def _run_batch(
    batch: list[In], *, function: Callable[[In], Out] | str, limits: Limits, run: str
) -> list[Done[In, Out]]:
    """Run a batch on a Dask worker, each of whose threads keeps a child for a run."""
    dones: list[Done[In, Out]] = []
    try:
        for item in batch:
            if run in _ended:
                raise CancelledError("the run has ended")
            dones.append(_child(function, limits, run).run(item))
    finally:
        if run in _ended:
            _end_children(run)
    return dones


def _child(function: Callable[[In], Out] | str, limits: Limits, run: str) -> Child[In, Out]:
    key = run, threading.get_ident()
    child = _children.get(key)
    if child is None or not child.usable:
        if child is not None:
            child.stop()
        child = _children[key] = Child(function, _of_this_machine(limits, _threads()))
    return child


def _threads() -> int:
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _of_this_machine(limits: Limits, shares: int) -> Limits:
    return limits if limits.memory else replace(limits, memory=_available() // shares)


def _available() -> int:
    """Return what this process may give to its children: a Dask worker's own limit, or the machine."""
    from distributed import get_worker

    whole = int(psutil.virtual_memory().total * 0.8)
    try:
        return int(get_worker().memory_manager.memory_limit or whole)
    except ValueError:
        return whole


def _end_children(run: str) -> None:
    _ended.add(run)
    for key in [key for key in list(_children) if key[0] == run]:
        _children.pop(key).stop()


@contextlib.contextmanager
def _named_run(site: Site) -> Iterator[tuple[Any, str]]:
    """Connect to a cluster, and give the run a name of its own on its workers."""
    run = uuid.uuid4().hex
    with connected(site) as client:
        try:
            yield client, run
        finally:
            ask_all(client, _end_children, run)
