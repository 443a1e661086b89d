"""Run a function on many inputs in processes that may die, hang or eat memory without harm to others."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Generic, TypeAlias

from filterdb.run.workforce.supervised import Child, Done, In, Limits, Out

__all__ = [
    "Done",
    "Limits",
    "Spare",
    "cpu_count",
    "memory_per_worker",
    "run_supervised",
    "started",
    "worker_count",
]


Spare: TypeAlias = list[Child[In, Out]]
"""Children that have started and have nothing to do yet."""


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
    import psutil

    return int(psutil.virtual_memory().total * 0.8) // workers


@contextmanager
def started(function: Callable[[In], Out] | str, *, workers: int) -> Generator[Spare[In, Out]]:
    """Start children before there is work for them: they load their libraries while this process does.

    Parameters
    ----------
    function, workers
        As for :func:`run_supervised`.
    """
    spare: Spare[In, Out] = []
    try:
        # One by one, so that those that have started end if another cannot.
        for _ in range(workers):
            spare.append(Child(function))
        yield spare
    finally:
        for child in spare:
            child.stop()


def run_supervised(
    function: Callable[[In], Out] | str,
    items: Iterable[In],
    *,
    workers: int,
    limits: Limits,
    spare: Spare[In, Out] | None = None,
    keep: bool = False,
) -> Generator[Done[In, Out]]:
    """Run a function on every input in supervised child processes, in any order.

    An input whose process dies is tried once more when all others are done, alone: the process may have
    been killed for somebody else's hunger for memory.

    Parameters
    ----------
    function
        A module-level function, or its name as ``module:function``.
    items
        Inputs; the costly ones first spreads the work best.
    workers
        How many processes.
    limits
        What one input may cost.
    spare
        Children that :func:`started` has started; those that are used are taken out.
    keep
        Put children back into ``spare`` when there is nothing left for them.

    Raises
    ------
    FilterDBError
        What the function raised on purpose: it ends the whole run.
    """
    again: list[In] = []
    for done in _run(function, items, workers, limits, [] if spare is None else spare, keep=keep):
        if done.died:
            again.append(done.item)
        else:
            yield done
    yield from _run(function, again, 1, limits, [])


def _run(
    function: Callable[[In], Out] | str,
    items: Iterable[In],
    workers: int,
    limits: Limits,
    spare: Spare[In, Out],
    *,
    keep: bool = False,
) -> Generator[Done[In, Out]]:
    crew = _Crew(function, deque(items), workers, limits, spare, keep=keep)
    try:
        crew.fill()
        while crew.busy:
            yield from crew.collect()
    finally:
        crew.stop()


class _Crew(Generic[In, Out]):
    """The children of one run and the inputs that wait for them."""

    def __init__(
        self,
        function: Callable[[In], Out] | str,
        waiting: deque[In],
        workers: int,
        limits: Limits,
        spare: Spare[In, Out],
        *,
        keep: bool,
    ) -> None:
        self._function, self._limits, self._spare, self._keep = function, limits, spare, keep
        self._waiting, self._workers = waiting, workers
        self.busy: dict[Any, Child[In, Out]] = {}

    def fill(self) -> None:
        """Start as many children as there is work for."""
        while self._waiting and len(self.busy) < self._workers:
            self._give(self._rested() or Child(self._function, self._limits))

    def collect(self) -> Sequence[Done[In, Out]]:
        """Wait until something happens; hand on the next inputs before what came of the last ones."""
        wait(list(self.busy), min(child.seconds_left for child in self.busy.values()))
        dones = []
        for channel, child in list(self.busy.items()):
            done = child.collect()
            if done is None:
                continue
            dones.append(done)
            del self.busy[channel]
            if self._waiting and child.usable:
                self._give(child)
            elif self._keep and child.usable:
                self._spare.append(child)
            else:
                child.stop()
        self.fill()
        return dones

    def stop(self) -> None:
        """End all children."""
        for child in self.busy.values():
            child.stop()
        self.busy.clear()

    def _rested(self) -> Child[In, Out] | None:
        """Take a spare child that has not died while it waited."""
        while self._spare:
            child = self._spare.pop()
            if child.usable:
                return child
            child.stop()
        return None

    def _give(self, child: Child[In, Out]) -> None:
        child.limits = self._limits
        self.busy[child.channel] = child
        child.begin(self._waiting.popleft())
