"""The stage that probes every model of a zoo, doing only what is not done yet.

Workers keep what they find of each model in a working folder, which outlives a run that is interrupted. What
an older result holds of a model that has not changed is taken from there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import filterdb
from filterdb.config import LOCAL_SCHEDULERS, RunConfig
from filterdb.errors import FilterDBError, UsageError, WorkerError
from filterdb.extract.discover import discover
from filterdb.extract.worker import file_size
from filterdb.onnxgraph import open_model
from filterdb.probe import worker
from filterdb.probe.identity import data_identity
from filterdb.run import files, place, provenance
from filterdb.run.probing import folder, zoo_tables
from filterdb.run.probing.folder import PROBES, ZooProbe
from filterdb.run.probing.single import FIGURES, require_output, save_figure
from filterdb.run.progress import progress
from filterdb.run.workforce import workers
from filterdb.run.workforce.connect import Site, refuse_dask_options
from filterdb.types import ModelSource

if TYPE_CHECKING:
    from filterdb.figures import Drawing

PROBE_VERSION: Final = 3
"""Changes when the same model over the same data would be told in other numbers."""

_OURS: Final = ("*.part", "*.tmp", "known.json", folder.NEW)
_NO_MATTER: Final = frozenset({"data", "labels", "b", "memory", "threads"})
_WORKER: Final = "filterdb.probe.worker:run"
_PACKAGES: Final = ("onnxruntime", "scikit-learn", "numpy")

_TITLES: Final = {
    "cka": "CKA of each layer with the next",
    "saturation": "saturation",
    "sparsity": "sparsity score alpha",
}

Action = Literal["probed", "fresh", "nothing"]
_Done = workers.Done[worker.Task, worker.Outcome]


@dataclass(frozen=True, slots=True)
class ZooReport:
    """What a run did and found.

    Parameters
    ----------
    action
        ``"fresh"`` where the folder was up to date already, ``"nothing"`` where no model could be probed and
        the folder was left as it was.
    out
        The folder.
    found
        What is in it.
    probed, reused, same
        Models that were run and gave a result, models of which an earlier run has told, and models whose
        content is that of another one that was run.
    """

    action: Action
    out: Path
    found: ZooProbe
    probed: int
    reused: int
    same: int = 0

    @property
    def failed(self) -> int:
        """Models that could not be probed."""
        return int((self.found.models["status"] != "ok").sum())

    @property
    def empty(self) -> bool:
        """Whether no model could be probed."""
        return self.failed == len(self.found.models)


def probe_zoo(
    what: worker.What,
    zoo: Sequence[Path],
    out: Path,
    config: RunConfig,
    options: Mapping[str, Any],
    *,
    figure: Path | None = None,
    force: bool = False,
) -> ZooReport:
    """Probe every model of a zoo.

    Parameters
    ----------
    what
        The probe.
    zoo
        Folders of models, or single models.
    out
        The folder to write. It is at every moment absent, the old one or the new one.
    config
        Who works, and what a model may cost.
    options
        Passed on to the probe.
    figure
        A figure to write: ``.png``, ``.svg`` or ``.pdf``.
    force
        Probe every model again, and replace what another probe has written there.

    Raises
    ------
    UsageError
        If an option, the data or the zoo cannot be used.
    OutputError
        If nothing can be written there, or another run does.
    """
    timings = provenance.Timings()
    place.require_replaceable(out, PROBES)
    if not force:
        folder.require_same_probe(out, what, options.get("b"))
    require_output(figure, "figure", FIGURES)
    worker.require_options(what, options)
    _require_scheduler(config)
    sources = discover(zoo)
    # Models run side by side, so each has one thread if nothing else is said.
    options = {**options, "threads": options["threads"] or 1}
    key = _key(what, options)
    older = None if force else _older(out, key)
    staging = out.with_name(f"{out.name}.staging")
    with files.exclusive_folder(staging, purpose=str(out)):
        files.refuse_foreign(staging, _OURS)
        if force:
            files.discard_content(staging)
        job, report = _Job(what, key, options, staging, config), None
        try:
            with timings.phase("probe"):
                outcomes = job.run(sources, older)
            report = _finish(job, sources, outcomes, older, out, timings)
        finally:
            # What was found is what the next run goes on from; what is half-written only takes space.
            files.remove_temporary(staging)
            if report is not None or not any(staging.glob("*.part")):
                files.discard(staging)
    if figure is not None and not report.empty:
        save_figure(draw(report.found), figure)
    return report


def draw(found: ZooProbe, *, width: float | None = None) -> Drawing:
    """Return the figure of a probed zoo: a strip a model.

    Parameters
    ----------
    found
        What was found.
    width
        Of the figure, in inches; one column of a page where not said.
    """
    from filterdb.figures.probed_zoo import zoo_strips
    from filterdb.figures.style import COLUMN

    other = found.manifest["settings"].get("b")
    title = _TITLES[found.what] if other is None else f"CKA with the most alike layer of {Path(other).stem}"
    return zoo_strips(zoo_tables.by_layer(found), value="value", title=title, width=width or COLUMN)


def _finish(
    job: _Job,
    sources: Sequence[ModelSource],
    outcomes: Mapping[str, worker.Outcome],
    older: ZooProbe | None,
    out: Path,
    timings: provenance.Timings,
) -> ZooReport:
    probed, reused, same = _counts(outcomes.values())
    found = zoo_tables.assemble(sources, outcomes, older, job.staging, job.key)
    if older is not None and not probed and zoo_tables.same_models(found, older):
        return ZooReport("fresh", out, older, 0, reused)
    manifest = {
        "what": job.what,
        "key": job.key,
        "settings": _plain(job.options),
        "models": len(sources),
        "seconds": timings.seconds,
        "provenance": provenance.of_run(job.config),
    }
    report = ZooReport("probed", out, replace(found, manifest=manifest), probed, reused, same)
    if report.empty:
        return replace(report, action="nothing")
    folder.save(report.found, out, job.staging)
    return report


def _counts(outcomes: Collection[worker.Outcome]) -> tuple[int, int, int]:
    """Return how many models were run, known before, and the same as another one that was run."""
    run = {one.sha256 for one in outcomes if not one.reused and not one.reason}
    same = sum(one.sha256 in run for one in outcomes) - len(run)
    known = sum(one.reused and one.sha256 not in run for one in outcomes)
    return len(run), known, same


@dataclass(frozen=True, slots=True)
class _Job:
    """A run that holds its working folder."""

    what: worker.What
    key: str
    options: Mapping[str, Any]
    staging: Path
    config: RunConfig

    def run(self, sources: Sequence[ModelSource], older: ZooProbe | None) -> dict[str, worker.Outcome]:
        """Return what became of each model, by its name."""
        with files.writing(self.staging):
            files.remove_temporary(self.staging)
            known = [] if older is None else zoo_tables.known(older)
            worker.known_path(self.staging).write_text(json.dumps(known), "utf-8")
        sizes = {source.name: file_size(source.path) for source in sources}
        order = sorted(sources, key=lambda source: -sizes[source.name])
        names = {self._task(source): source.name for source in order}
        outcomes = {}
        with (
            progress(self.what, len(sources), "models") as bar,
            # What ends this loop early ends the workers at once, not when a traceback is forgotten.
            closing(self._schedule(list(names), [sizes[name] for name in names.values()])) as dones,
        ):
            for done in dones:
                outcomes[names[done.item]] = done.result or _crashed(done)
                bar.advance()
        return outcomes

    def _task(self, source: ModelSource) -> worker.Task:
        options = tuple(self.options.items())
        return worker.Task(source.path.absolute(), self.staging.absolute(), self.what, self.key, options)

    def _schedule(self, tasks: Sequence[worker.Task], sizes: Sequence[int]) -> Generator[_Done]:
        settings, count = self.config.probe, workers.worker_count(self.config.workers, len(tasks))
        if self.config.scheduler in LOCAL_SCHEDULERS:
            limits = _limits(settings.timeout, workers.memory_per_worker(settings.memory, count))
            return workers.run_supervised(_WORKER, tasks, workers=count, limits=limits)
        from filterdb.run.workforce.cluster import run_on_dask

        limits = _limits(settings.timeout, settings.memory if isinstance(settings.memory, int) else 0)
        return run_on_dask(_WORKER, tasks, site=Site.of(self.config, count), limits=limits, sizes=sizes)


def _limits(seconds: float, memory: int) -> workers.Limits:
    return workers.Limits(seconds, memory, act="probing it", section="probe")


def _require_scheduler(config: RunConfig) -> None:
    """Refuse what cannot be used, such as threads: a model that crashes would end the whole run."""
    if config.scheduler == "threads":
        raise UsageError(
            "a zoo is not probed in threads: each model needs a process that may die",
            expected="local, processes, cluster, or the address of a Dask scheduler",
            hint="--scheduler local",
        )
    refuse_dask_options(config)


def _key(what: str, options: Mapping[str, Any]) -> str:
    """Return a hash of all that the outcome depends on, but for the models of the zoo."""
    # These say how the work is done, and where the data lies; the numbers do not depend on them.
    settings = {name: value for name, value in options.items() if name not in _NO_MATTER}
    return provenance.digest(
        what=what,
        settings=_plain(settings),
        data=data_identity(options["data"], options.get("labels")),
        other=None if "b" not in options else _identity(options["b"]),
        version=PROBE_VERSION,
        filterdb=filterdb.__version__,
        packages={name: metadata.version(name) for name in _PACKAGES},
    )


def _identity(path: Path) -> str:
    with open_model(path) as model:
        return model.sha256


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


def _older(out: Path, key: str) -> ZooProbe | None:
    """Return what is there already, if it was made in the same way and nobody has damaged it."""
    try:
        found = folder.load(out)
    except FilterDBError:
        return None
    return found if found.key == key else None


def _crashed(done: _Done) -> worker.Outcome:
    error = done.error or WorkerError("the process that probed it gave no result")
    return worker.Outcome("", file_size(done.item.path), reason=error.reason, crashed=True)
