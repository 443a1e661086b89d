"""What the stages tell a person, and the same facts as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from filterdb.errors import printable
from filterdb.store import DatasetFile

if TYPE_CHECKING:
    from filterdb.run.analysis.analyze import AnalyzeReport
    from filterdb.run.analysis.compare import CompareReport
    from filterdb.run.extraction.report import ExtractReport

_LINES: Final = 20


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
        "notes": list(report.notes),
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
    reasons = [f"{path}: {reason}" for path, reason in zip(failed["path"], failed["reason"], strict=True)]
    lines += [f"  failed: {line}" for line in _first(reasons)]
    if len(tables.skipped):
        lines.append(f"  layers without a record: {len(tables.skipped)}; /skipped gives each one's reason")
    lines += _join_lines(report)
    return "\n".join([*lines, *(f"  note: {note}" for note in report.notes)])


def _join_lines(report: ExtractReport) -> list[str]:
    """Say what of the metadata fitted no model, and the other way round."""
    metadata = report.metadata
    if not any(metadata.has_row) and not metadata.without_model and not metadata.ambiguous:
        return ["  no metadata: columns such as Task are empty; --metadata names a table that fills them"]
    found = (
        ("metadata rows without a model", metadata.without_model),
        ("metadata rows that fit more than one model", metadata.ambiguous),
        ("models without a metadata row", extract_summary(report)["models_without_metadata"]),
    )
    return [f"  {what}: {', '.join(_first(names))}" for what, names in found if names]


def _first(lines: Sequence[str]) -> list[str]:
    """Return as many lines as a person reads; the data set file has them all.

    Names come from files of anybody: what a terminal would obey is shown, not sent.
    """
    more = len(lines) - _LINES
    lines = [printable(line) for line in lines[:_LINES]]
    return [*lines, *([f"and {more} more"] if more > 0 else [])]


def info_summary(file: DatasetFile) -> dict[str, Any]:
    """Return what a data set holds as plain data."""
    tables = file.tables
    failed = tables.models[tables.models["status"].isin(["failed", "crashed"])]
    return {
        **file.attributes,
        "path": str(file.path),
        "bytes": file.path.stat().st_size,
        "models_by_status": tables.models["status"].value_counts().to_dict(),
        "groups": {name: _info_groups(tables.meta, name).to_dict("index") for name in _INFO_AXES},
        "conv_depths": [
            int(depth) for depth in _info_range(tables.meta.index.get_level_values("conv_depth"))
        ],
        "model_depths": [int(depth) for depth in _info_range(tables.meta["depth"])],
        "n_records": len(tables.meta),
        "n_models": len(tables.models),
        "content_hash": file.content_hash,
        "duplicate_layers": _info_known(
            tables.meta["duplicate_of"], (tables.meta["duplicate_of"] >= 0).sum()
        ),
        "nonfinite_values": _info_known(tables.meta["nonfinite"], tables.meta["nonfinite"].sum()),
        "producers": tables.models.loc[tables.models["n_records"] > 0, "producer"].value_counts().to_dict(),
        "skipped_layers": len(tables.skipped),
        "skipped_by_reason": tables.skipped["reason"].value_counts().to_dict(),
        "failed_models": dict(zip(failed["path"], failed["reason"], strict=True)),
        "models_without_metadata": tables.models.loc[~tables.models["has_metadata"], "name"].tolist(),
        "meta_columns": list(tables.meta.columns),
    }


def info_text(file: DatasetFile) -> str:
    """Return what a data set holds as one screen."""
    facts = info_summary(file)
    statuses = ", ".join(f"{count:,} {status}" for status, count in facts["models_by_status"].items())
    (shallow, deep), (least, most) = facts["conv_depths"], facts["model_depths"]
    lines = [
        _info_cut(f"{facts['path']}: {_info_bytes(facts['bytes'])}, {_info_format(facts)}"),
        f"  filters    {facts['n_filters']:,} of {facts['kernel']}, in {facts['n_records']:,} layers",
        f"  models     {facts['n_models']:,}: {statuses}",
        f"  depth      convolutions {shallow} to {deep}, models {least} to {most}",
        "  duplicates " + _info_weights(facts),
        f"  hash       {facts['content_hash']}",
    ]
    for name in _INFO_AXES:
        lines += _info_table(name, facts["groups"][name])
    without = facts["models_without_metadata"]
    for what, rows, shown in (
        ("models by producer", _info_counts(facts["producers"]), 3),
        ("layers without a record", _info_counts(facts["skipped_by_reason"]), 4),
        ("failed models", [f"{path}: {reason}" for path, reason in facts["failed_models"].items()], 3),
    ):
        lines += _info_list(what, rows, shown)
    if without:
        lines.append(_info_cut(f"without metadata, {len(without):,} models: {', '.join(without)}"))
    return "\n".join(lines)


_INFO_AXES: Final = ("Task", "Visual Category")
_INFO_WIDTH: Final = 110
_INFO_GROUPS: Final = 5


def _info_format(facts: dict[str, Any]) -> str:
    version = facts.get("format_version")
    return f"published {facts['format']}, {facts['layout']}" if version is None else f"format {version}"


def _info_known(values: pd.Series[Any], count: Any) -> int | None:
    """Return a count, unless the file knows nothing to count."""
    return int(count) if values.notna().any() or not len(values) else None


def _info_weights(facts: dict[str, Any]) -> str:
    if facts["duplicate_layers"] is None:
        return (
            "not known: a published file holds no hashes; filterdb verify counts values that are not finite"
        )
    return (
        f"{facts['duplicate_layers']:,} layers repeat an earlier one's weights; "
        f"{facts['nonfinite_values']:,} values are NaN or infinite"
    )


def _info_range(values: Any) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if len(values) else (0, 0)


def _info_groups(meta: pd.DataFrame, name: str) -> pd.DataFrame:
    """Count filters, layers and models by the values of a column, the largest first."""
    counts = meta["filter_end"] - meta["filter_start"]
    frame = pd.DataFrame(
        {
            "group": meta[name].fillna("(missing)").to_numpy(),
            "filters": counts.to_numpy(),
            "model": meta["model"].to_numpy(),
        }
    )
    found = frame.groupby("group").agg(
        filters=("filters", "sum"), layers=("filters", "size"), models=("model", "nunique")
    )
    return found.sort_values("filters", ascending=False, kind="stable")


def _info_table(name: str, groups: dict[str, dict[str, int]]) -> list[str]:
    shown = list(groups.items())[:_INFO_GROUPS]
    rest = list(groups.values())[_INFO_GROUPS:]
    if rest:
        # A model has one value of each, so that the sum counts no model twice.
        total = {key: sum(counts[key] for counts in rest) for key in ("filters", "layers", "models")}
        shown.append((f"... and {len(rest):,} more", total))
    names = [_info_cut(group, 40) for group, _ in shown]
    width = max(map(len, (name, *names))) + 2
    lines = [f"{name:{width}} {'filters':>15} {'layers':>8} {'models':>8}"]
    for label, (_, counts) in zip(names, shown, strict=True):
        row = f"  {label}".ljust(width)
        lines.append(f"{row} {counts['filters']:>15,} {counts['layers']:>8,} {counts['models']:>8,}")
    return lines


def _info_counts(counts: dict[str, int]) -> list[str]:
    return [f"{count:>7,}  {value or '(not stated)'}" for value, count in counts.items()]


def _info_list(what: str, rows: Sequence[str], shown: int) -> list[str]:
    if not rows:
        return []
    lines = [f"{what}:", *(f"  {_info_cut(row)}" for row in rows[:shown])]
    return [*lines, f"  ... and {len(rows) - shown:,} more"] if len(rows) > shown else lines


def _info_cut(text: str, width: int = _INFO_WIDTH) -> str:
    """Return text on one line of bounded width; a cell may hold anything."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _info_bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def analyze_summary(report: AnalyzeReport) -> dict[str, Any]:
    """Return the outcome of an analysis as plain data."""
    labels = ("random", "low_diversity", "degenerate")
    return {
        "action": report.action,
        "scanned": report.scanned,
        "scans": list(report.scans),
        "results": str(report.out),
        "layers": len(report.layers),
        "labels": {name: int(report.layers[name].sum()) for name in labels},
        "coordinates": report.results.manifest["coordinates"],
        "outside": int(report.layers["outside"].sum()),
        "notes": list(report.notes),
        "shifts": {name: _records(table) for name, table in report.shifts.items()},
    }


