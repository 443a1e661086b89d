"""The stage that turns a data set file into quality metrics and distribution shifts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

import filterdb
from filterdb import quality, shift
from filterdb.config import RunConfig
from filterdb.errors import ColumnError, StoreError
from filterdb.run import provenance, results
from filterdb.run.provenance import Timings
from filterdb.run.results import Measured, Results
from filterdb.run.scans import scanner
from filterdb.shift import ShiftMatrix
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
    axes = [shift.make_axis(meta, by) for by in config.analyze.by]
    measuring = _hash(dataset=content, bins=config.analyze.bins, version=MEASURE_VERSION)
    inputs = _hash(measuring=measuring, by=config.analyze.by, filterdb=filterdb.__version__)
    manifest = {} if force else results.read_manifest(out)
    if manifest.get("inputs") == inputs and (fresh := _read(out, axes)) is not None:
        return fresh
    measured = _measured_before(out) if manifest.get("measuring") == measuring else None
    scanned = measured is None
    if measured is None:
        with timings.phase("scan"):
            measured = _measure(path, config)
    with timings.phase("quality"):
        layers = _layers(meta, measured.cube)
    with timings.phase("shift"):
        shifts = {axis.name: _shift(axis, measured).pairs() for axis in axes}
    made = {"dataset": content, "measuring": measuring, "inputs": inputs, "seconds": timings.seconds}
    found = Results(
        measured, layers, _models(layers), shifts, made | {"provenance": provenance.of_run(config)}
    )
    results.save(found, out)
    return AnalyzeReport("analyzed", out, layers, shifts, scanned)


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


def _read(out: Path, axes: Sequence[shift.Axis]) -> AnalyzeReport | None:
    """Read results that are up to date; ones that somebody has damaged are computed again."""
    try:
        layers = pd.read_parquet(out / "layers.parquet")
        shifts = {
            axis.name: pd.read_parquet(out / "shift" / f"{results.axis_stem(axis.name)}.parquet")
            for axis in axes
        }
    except (OSError, ValueError):
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


def _shift(axis: shift.Axis, measured: Measured) -> ShiftMatrix:
    cube = measured.cube
    counts = cube.group_counts(axis.codes, len(axis.groups))
    filled = [i for i in range(len(axis.groups)) if counts[i].any()]
    if len(filled) < 2:
        raise ColumnError(
            f"the axis {axis.name!r} has {len(filled)} groups with filters", expected="two or more"
        )
    names = [axis.groups[i] for i in filled]
    return shift.shift_matrix(
        names, counts[filled], weights=measured.basis.explained, width=cube.bin_width, ordered=axis.ordered
    )
