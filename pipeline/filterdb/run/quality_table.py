"""The quality of one model, as a table that a person reads and as plain data."""

from __future__ import annotations

import csv
import io
import math
import os
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, TextIO

from rich.cells import cell_len

from filterdb.errors import UsageError, nearest, printable
from filterdb.measure import ModelQuality
from filterdb.quality import LABELS
from filterdb.types import SkippedLayer

_WIDTH: Final = 100
_NAME: Final = 48
_LEAST_NAME: Final = 12
_SHOWN: Final = 20
_LOW_IS_WORSE: Final = ("variance_entropy", "orthogonality")
_RED, _YELLOW, _DIM, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table: its heading, its cells, and the side they lean to."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]
    right: bool = True


def select(
    quality: ModelQuality, patterns: Sequence[str], sort: str | None
) -> tuple[list[dict[str, Any]], list[SkippedLayer]]:
    """Return one row a measured layer, and the layers that were not measured.

    Parameters
    ----------
    quality
        What was measured.
    patterns
        Names of layers, with ``*`` and ``?``; all where none is given.
    sort
        A column to sort by, the worst layer first; else layers are in the order of the model.

    Raises
    ------
    UsageError
        If no layer has such a name, or no column.
    """
    rows = [{"layer": name, **layer.row()} for name, layer in quality.items()]
    names = [*quality, *(layer.name for layer in quality.skipped)]
    if patterns and not any(_fits(name, patterns) for name in names):
        close = nearest(patterns[0].strip("*"), names)
        raise UsageError(
            f"no layer is called {' or '.join(patterns)}",
            expected="the name of a layer, or a pattern such as 'layer1.*'",
            hint=None if close is None else f"--layers {printable(close)}",
        )
    chosen = [row for row in rows if not patterns or _fits(row["layer"], patterns)]
    skipped = [layer for layer in quality.skipped if not patterns or _fits(layer.name, patterns)]
    return (chosen if sort is None else _sorted(chosen, sort)), skipped


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
        "counts": _counts(rows, skipped),
        "layers": [{name: _or_none(value) for name, value in row.items()} for row in rows],
        "skipped": [_skipped_row(layer) for layer in skipped],
    }


def _skipped_row(layer: SkippedLayer) -> dict[str, str]:
    return {"layer": layer.name, "op_type": layer.op_type, "kernel": layer.kernel, "reason": layer.reason}


