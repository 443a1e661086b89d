"""Workers that start before anything else: they load their libraries while the command loads its own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from filterdb.run.workforce import workers

if TYPE_CHECKING:
    from filterdb.extract import worker

EXTRACT = "filterdb.extract.warm:run"
"""What workers of an extraction run."""

Crew: TypeAlias = "workers.Spare[worker.Task, worker.Outcome]"
"""Worker processes that have started and wait for work."""


@contextmanager
def crew(count: int | None) -> Generator[Crew]:
    """Start the local workers of an extraction, which no configuration has been read for yet.

    Parameters
    ----------
    count
        How many; one a processor where not said.
    """
    number = workers.cpu_count() if count is None else count
    started: AbstractContextManager[Crew] = workers.started(EXTRACT, workers=number)
    with started as spare:
        yield spare
