"""The stage that turns a data set file into quality metrics and distribution shifts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import filterdb
from filterdb import quality, shift
from filterdb.config import AnalyzeConfig, RunConfig
from filterdb.errors import StoreError
from filterdb.run import provenance, results
from filterdb.run.provenance import Timings
from filterdb.run.results import Measured, Results
from filterdb.run.scans import scanner
from filterdb.stats import Cube, merge_records
from filterdb.store import DatasetFile

MEASURE_VERSION = 1
"""Changes when the same filters would give another cube."""

LABELS = ("random", "low_diversity", "degenerate")

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
    layers
        Metrics and labels of every record.
    shifts
        The long table of every axis.
    scanned
        The filters were read; where only an axis is new, they are not.
    """

    action: Action
    out: Path
    layers: pd.DataFrame
    shifts: dict[str, pd.DataFrame]
    scanned: bool


def analyze(path: Path, out: Path, config: RunConfig, *, force: bool = False) -> AnalyzeReport:
    """Compute quality metrics of every layer and the shifts along the configured axes.

    Parameters
    ----------
    path
        The data set file.
    out
        The results folder.
    config
        Axes and how to work.
    force
        Compute everything again.
    """
    timings = Timings()
    with DatasetFile(path) as file:
        meta, content = file.tables.meta, file.content_hash
    settings = config.analyze
    # Wrong names are found before anything is computed, but for those of metrics, which are not there yet.
    axes = None if _asks_for_metrics(settings) else _axes(meta, settings)
    measuring = _hash(dataset=content, bins=settings.bins, version=MEASURE_VERSION)
    inputs = _hash(measuring=measuring, settings=settings.model_dump(), filterdb=filterdb.__version__)
    manifest = {} if force else results.read_manifest(out)
    if manifest.get("inputs") == inputs and (fresh := _read(out, manifest)) is not None:
        return fresh
    measured = _measured_before(out) if manifest.get("measuring") == measuring else None
    scanned = measured is None
    if measured is None:
        with timings.phase("scan"):
            measured = _measure(path, config)
    with timings.phase("quality"):
        layers = _layers(meta, measured.cube)
    axes = axes or _axes(meta.join(layers.drop(columns=["model", "layer_name"])), settings)
    with timings.phase("shift"):
        shifts = {axis.name: _shift(axis, measured, settings) for axis in axes}
    made = {
        "dataset": content,
        "measuring": measuring,
        "inputs": inputs,
        "axes": list(shifts),
        "seconds": timings.seconds,
        "provenance": provenance.of_run(config),
    }
    results.save(Results(measured, layers, _models(layers), shifts, made), out)
    return AnalyzeReport("analyzed", out, layers, shifts, scanned)


def _asks_for_metrics(settings: AnalyzeConfig) -> bool:
    texts = (*settings.by, settings.combine_with or "", settings.where or "")
    return any(name in text for text in texts for name in (*quality.METRICS[1:], *LABELS))


def _axes(frame: pd.DataFrame, settings: AnalyzeConfig) -> list[shift.Axis]:
    axes = [shift.make_axis(frame, by, with_=settings.combine_with) for by in settings.by]
    if settings.where is None:
        return axes
    mask = shift.evaluate(settings.where, frame, where="--where")
    return [shift.restrict(axis, mask) for axis in axes]


def _hash(**values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _measure(path: Path, config: RunConfig) -> Measured:
    with scanner(path, config) as scan:
        records = scan.statistics()
        basis = shift.fit_basis(merge_records(records, "scaled"))
        return Measured(basis, scan.cube(records, basis, config.analyze.bins))


def _measured_before(out: Path) -> Measured | None:
    try:
        return results.load_measured(out)
    except StoreError:
        return None


def _read(out: Path, manifest: Mapping[str, Any]) -> AnalyzeReport | None:
    """Read results that are up to date; ones that somebody has damaged are computed again."""
    try:
        layers = pd.read_parquet(out / "layers.parquet")
        shifts = {
            name: pd.read_parquet(out / "shift" / f"{results.axis_stem(name)}.parquet")
            for name in manifest["axes"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return AnalyzeReport("fresh", out, layers, shifts, scanned=False)


def _layers(meta: pd.DataFrame, cube: Cube) -> pd.DataFrame:
    rows = [quality.record_quality(cube.stats(row)) for row in range(len(cube))]
    metrics = pd.DataFrame(rows, index=meta.index)
    columns = (metrics[name].tolist() for name in ("n", "variance_entropy", "sparsity"))
    labels = [quality.label(n, entropy, sparsity) for n, entropy, sparsity in zip(*columns, strict=True)]
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


def _shift(axis: shift.Axis, measured: Measured, settings: AnalyzeConfig) -> pd.DataFrame:
    """Compare every two groups of an axis, with what chance alone would give."""
    cube = measured.cube
    models = np.zeros(len(cube), np.int64) if axis.models is None else axis.models
    resampling = shift.Resampling(settings.seed, settings.permutations, settings.draws)
    return shift.uncertainty(
        axis.name,
        axis.groups,
        cube.counts,
        axis.codes,
        models,
        weights=measured.basis.explained,
        width=cube.bin_width,
        by=settings.measure,
        weighting=settings.weighting,
        resampling=resampling,
    )