def as_csv(rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> str:
    """Return one line a layer; layers that were not measured come last, with their reason and no metrics."""
    others = [_skipped_row(layer) for layer in skipped]
    text = io.StringIO()
    columns = list(rows[0]) if rows else ["layer", "op_type", "kernel", "reason"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in (*rows, *others):
        writer.writerow({name: "" if _or_none(value) is None else value for name, value in row.items()})
    return text.getvalue().rstrip("\n")


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _counts(rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> dict[str, int]:
    return {
        "layers": len(rows),
        "filters": sum(row["n"] for row in rows),
        **{name: sum(row[name] is True for row in rows) for name in LABELS},
        "skipped": len(skipped),
    }


def has_colour(stream: TextIO) -> bool:
    """Tell whether what is written there is seen in colour."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


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
    paint = _paint if colour else _plain
    lines = [printable(file), *(_table(rows, paint) if rows else [])]
    lines += _notes(rows)
    lines += _skipped_lines(skipped)
    return "\n".join([*lines, "", paint(_closing(rows, skipped), _BOLD)])


def _plain(text: str, _style: str) -> str:
    return text


def _paint(text: str, style: str) -> str:
    return f"{style}{text}{_PLAIN}" if style else text


_COLUMNS: Final = (
    _Column("layer", lambda row: _name(row["layer"]), right=False),
    _Column("weight", lambda row: f"{row['out_channels']}x{row['in_channels']}x{row['kernel']}"),
    _Column("n", lambda row: f"{row['n']:,}"),
    _Column("sparse", lambda row: _share(row["sparsity"])),
    _Column("H", lambda row: _number(row["variance_entropy"])),
    _Column("H/T_H", lambda row: _number(row["variance_entropy_norm"])),
    _Column("orth.", lambda row: _number(row["orthogonality"])),
    _Column("labels", lambda row: _labels(row), right=False),
)


def _table(rows: Sequence[Mapping[str, Any]], paint: Callable[[str, str], str]) -> list[str]:
    cells = [[column.cell(row) for column in _COLUMNS] for row in rows]
    titles = [column.title for column in _COLUMNS]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    widths[0] = max(_LEAST_NAME, min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(widths)))
    lines = [paint(f"  {_line(titles, widths)}".rstrip(), _DIM)]
    for row, line in zip(rows, cells, strict=True):
        mark = "!" if row["degenerate"] else " "
        lines.append(paint(f"{mark} {_line(line, widths)}".rstrip(), _style(row)))
    return lines


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for column, cell, width in zip(_COLUMNS, cells, widths, strict=True):
        cell = _cut(cell, width)
        blank = " " * (width - cell_len(cell))
        parts.append(blank + cell if column.right else cell + blank)
    return "  ".join(parts)


def _style(row: Mapping[str, Any]) -> str:
    if row["degenerate"]:
        return _RED
    return _YELLOW if row["random"] or row["low_diversity"] else ""


def _labels(row: Mapping[str, Any]) -> str:
    """Name what a layer is; the mark before its line says already that it is degenerate."""
    found = [name.replace("_", " ") for name in ("random", "low_diversity") if row[name]]
    return ", ".join(found) or ("degenerate" if row["degenerate"] else "")


def _name(name: str) -> str:
    return _cut(printable(name) or "(the model itself)", _NAME)


def _share(value: float) -> str:
    """Return a share; one of a few filters does not look like none, and one of nearly all not like all."""
    if math.isnan(value):
        return "-"
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    if value < 0.001:
        return "<0.1 %"
    return ">99.9 %" if value > 0.999 else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say why cells are empty or degenerate: each reason once, with the layers that have it."""
    named: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for reason in filter(None, row["reason"].split("; ")):
            named[reason].append(row["layer"])
        if row["nonfinite_filters"]:
            named["filters with NaN or infinity are left out"].append(row["layer"])
    found = [f"{reason}: {_some(names)}" for reason, names in named.items()]
    return ["", *_wrapped(found)] if found else []


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(_name, names[:3]))
    return shown if len(names) <= 3 else f"{len(names)} layers, such as {shown}"


def _skipped_lines(skipped: Sequence[SkippedLayer]) -> list[str]:
    if not skipped:
        return []
    named: dict[str, list[str]] = defaultdict(list)
    for layer in skipped:
        kind = f"{printable(layer.op_type) or 'tensor'} {layer.kernel}"
        named[f"({kind}): {printable(layer.reason)}"].append(layer.name)
    lines = [f"{_some(names)} {what}" for what, names in named.items()]
    more = len(lines) - _SHOWN
    rest = [f"and {more:,} other reasons; --json lists all layers"] if more > 0 else []
    return ["", "not measured:", *_wrapped([*lines[:_SHOWN], *rest])]


def _closing(rows: Sequence[Mapping[str, Any]], skipped: Sequence[SkippedLayer]) -> str:
    counts = _counts(rows, skipped)
    head = f"{_plural(counts['layers'], 'layer')}, {_plural(counts['filters'], 'filter')}"
    found = f"{counts['degenerate']:,} degenerate (!), {counts['random']:,} random"
    return f"{head}: {found}, {counts['low_diversity']:,} low diversity; {counts['skipped']:,} not measured"


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _wrapped(texts: Iterable[str]) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]


def _cut(text: str, width: int) -> str:
    """Cut the beginning of a text that is too long: names of layers begin alike."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 1:
        text = text[1:]
    return f"…{text}"
