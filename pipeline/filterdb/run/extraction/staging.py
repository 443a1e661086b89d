"""Bring every model of a zoo into the staging folder, by whatever workers there are."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from filterdb.config import LOCAL_SCHEDULERS, RunConfig
from filterdb.errors import UsageError, WorkerError
from filterdb.extract import worker
from filterdb.run import files
from filterdb.run.extraction.crew import EXTRACT, Crew
from filterdb.run.progress import progress
from filterdb.run.workforce import workers
from filterdb.run.workforce.connect import Site, refuse_dask_options
from filterdb.types import ModelSource

STAGED: Final = ("*.shard", "*.failed", "*.tmp", "known.json")
"""What the folder may hold; anything else is somebody's own, and would be lost with it."""

_Done = workers.Done[worker.Task, worker.Outcome]


@dataclass(frozen=True, slots=True)
class Staging:
    """The folder that shards of models go to, and the workers that fill it.

    Parameters
    ----------
    folder
        The folder.
    config
        How to work.
    spare
        Workers that have started already.
    """

    folder: Path
    config: RunConfig
    spare: Crew = field(default_factory=list)

    def prepare(self, known: Iterable[str]) -> None:
        """Begin a run.

        Parameters
        ----------
        known
            Identities of models that need no parsing.
        """
        with files.writing(self.folder):
            files.remove_temporary(self.folder)
            worker.known_path(self.folder).write_text(json.dumps(sorted(known)))

    def is_empty(self) -> bool:
        """Tell whether the folder holds nothing that would spare a later run any work."""
        return not any(path.suffix in (".shard", ".failed") for path in self.folder.iterdir())

    def run(
        self,
        sources: Sequence[ModelSource],
        *,
        known_counts: bool = True,
        quiet: bool = False,
        meanwhile: Future[Any] | None = None,
    ) -> dict[str, worker.Outcome]:
        """Stage models that are not staged or known yet, and return the outcomes by name.

        Parameters
        ----------
        sources
            The models.
        known_counts
            Leave the models alone that :meth:`prepare` was told of.
        quiet
            Show no progress.
        meanwhile
            What this process does meanwhile; if it fails, there is no point in going on.
        """
        sizes = {source.name: worker.file_size(source.path) for source in sources}
        order = sorted(sources, key=lambda source: -sizes[source.name])
        names = {self._task(source, known_counts=known_counts): source.name for source in order}
        outcomes: dict[str, worker.Outcome] = {}
        with (
            progress("extract", 0 if quiet else len(sources), "models") as bar,
            # What ends this loop early ends the workers at once, not when a traceback is forgotten.
            closing(self._schedule(list(names), [sizes[name] for name in names.values()])) as dones,
        ):
            for done in dones:
                outcomes[names[done.item]] = done.result or _crashed(done)
                bar.advance()
                if meanwhile is not None and meanwhile.done():
                    meanwhile.result()
        return self._identified(sources, outcomes)

    def _identified(
        self, sources: Sequence[ModelSource], outcomes: dict[str, worker.Outcome]
    ) -> dict[str, worker.Outcome]:
        """Give the models whose process died the identity that others have, where that is survivable."""
        crashed = [source for source in sources if outcomes[source.name].crashed]
        names = {self._task(source, identify_only=True): source.name for source in crashed}
        with closing(self._supervise(list(names))) as dones:
            for done in dones:
                if done.result is not None and done.result.sha256:
                    name, found = names[done.item], done.result
                    outcomes[name] = replace(outcomes[name], sha256=found.sha256, size=found.size)
        return outcomes

    def _task(
        self, source: ModelSource, *, known_counts: bool = True, identify_only: bool = False
    ) -> worker.Task:
        return worker.Task(
            source.path.absolute(),
            self.folder.absolute(),
            self.config.extract.kernel,
            identify_only=identify_only,
            known_counts=known_counts,
        )

    def _schedule(self, tasks: Sequence[worker.Task], sizes: Sequence[int]) -> Generator[_Done]:
        _require_scheduler(self.config)
        if self.config.scheduler in LOCAL_SCHEDULERS:
            return self._supervise(tasks)
        from filterdb.run.workforce.cluster import run_on_dask

        memory = self.config.extract.memory
        limits = workers.Limits(self.config.extract.timeout, memory if isinstance(memory, int) else 0)
        site = Site.of(self.config, workers.worker_count(self.config.workers, len(tasks)))
        return run_on_dask(EXTRACT, tasks, site=site, limits=limits, sizes=sizes)

    def _supervise(self, tasks: Sequence[worker.Task]) -> Generator[_Done]:
        count = workers.worker_count(self.config.workers, len(tasks))
        limits = _limits(self.config, count)
        return workers.run_supervised(EXTRACT, tasks, workers=count, limits=limits, spare=self.spare)


def _require_scheduler(config: RunConfig) -> None:
    """Refuse what an extraction cannot use, such as threads: a model that crashes would end the whole run."""
    if config.scheduler == "threads":
        raise UsageError(
            "an extraction does not run in threads: each model needs a process that may die",
            expected="local, processes, cluster, or the address of a Dask scheduler",
            hint="--scheduler local",
        )
    refuse_dask_options(config)


def _limits(config: RunConfig, count: int) -> workers.Limits:
    settings = config.extract
    return workers.Limits(settings.timeout, workers.memory_per_worker(settings.memory, count))


def _crashed(done: _Done) -> worker.Outcome:
    error = done.error or WorkerError("the process that read it gave no result")
    return worker.Outcome(
        "", worker.file_size(done.item.path), parsed=True, reason=error.reason, crashed=True
    )
