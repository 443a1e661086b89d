"""What the stages tell a person, and the same facts as plain data."""

from __future__ import annotations

from typing import Any

from filterdb.run.analyze import AnalyzeReport
from filterdb.run.extract import ExtractReport
from filterdb.store import DatasetFile


def extract_summary(report: ExtractReport) -> dict[str, Any]:
    """Return the outcome of an extraction as plain data."""
    tables = report.tables
    return {
        "action": report.action,
        "dataset": str(report.path),
        "content_hash": report.content_hash,
        "filters": tables.n_filters,
        "records": len(tables.meta),
        "models": dict(report.statuses),
        "parsed": report.parsed,
        "reused": report.reused,
        "metadata_without_model": list(report.metadata.without_model),
        "models_without_metadata": [
            name
            for name, known in zip(tables.models["name"], report.metadata.has_row, strict=True)
            if not known
        ],
    }


def extract_text(report: ExtractReport) -> str:
    """Return the outcome of an extraction as a few lines."""
    tables, statuses = report.tables, report.statuses
    head = {
        "fresh": f"{report.path} is fresh: nothing has changed",
        "nothing": "no model holds a filter of this size: nothing was written",
        "extracted": f"{report.path}: {tables.n_filters:,} filters of {len(tables.meta):,} layers",
    }[report.action]
    lines = [head]
    lines.append(
        f"  models: {len(tables.models)} ({statuses['ok']} with filters, {statuses['no_filters']} without, "
        f"{statuses['failed'] + statuses['crashed']} failed); {report.parsed} parsed, {report.reused} reused"
    )
    failed = tables.models[tables.models["status"].isin(["failed", "crashed"])]
    lines += [
        f"  failed: {path}: {reason}" for path, reason in zip(failed["path"], failed["reason"], strict=True)
    ]
    if len(tables.skipped):
        lines.append(f"  layers without a record: {len(tables.skipped)}; /skipped gives each one's reason")
    if report.metadata.without_model:
        lines.append(f"  metadata rows without a model: {', '.join(report.metadata.without_model)}")
    unknown = [
        n for n, known in zip(tables.models["name"], report.metadata.has_row, strict=True) if not known
    ]
    if unknown:
        lines.append(f"  models without a metadata row: {', '.join(unknown)}")
    return "\n".join(lines)


def info_summary(file: DatasetFile) -> dict[str, Any]:
    """Return what a data set holds as plain data."""
    tables = file.tables
    return {
        **file.attributes,
        "models_by_status": tables.models["status"].value_counts().to_dict(),
        "skipped_layers": len(tables.skipped),
        "meta_columns": list(tables.meta.columns),
    }


def info_text(file: DatasetFile) -> str:
    """Return what a data set holds as one screen."""
    tables = file.tables
    lines = [f"{key:18} {value}" for key, value in file.attributes.items()]
    lines += [f"{'models':18} {tables.models['status'].value_counts().to_dict()}"]
    for column in ("Task", "Visual Category"):
        counts = tables.meta.groupby(column)["filter_ids"].count().to_dict()
        lines.append(f"{column:18} {counts}")
    return "\n".join(lines)


def analyze_summary(report: AnalyzeReport) -> dict[str, Any]:
    """Return the outcome of an analysis as plain data."""
    labels = ("random", "low_diversity", "degenerate")
    return {
        "results": str(report.out),
        "layers": len(report.layers),
        "labels": {name: int(report.layers[name].sum()) for name in labels},
        "shifts": {name: matrix.pairs().to_dict("records") for name, matrix in report.shifts.items()},
    }


def analyze_text(report: AnalyzeReport) -> str:
    """Return the outcome of an analysis as a few lines."""
    summary = analyze_summary(report)
    lines = [f"{report.out}: {summary['layers']} layers"]
    lines += [f"  {name}: {count}" for name, count in summary["labels"].items()]
    for name, matrix in report.shifts.items():
        largest = matrix.pairs().sort_values("D", ascending=False).iloc[0]
        lines.append(
            f"  largest shift by {name}: {largest['group_a']} - {largest['group_b']}, D = {largest['D']:.3f}"
        )
    return "\n".join(lines)
