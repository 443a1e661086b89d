"""The stage that turns a data set file into quality metrics and distribution shifts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import filterdb
from filterdb import quality, shift
from filterdb.config import AnalyzeConfig, RunConfig
from filterdb.errors import ColumnError, FilterDBError, UsageError
from filterdb.run import place, provenance
from filterdb.run.analysis import results
from filterdb.run.analysis.measuring import Choice, Measuring
from filterdb.run.analysis.results import Results
from filterdb.run.provenance import Timings, digest
from filterdb.run.workforce.workers import cpu_count, worker_count
from filterdb.shift import AxisShift, CoordinateSystem
from filterdb.stats import unpack
from filterdb.store import open_dataset

LABELS: Final = ("random", "low_diversity", "degenerate")

Action = Literal["analyzed", "fresh"]


@dataclass(frozen=True, slots=True)
class AnalyzeReport:
    """What a run did and found.

    Parameters
    ----------
    action
        ``"fresh"`` where the results were up to date already.
    out
        The results folder.
    results
        What it holds.
    scans
        What the filters were read for: ``statistics``, ``range``, ``counts``; where only an axis is new,
        nothing.
    notes
        What a person should know of how the results came about.
    """

    action: Action
    out: Path
    results: Results
    scans: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> pd.DataFrame:
        """Metrics and labels of every record."""
        return self.results.layers

    @property
    def shifts(self) -> dict[str, pd.DataFrame]:
        """The long table of every axis."""
        return {name: one.pairs for name, one in self.results.shifts.items()}

    @property
    def coordinates(self) -> CoordinateSystem:
        """Where filters were measured."""
        return self.results.measured.coordinates

    @property
    def scanned(self) -> bool:
        """Whether the filters were read."""
        return bool(self.scans)


def analyze(path: Path, out: Path, config: RunConfig, *, force: bool = False) -> AnalyzeReport:
    """Compute quality metrics of every layer and the shifts along the configured axes.

    Parameters
    ----------
    path
        The data set file.
    out
        The results folder.
    config
        Axes, coordinates and how to work.
    force
        Compute everything again.
    """
    place.require_replaceable(out)
    with open_dataset(path) as file:
        meta, content, kernel = file.tables.meta, file.content_hash, file.kernel
    settings, timings = config.analyze, Timings()
    meta, relabelled = shift.relabel(meta, settings.relabel)
    choice = Choice.of(settings, kernel)
    if not _asks_for_metrics(settings):
        # Wrong names are found before anything is computed; those of metrics have to wait for them.
        _axes(meta, settings)
    older = {} if force else results.read_manifest(out)
    with ExitStack() as stack:
        job = Measuring(path, kernel, content, config, stack, out, older, timings)
        made = _inputs(job, choice)
        if older.get("inputs") == made["inputs"] and (fresh := _fresh(out)) is not None:
            place.tidy(out)
            return fresh
        staging = stack.enter_context(place.held(out))
        found = _compute(job, meta, choice, {**made, "relabelled": relabelled})
        results.save(found, out, staging)
    replaced = older.get("dataset", content) != content
    said = ["they replace the results of another data set"] if replaced else []
    return AnalyzeReport("analyzed", out, found, tuple(job.scans), (*found.manifest["notes"], *said))


def _inputs(job: Measuring, choice: Choice) -> dict[str, Any]:
    """Describe what determines the results; a given basis stands under its identity, wherever it lies."""
    settings = job.config.analyze.model_dump(mode="json") | choice.settings
    return {
        "dataset": job.content,
        "dataset_file": str(job.path),
        "statistics": job.statistics_key,
        "settings": settings,
        "inputs": digest(statistics=job.statistics_key, settings=settings, filterdb=filterdb.__version__),
    }


def _compute(job: Measuring, meta: pd.DataFrame, choice: Choice, made: Mapping[str, Any]) -> Results:
    settings, timings = job.config.analyze, job.timings
    records = job.statistics()
    with timings.phase("quality"):
        layers = _layers(meta, records, quality.Thresholds(**settings.labels.model_dump()))
    frame = results.joined(meta, layers)
    axes, notes = _axes(frame, settings)
    chosen = _selected(frame, settings) if choice.source == "subset" else None
    measured = job.measure(records, choice, chosen)
    shifts = {}
    for axis in axes:
        with timings.phase(f"axis {axis.name}"):
            shifts[axis.name] = _shift(axis, measured, job.config)
    layers = layers.assign(outside=measured.cube.outside)
    manifest = {
        **made,
        "counts": job.counts_key(choice, chosen),
        "coordinates": _described(measured.coordinates, choice, chosen),
        "notes": notes,
        "seconds": timings.seconds,
        "provenance": provenance.of_run(job.config),
    }
    return Results(measured, meta, layers, _models(layers), shifts, manifest)


def _described(
    coordinates: CoordinateSystem, choice: Choice, chosen: NDArray[np.bool_] | None
) -> dict[str, Any]:
    return {
        "identity": coordinates.identity,
        "basis": choice.source,
        "policy": coordinates.policy,
        "range": [coordinates.low, coordinates.high],
        "bins": coordinates.bins,
        "fitted_to_filters": coordinates.basis.n,
        "fitted_to_layers": None if chosen is None else int(chosen.sum()),
    }


def _asks_for_metrics(settings: AnalyzeConfig) -> bool:
    texts = (*settings.by, settings.combine_with or "", settings.where or "")
    return any(name in text for text in texts for name in (*quality.METRICS, "reason", *LABELS))


def _axes(frame: pd.DataFrame, settings: AnalyzeConfig) -> tuple[list[shift.Axis], list[str]]:
    """Return the axes that have groups to compare, and say why others have none."""
    axes = [shift.make_axis(frame, by, with_=settings.combine_with, fewest=0) for by in settings.by]
    if settings.where is not None:
        mask = shift.evaluate(settings.where, frame, where="--where")
        axes = [shift.restrict(axis, mask, fewest=0) for axis in axes]
    lacking = [axis.lack for axis in axes if axis.lack]
    if axes and len(lacking) == len(axes):
        raise ColumnError(
            "; ".join(lacking),
            expected="an axis of at least two groups",
            hint="another --by, or a wider --where",
        )
    return [axis for axis in axes if not axis.lack], [f"left out: {lack}" for lack in lacking]


def _selected(frame: pd.DataFrame, settings: AnalyzeConfig) -> NDArray[np.bool_]:
    """Return which records the condition selects; one that cannot be computed selects nothing."""
    found = shift.evaluate(settings.where or "", frame, where="--where")
    if found.dtype != "boolean":
        raise UsageError("the condition is not true or false for each record", where="--where")
    chosen: NDArray[np.bool_] = found.fillna(False).to_numpy(bool)
    if not chosen.any():
        raise UsageError(
            "no record meets the condition", where="--where", expected="records to fit a basis to"
        )
    return chosen


def _fresh(out: Path) -> AnalyzeReport | None:
    """Read results that are up to date; ones that somebody has damaged are computed again."""
    try:
        found = results.load(out)
    except FilterDBError:
        return None
    return AnalyzeReport("fresh", out, found, notes=tuple(found.manifest.get("notes", ())))


def _layers(meta: pd.DataFrame, records: NDArray[Any], thresholds: quality.Thresholds) -> pd.DataFrame:
    rows = [quality.record_quality(unpack(record)) for record in records]
    metrics = pd.DataFrame(rows, index=meta.index)
    columns = (records["finite"].tolist(), *(metrics[c].tolist() for c in ("variance_entropy", "sparsity")))
    width = int(records["raw_mean"].shape[1])
    labels = [
        quality.label(n, entropy, sparsity, thresholds, values=width)
        for n, entropy, sparsity in zip(*columns, strict=True)
    ]
    named = meta[["model", "layer_name"]]
    return pd.concat([named, metrics, pd.DataFrame(labels, index=meta.index)], axis="columns")


def _models(layers: pd.DataFrame) -> pd.DataFrame:
    """Summarize the layers of each model: means weighted by filters, and shares of labelled layers."""
    metrics = [name for name in quality.METRICS if name != "n" and not name.startswith("norm_")]
    groups = layers.groupby(level="model_id", sort=True)
    summary = groups.agg(model=("model", "first"), layers=("n", "size"), n=("n", "sum"))
    for name in metrics:
        weights = layers["n"].where(layers[name].notna(), 0)
        total = (layers[name] * layers["n"]).groupby(level="model_id", sort=True).sum()
        summary[name] = total / weights.groupby(level="model_id", sort=True).sum()
    for name in LABELS:
        summary[f"{name}_layers"] = groups[name].sum()
    return summary


def _shift(axis: shift.Axis, measured: results.Measured, config: RunConfig) -> AxisShift:
    """Compare every two groups of an axis, with what chance alone would give."""
    settings = config.analyze
    threads = worker_count(config.workers, cpu_count())
    return shift.axis_shift(
        axis,
        measured.cube,
        measured.coordinates,
        by=settings.measure,
        weighting=settings.weighting,
        resampling=shift.Resampling(settings.seed, settings.permutations, settings.draws, threads=threads),
    )
