"""The quality of one model, as a table that a person reads and as plain data."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from filterdb.errors import UsageError, nearest, printable
from filterdb.quality import LABELS
from filterdb.run import text_table as text
from filterdb.run.text_table import Column
from filterdb.types import SkippedLayer

_SHOWN: Final = 20
_LOW_IS_WORSE: Final = ("variance_entropy", "orthogonality")


def select(
    rows: Sequence[dict[str, Any]],
    skipped: Sequence[SkippedLayer],
    patterns: Sequence[str],
    sort: str | None,
) -> tuple[list[dict[str, Any]], list[SkippedLayer]]:
    """Return the rows of the layers that are asked for, and those of them that were not measured.

    Parameters
    ----------
    rows, skipped
        All layers, measured and not.
    patterns
        Names of layers, with ``*`` and ``?``; all where none is given.
    sort
        A column to sort by, the worst layer first; else layers are in the order of the model.

    Raises
    ------
    UsageError
        If no layer has such a name, or no column.
    """
    names = [*(row["layer"] for row in rows), *(layer.name for layer in skipped)]
    if patterns and not any(_fits(name, patterns) for name in names):
        close = nearest(patterns[0].strip("*"), names)
        raise UsageError(
            f"no layer is called {' or '.join(patterns)}",
            expected="the name of a layer, or a pattern such as 'layer1.*'",
            hint=None if close is None else f"--layers {printable(close)}",
        )
    chosen = [row for row in rows if not patterns or _fits(row["layer"], patterns)]
    others = [layer for layer in skipped if not patterns or _fits(layer.name, patterns)]
    return (chosen if sort is None else _sorted(chosen, sort)), others


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _sorted(rows: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    if rows and column not in rows[0]:
        close = nearest(column, rows[0])
        raise UsageError(
            f"there is no column {column!r}",
            expected=", ".join(rows[0]),
            hint=None if close is None else f"--sort {close}",
        )
    sign = 1 if column.startswith(_LOW_IS_WORSE) else -1

    def place(row: Mapping[str, Any]) -> tuple[bool, Any]:
        value = row[column]
        if isinstance(value, str):
            return (False, value)
        unknown = value is None or math.isnan(value)
        return (unknown, 0 if unknown else sign * value)

    return sorted(rows, key=place)


def summary(file: str, rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> dict[str, Any]:
    """Return everything as plain data; what is not defined is null, since JSON knows no NaN."""
    return {
        "file": file,
        "counts": counts(rows, skipped),
        "layers": [{name: or_none(value) for name, value in row.items()} for row in rows],
        "skipped": [skipped_row(layer) for layer in skipped],
    }


def skipped_row(layer: SkippedLayer) -> dict[str, str]:
    """Return a layer that was not measured as plain data."""
    return {"layer": layer.name, "op_type": layer.op_type, "kernel": layer.kernel, "reason": layer.reason}


def as_csv(rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> str:
    """Return one line a layer; layers that were not measured come last, with their reason and no metrics."""
    others = [skipped_row(layer) for layer in skipped]
    buffer = io.StringIO()
    columns = list(rows[0]) if rows else ["layer", "op_type", "kernel", "reason"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in (*rows, *others):
        writer.writerow({name: "" if or_none(value) is None else value for name, value in row.items()})
    return buffer.getvalue().rstrip("\n")


def or_none(value: Any) -> Any:
    """Return a value, or nothing where it is not defined."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def counts(rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> dict[str, int]:
    """Count layers, filters and labels."""
    return {
        "layers": len(rows),
        "filters": sum(row["n"] for row in rows),
        **{name: sum(row[name] is True for row in rows) for name in LABELS},
        "skipped": len(skipped),
    }


def as_text(
    file: str, rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer], *, colour: bool = False
) -> str:
    """Return a table of the layers, the reasons behind its gaps, what was not measured, and the counts.

    Parameters
    ----------
    file
        Where the model is.
    rows, skipped
        What :func:`select` returns.
    colour
        Mark layers with a label by colour too.
    """
    paint = text.painter(colour=colour)
    table = text.table_lines(rows, _COLUMNS, paint, mark=mark, style=style) if rows else []
    lines = [printable(file), *table, *notes(rows), *skipped_lines(skipped)]
    return "\n".join([*lines, "", paint(closing(rows, skipped), text.BOLD)])


_COLUMNS: Final = (
    Column("layer", lambda row: text.name_cell(row["layer"]), right=False),
    Column("weight", lambda row: f"{row['out_channels']}x{row['in_channels']}x{row['kernel']}"),
    Column("n", lambda row: f"{row['n']:,}"),
    Column("sparse", lambda row: text.share_cell(row["sparsity"])),
    Column("H", lambda row: text.number_cell(row["variance_entropy"])),
    Column("H/T_H", lambda row: text.number_cell(row["variance_entropy_norm"])),
    Column("orth.", lambda row: text.number_cell(row["orthogonality"])),
    Column("labels", lambda row: _labels(row), right=False),
)


def mark(row: Mapping[str, Any]) -> str:
    """Return the character before a layer's line."""
    return "!" if row["degenerate"] else " "


def style(row: Mapping[str, Any]) -> str:
    """Return the colour of a layer that has a label."""
    if row["degenerate"]:
        return text.RED
    return text.YELLOW if row["random"] or row["low_diversity"] else ""


def _labels(row: Mapping[str, Any]) -> str:
    """Name what a layer is; the mark before its line says already that it is degenerate."""
    found = [name.replace("_", " ") for name in ("random", "low_diversity") if row[name]]
    return ", ".join(found) or ("degenerate" if row["degenerate"] else "")


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say why cells are empty or degenerate: each reason once, with the layers that have it."""
    named: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for reason in filter(None, row["reason"].split("; ")):
            named[reason].append(row["layer"])
        if row["nonfinite_filters"]:
            named["filters with NaN or infinity are left out"].append(row["layer"])
    found = [f"{reason}: {text.some(names)}" for reason, names in named.items()]
    return ["", *text.wrapped(found)] if found else []


def skipped_lines(skipped: Sequence[SkippedLayer]) -> list[str]:
    """Say which layers were not measured, and why: each reason once."""
    if not skipped:
        return []
    named: dict[str, list[str]] = defaultdict(list)
    for layer in skipped:
        kind = f"{printable(layer.op_type) or 'tensor'} {layer.kernel}"
        named[f"({kind}): {printable(layer.reason)}"].append(layer.name)
    lines = [f"{text.some(names)} {what}" for what, names in named.items()]
    more = len(lines) - _SHOWN
    rest = [f"and {more:,} other reasons; --json lists all layers"] if more > 0 else []
    return ["", "not measured:", *text.wrapped([*lines[:_SHOWN], *rest])]


def closing(rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> str:
    """Return the counts as a line."""
    total = counts(rows, skipped)
    head = f"{text.plural(total['layers'], 'layer')}, {text.plural(total['filters'], 'filter')}"
    found = f"{total['degenerate']:,} degenerate (!), {total['random']:,} random"
    return f"{head}: {found}, {total['low_diversity']:,} low diversity; {total['skipped']:,} not measured"