def analyze_text(report: AnalyzeReport) -> str:
    """Return the outcome of an analysis as a few lines."""
    summary = analyze_summary(report)
    head = {
        "fresh": f"{report.out} is fresh: nothing has changed",
        "analyzed": f"{report.out}: {summary['layers']:,} layers",
    }[report.action]
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary["labels"].items())
    lines = [head, f"  layers by label: {counts}", *_coordinate_lines(report)]
    lines += [f"  note: {printable(note)}" for note in report.notes]
    lines += [line for name, table in report.shifts.items() for line in _shift_lines(name, table)]
    return "\n".join(lines)


def _coordinate_lines(report: AnalyzeReport) -> list[str]:
    """Say where filters were measured, if not as by default, and what lies outside the bins."""
    found, where = report.coordinates, report.results.manifest["coordinates"]
    lines = []
    if where["basis"] != "all":
        fitted = {
            "subset": f"fitted to the {where['fitted_to_layers']} layers that the condition selects",
            "given": f"given, {where['identity'][:16]}",
        }
        lines.append(f"  basis: {fitted[where['basis']]}")
    if found.policy != "paper":
        lines.append(
            f"  policy: {found.policy}, {found.bins} bins from {found.low:g} to {found.high:g}, equal weights"
        )
    outside = report.layers["outside"]
    if outside.any():
        total = int(report.results.measured.cube.rows["finite"].sum()) * len(found.weights)
        layers = int((outside > 0).sum())
        lines.append(f"  outside the bins: {outside.sum():,} of {total:,} coefficients, in {layers:,} layers")
    return lines


