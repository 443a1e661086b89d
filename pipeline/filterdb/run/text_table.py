"""Tables that a person reads on a terminal: aligned, at most a hundred columns wide, and safe to print."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from rich.cells import cell_len

from filterdb.errors import printable

WIDTH: Final = 100
"""Columns of a terminal that a table fits."""

RED, YELLOW, DIM, BOLD = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[1m"

_PLAIN: Final = "\x1b[0m"
_NAME: Final = 48
_LEAST_NAME: Final = 12

Row = Mapping[str, Any]
Paint = Callable[[str, str], str]
"""Gives a text a style, or leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    title
        Its heading.
    cell
        Writes what a row has in it.
    right
        It leans to the right.
    """

    title: str
    cell: Callable[[Row], str]
    right: bool = True


def has_colour(stream: TextIO) -> bool:
    """Tell whether what is written there is seen in colour."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painter(*, colour: bool) -> Paint:
    """Return what styles texts, if they are to be seen in colour."""
    return _paint if colour else _leave


def _paint(text: str, style: str) -> str:
    return f"{style}{text}{_PLAIN}" if style else text


def _leave(text: str, _style: str) -> str:
    return text


def table_lines(
    rows: Sequence[Row],
    columns: Sequence[Column],
    paint: Paint,
    *,
    mark: Callable[[Row], str] = lambda _row: " ",
    style: Callable[[Row], str] = lambda _row: "",
) -> list[str]:
    """Return a heading and a line a row; the first column gives way where all are too wide.

    Parameters
    ----------
    rows
        What it shows.
    columns
        Its columns.
    paint
        Styles a line.
    mark, style
        The character before a row, and its style.
    """
    cells = [[column.cell(row) for column in columns] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    widths[0] = max(_LEAST_NAME, min(widths[0], WIDTH - sum(widths[1:]) - 2 * len(widths)))
    lines = [paint(f"  {_line(titles, widths, columns)}".rstrip(), DIM)]
    for row, line in zip(rows, cells, strict=True):
        lines.append(paint(f"{mark(row)} {_line(line, widths, columns)}".rstrip(), style(row)))
    return lines


def _line(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    parts = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        cell = cut(cell, width)
        blank = " " * (width - cell_len(cell))
        parts.append(blank + cell if column.right else cell + blank)
    return "  ".join(parts)


def name_cell(name: str) -> str:
    """Return the name of a layer as a cell; an array that is measured alone has none."""
    return cut(printable(name) or "(the model itself)", _NAME)


def share_cell(value: float) -> str:
    """Return a share; one of a few filters does not look like none, and one of nearly all not like all."""
    if math.isnan(value):
        return "-"
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    if value < 0.001:
        return "<0.1 %"
    return ">99.9 %" if value > 0.999 else f"{100 * value:.1f} %"


def number_cell(value: float) -> str:
    """Return a metric or a distance."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def some(names: Sequence[str], what: str = "layers") -> str:
    """Return names, or how many there are of them and the first."""
    shown = ", ".join(map(name_cell, names[:3]))
    return shown if len(names) <= 3 else f"{len(names)} {what}, such as {shown}"


def plural(count: int, what: str) -> str:
    """Return how many there are of something."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def wrapped(texts: Iterable[str]) -> list[str]:
    """Return each text on as many lines as it needs."""
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]


def cut(text: str, width: int) -> str:
    """Cut the beginning of a text that is too long: names of layers begin alike."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 1:
        text = text[1:]
    return f"…{text}"
