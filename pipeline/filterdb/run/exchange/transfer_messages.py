"""What exports, imports, merges and subsets tell a person, and the same facts as plain data."""

from __future__ import annotations

from typing import Any

from filterdb.errors import printable
from filterdb.run.exchange.derive import DeriveReport
from filterdb.run.exchange.export import ExportReport


def derive_summary(report: DeriveReport) -> dict[str, Any]:
    """Return the outcome of an import, a merge or a subset as plain data."""
    tables = report.tables
    return {
        "action": report.action,
        "dataset": str(report.path),
        "content_hash": report.content_hash,
        "filters": tables.n_filters,
        "records": len(tables.meta),
        "models": len(tables.models),
        "operation": dict(report.operation),
        "notes": list(report.notes),
    }


def derive_text(report: DeriveReport) -> str:
    """Return the outcome of an import, a merge or a subset as a few lines."""
    tables = report.tables
    head = (
        f"{report.path} is fresh: nothing has changed"
        if report.action == "fresh"
        else f"{report.path}: {tables.n_filters:,} filters of {len(tables.meta):,} layers"
    )
    with_filters = int((tables.models["n_records"] > 0).sum())
    lines = [head, f"  models: {len(tables.models):,} ({with_filters:,} with filters)"]
    lines.append(f"  content hash: {report.content_hash}")
    return "\n".join([*lines, *(f"  note: {printable(note)}" for note in report.notes)])


def export_summary(report: ExportReport) -> dict[str, Any]:
    """Return the outcome of an export as plain data."""
    return {
        "action": report.action,
        "folder": str(report.out),
        "content_hash": report.content_hash,
        "filters": report.filters,
        "models": report.models,
        "bytes": report.bytes,
        "license": report.license,
        "importable": report.importable,
    }


def export_text(report: ExportReport) -> str:
    """Return the outcome of an export as a few lines."""
    head = (
        f"{report.out} is fresh: nothing has changed"
        if report.action == "fresh"
        else f"{report.out}: {report.filters:,} filters of {report.models:,} models, "
        f"{report.bytes / 1e6:,.1f} MB"
    )
    lines = [head]
    if report.license == "other":
        lines.append(
            "  licence: the card says 'other'; the weights are those of the models' authors, and --license "
            "states what you know of their terms"
        )
    else:
        lines.append(f"  licence: {printable(report.license)}, as you have stated it")
    if not report.importable:
        lines.append(
            "  note: a published file has no content hash, so that filterdb import cannot restore it"
        )
    return "\n".join(lines)