def compare_summary(report: CompareReport) -> dict[str, Any]:
    """Return the outcome of a comparison as plain data."""
    return {
        "a": str(report.a),
        "b": str(report.b),
        "out": None if report.out is None else str(report.out),
        "shifts": _records(report.table),
    }


def compare_text(report: CompareReport) -> str:
    """Return the outcome of a comparison as a few lines, the least distance first."""
    table = report.table.sort_values("D", kind="stable")
    names = ("group_a", "group_b", "D", "filters_a", "filters_b", "reason")
    pairs = [
        f"{a} - {b}: " + (f"no D: {reason}" if reason else f"D = {d:.3f} ({m:,} and {n:,} filters)")
        for a, b, d, m, n, reason in zip(*(table[name] for name in names), strict=True)
    ]
    lines = [f"{report.a} and {report.b} by {report.question.by}: {len(table):,} pairs of groups"]
    lines += [f"  {line}" for line in _first(pairs)]
    return "\n".join([*lines, *([f"  the table: {report.out}"] if report.out else [])])


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table; JSON has no NaN."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _shift_lines(name: str, table: pd.DataFrame) -> list[str]:
    """Say which pairs of groups differ by more than chance, the largest first, and which most of all."""
    beyond = table[table["p_holm"] < 0.05].sort_values("excess", ascending=False)
    head = f"  shift by {name}: {len(beyond)} of {len(table)} pairs differ by more than chance"
    shown = beyond if len(beyond) else table.sort_values("D", ascending=False)
    pairs = [
        f"    {a} - {b}: "
        + ("no D" if pd.isna(d) else f"D = {d:.3f}")
        + ("" if reason else f", by chance {null:.3f}")
        + (f", p = {p:.3f}" if len(beyond) else f" ({reason or 'may be chance'})")
        for a, b, d, null, p, reason in zip(
            *(
                shown[column].head(3)
                for column in ("group_a", "group_b", "D", "null_mean", "p_holm", "reason")
            ),
            strict=True,
        )
    ]
    return [head, *pairs]
