"""The stage that turns a data set file into quality metrics and distribution shifts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from filterdb import quality, shift
from filterdb.config import RunConfig
from filterdb.errors import ColumnError
from filterdb.run import files, provenance
from filterdb.run.scans import scanner
from filterdb.shift import Basis, ShiftMatrix
from filterdb.stats import Cube, merge_records
from filterdb.store import DatasetFile


@dataclass(frozen=True, slots=True)
class AnalyzeReport:
    """What an analysis found."""

    out: Path
    layers: pd.DataFrame
    basis: Basis
    shifts: dict[str, ShiftMatrix]


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
        meta, content = file.tables.meta, file.content_hash
    axes = [shift.make_axis(meta, by) for by in config.analyze.by]
    with scanner(path, config) as scan:
        records = scan.statistics()
        basis = shift.fit_basis(merge_records(records, "scaled"))
        cube = scan.cube(records, basis, config.analyze.bins)
    layers = _layers(meta, [quality.record_quality(cube.stats(row)) for row in range(len(cube))])
    shifts = {axis.name: _shift(axis, cube, basis) for axis in axes}
    report = AnalyzeReport(out, layers, basis, shifts)
    _write(report, config, content)
    return report


def _layers(meta: pd.DataFrame, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    metrics = pd.DataFrame(rows, index=meta.index)
    labels = [quality.label(row["n"], row["variance_entropy"], row["sparsity"]) for row in rows]
    named = meta[["model", "layer_name"]]
    return pd.concat([named, metrics, pd.DataFrame(labels, index=meta.index)], axis="columns")


def _shift(axis: shift.Axis, cube: Cube, basis: Basis) -> ShiftMatrix:
    counts = cube.group_counts(axis.codes, len(axis.groups))
    filled = [i for i in range(len(axis.groups)) if counts[i].any()]
    if len(filled) < 2:
        raise ColumnError(
            f"the axis {axis.name!r} has {len(filled)} groups with filters", expected="two or more"
        )
    names = [axis.groups[i] for i in filled]
    return shift.shift_matrix(
        names, counts[filled], weights=basis.explained, width=cube.bin_width, ordered=axis.ordered
    )


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
