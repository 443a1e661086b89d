"""The stage that turns a data set file into quality metrics and distribution shifts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

from filterdb import quality, shift, stats
from filterdb.config import RunConfig
from filterdb.errors import ColumnError
from filterdb.run import files, provenance
from filterdb.run.workers import cpu_count
from filterdb.shift import Basis, ShiftMatrix
from filterdb.stats import Moments
from filterdb.store import DatasetFile
from filterdb.types import Filters, RowRange

BATCH_ROWS = 1 << 18
"""Rows of one task: enough to outweigh its scheduling, little enough to spread evenly."""


@dataclass(frozen=True, slots=True)
class AnalyzeReport:
    """What an analysis found."""

    out: Path
    layers: pd.DataFrame
    basis: Basis
    shifts: dict[str, ShiftMatrix]


@dataclass(frozen=True, slots=True)
class _Record:
    rows: RowRange
    out_channels: int


def analyze(path: Path, out: Path, config: RunConfig) -> AnalyzeReport:
    """Compute quality metrics of every layer and the shifts along the configured axes.

    Parameters
    ----------
    path
        The data set file.
    out
        The results folder.
    config
        Axes and how to work.
    """
    with DatasetFile(path) as file:
        meta, width, content = file.tables.meta, file.kernel.size, file.content_hash
    axes = [shift.make_axis(meta, by) for by in config.analyze.by]
    records = [
        _Record(RowRange(start, end), channels)
        for start, end, channels in zip(
            meta["filter_start"], meta["filter_end"], meta["out_channels"], strict=True
        )
    ]
    first = _map(_first_scan, path, records, config)
    basis = shift.fit_basis(stats.merge([moments for moments, _ in first], width))
    ranges = np.array(_map(_range_scan, path, records, config, basis))
    low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    counts = np.stack(_map(_count_scan, path, records, config, basis, low, high, config.analyze.bins))
    layers = _layers(meta, [row for _, row in first])
    bin_width = (high - low) / config.analyze.bins
    shifts = {axis.name: _shift(axis, counts, basis, bin_width) for axis in axes}
    report = AnalyzeReport(out, layers, basis, shifts)
    _write(report, config, content)
    return report


def _map(
    function: Callable[..., Any], path: Path, records: Sequence[_Record], config: RunConfig, *arguments: Any
) -> list[Any]:
    """Apply a function to the filters of every record, in batches of even cost, results in record order."""
    tasks = [delayed(_batch)(function, path, batch, arguments) for batch in _batches(records)]
    workers = cpu_count() if config.workers == "auto" else config.workers
    return [row for batch in compute(*tasks, scheduler="threads", num_workers=workers) for row in batch]


def _batches(records: Sequence[_Record]) -> list[list[_Record]]:
    batches: list[list[_Record]] = [[]]
    rows = 0
    for record in records:
        if rows >= BATCH_ROWS:
            batches.append([])
            rows = 0
        batches[-1].append(record)
        rows += len(record.rows)
    return batches


def _batch(
    function: Callable[..., Any], path: Path, records: Sequence[_Record], arguments: tuple[Any, ...]
) -> list[Any]:
    with DatasetFile(path) as file:
        return [function(file.read(record.rows), record, *arguments) for record in records]


def _first_scan(filters: Filters, record: _Record) -> tuple[Moments, dict[str, Any]]:
    metrics = quality.layer_quality(filters, out_channels=record.out_channels)
    return stats.moments_of(stats.scaled(stats.finite_rows(filters))), metrics


def _range_scan(filters: Filters, _record: _Record, basis: Basis) -> tuple[float, float]:
    coefficients = basis.project(stats.scaled(stats.finite_rows(filters)))
    return float(coefficients.min(initial=np.inf)), float(coefficients.max(initial=-np.inf))


def _count_scan(
    filters: Filters, _record: _Record, basis: Basis, low: float, high: float, bins: int
) -> NDArray[np.int64]:
    coefficients = basis.project(stats.scaled(stats.finite_rows(filters)))
    return stats.coefficient_counts(coefficients, low=low, high=high, bins=bins)


def _layers(meta: pd.DataFrame, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    metrics = pd.DataFrame(rows, index=meta.index)
    labels = [quality.label(row["n"], row["variance_entropy"], row["sparsity"]) for row in rows]
    named = meta[["model", "layer_name"]]
    return pd.concat([named, metrics, pd.DataFrame(labels, index=meta.index)], axis="columns")


def _shift(axis: shift.Axis, counts: NDArray[np.int64], basis: Basis, width: float) -> ShiftMatrix:
    groups = [i for i in range(len(axis.groups)) if np.any(axis.codes == i)]
    if len(groups) < 2:
        raise ColumnError(
            f"the axis {axis.name!r} has {len(groups)} groups with filters", expected="two or more"
        )
    summed = np.stack([counts[axis.codes == i].sum(axis=0) for i in groups])
    names = [axis.groups[i] for i in groups]
    return shift.shift_matrix(names, summed, weights=basis.explained, width=width, ordered=axis.ordered)


def _write(report: AnalyzeReport, config: RunConfig, content: str) -> None:
    with files.writing(report.out):
        (report.out / "shift").mkdir(parents=True, exist_ok=True)
        report.layers.to_parquet(report.out / "layers.parquet")
        for name, matrix in report.shifts.items():
            stem = report.out / "shift" / re.sub(r"[^\w.-]+", "_", name)
            matrix.pairs().to_parquet(stem.with_suffix(".parquet"))
            matrix.pairs().to_csv(stem.with_suffix(".csv"), index=False)
    files.write_json(report.out / "basis.json", report.basis.to_json())
    files.write_json(report.out / "manifest.json", provenance.of_run(config) | {"dataset": content})
