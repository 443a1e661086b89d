"""Texts in figures: names that fit, numbers that are read at a glance, and what a figure leaves out."""

from __future__ import annotations

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from filterdb.errors import printable
from filterdb.figures.style import MUTED, SMALL

SIZES: Final = ("filters", "layers", "models")
"""Columns that say how large a group is."""

_SUBSCRIPTS: Final = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_TWO_LINES: Final = 0.17
"""Inches that a name and the size of its group take."""

_LOOSE: Final = " ./_-"
"""What no name is cut after."""

_ADVANCE: Final = 0.56
"""Mean width of a character, in units of its size; a little more than DejaVu Sans takes."""


def component(index: int) -> str:
    """Return the name of a coefficient, counted from 0: c₁, c₂ ..."""
    return f"c{str(index + 1).translate(_SUBSCRIPTS)}"


def compact(number: float) -> str:
    """Return a count with three digits at most: 812, 12.3k, 1.46G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit * 0.9995:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def spaced(axis: str) -> str:
    """Return the name of an axis as words."""
    return axis.replace("_", " ")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the singular for one."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def sample(groups: pd.DataFrame) -> str:
    """Say how large a sample is: its filters, layers and models, as far as they are known.

    A model may have layers in several groups: how many models there are in all is an attribute of the frame.
    """
    totals = {name: int(groups[name].sum()) for name in SIZES if name in groups}
    if len(groups) > 1:
        totals.pop("models", None)
        totals |= {"models": groups.attrs["models"]} if "models" in groups.attrs else {}
    return ", ".join(counted(total, name[:-1]) for name, total in totals.items())


def characters(inches: float, size: float) -> int:
    """Return how many characters of a size fit a width."""
    return max(4, int(inches * 72 / (size * _ADVANCE)))


def columns(text: str) -> int:
    """Return the width of a text in characters; those of some scripts are as wide as two."""
    return sum(_breadth(one) for one in text)


def shortened(names: Sequence[str], longest: int) -> list[str]:
    """Shorten names that are too long, and keep them apart.

    Parameters
    ----------
    names
        The names.
    longest
        Width that a name may have in characters, at least 4.
    """
    clean = [printable(" ".join(name.split())) or "(empty)" for name in names]
    short = [
        name if columns(name) <= longest else _start(name, longest - 1).rstrip(_LOOSE) + "…" for name in clean
    ]
    # Of names that begin alike, the end is shown as well; an ellipsis alone tells nobody two names apart.
    begins = [text.rstrip("…") for text in short]
    alike = {text for text, count in Counter(begins).items() if count > 1}
    short = [
        ends(name, longest) if begin in alike and columns(name) > longest else text
        for name, text, begin in zip(clean, short, begins, strict=True)
    ]
    seen: Counter[str] = Counter()
    result = []
    for text in short:
        seen[text] += 1
        mark = f"~{seen[text]}"
        result.append(text if seen[text] == 1 else _start(text, longest - len(mark)) + mark)
    return result


def ends(name: str, longest: int) -> str:
    """Return a name, cut in the middle where it is too long.

    Parameters
    ----------
    name
        The name.
    longest
        Width that it may have in characters, at least 4.
    """
    if columns(name) <= longest:
        return name
    head = max(1, (longest - 1) // 2)
    tail = longest - 1 - head
    return f"{_start(name, head).rstrip()}…{_start(name[::-1], tail)[::-1].lstrip()}"


def _breadth(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _start(text: str, room: int) -> str:
    """Return as much of the start of a text as fits."""
    ends = accumulate(map(_breadth, text))
    return text[: sum(1 for _ in takewhile(lambda end: end <= room, ends))]


def titled(name: str, longest: int) -> str:
    """Return the name of a layer with its model in front, in two lines where one is too short for both."""
    whole, *layer = name.split(" / ", 1)
    if columns(name) <= longest or not layer:
        return shortened([name], longest)[0]
    return "\n".join(shortened([part], longest)[0] for part in (whole, *layer))


def size_line(group: pd.Series, *, brief: bool = False) -> str:
    """Say how large one group is, in short."""
    known = [name for name in SIZES if name in group.index]
    if brief:
        return " · ".join(compact(group[name]) for name in known)
    nouns = (name[:-1] if group[name] == 1 else name for name in known)
    return ", ".join(f"{compact(group[name])} {noun}" for name, noun in zip(known, nouns, strict=True))


def largest(groups: pd.DataFrame, most: int) -> NDArray[np.int64]:
    """Return the places of the largest groups, in the order that they have."""
    filters = groups["filters"].to_numpy(np.float64)
    return np.sort(np.argsort(-filters, kind="stable")[:most]).astype(np.int64)


def left_out(total: int, shown: int, noun: str = "group") -> str:
    """Say that a figure does not show everything; empty where it does."""
    if shown >= total:
        return ""
    return f"The {shown:,} largest of {counted(total, noun)} are shown."


def name_rows(
    ax: Axes,
    places: Sequence[float],
    groups: pd.DataFrame,
    *,
    room: float,
    pitch: float = 1.0,
    marks: Sequence[str] | None = None,
) -> str:
    """Write the name of a group beside each row, and below it how large the group is.

    Returned is what explains these sizes, where they have no words of their own.

    Parameters
    ----------
    ax
        The axes, whose y axis has the rows.
    places
        Where the rows are.
    groups
        One row a group.
    room
        Inches that names may take.
    pitch
        Inches between two rows; where two lines do not fit, sizes are left out.
    marks
        What follows each name.
    """
    size, small = 6.0, SMALL - 0.3
    names = shortened(groups["group"].tolist(), characters(room, size) - 2)
    marks = marks or [""] * len(names)
    if pitch < _TWO_LINES:
        ax.set_yticks(list(places), labels=[a + b for a, b in zip(names, marks, strict=True)], fontsize=SMALL)
        ax.tick_params(axis="y", length=0)
        return ""
    sizes = [size_line(groups.iloc[i]) for i in range(len(groups))]
    brief = max(map(len, sizes), default=0) > characters(room, small)
    if brief:
        sizes = [size_line(groups.iloc[i], brief=True) for i in range(len(groups))]
    ax.set_yticks(list(places), labels=[f"{n}{m}\n" for n, m in zip(names, marks, strict=True)])
    ax.tick_params(axis="y", length=0)
    for label in ax.get_yticklabels():
        label.set_linespacing(1.15)
        label.set_verticalalignment("center")
    for place, text in zip(places, sizes, strict=True):
        ax.annotate(
            text,
            (0, place),
            xycoords=ax.get_yaxis_transform(),
            xytext=(-2.0, -0.5),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=small,
            color=MUTED,
            annotation_clip=False,
        )
    return f"Below each name: {' · '.join(name for name in SIZES if name in groups)}." if brief else ""


def note(figure: Figure, text: str) -> None:
    """Write a note below a figure, in as many lines as it takes.

    Parameters
    ----------
    figure
        The figure.
    text
        Sentences; nothing is written where there are none.
    """
    if not text:
        return
    width = figure.get_size_inches()[0]
    lines = "\n".join(textwrap.wrap(text, characters(width - 0.1, SMALL), break_on_hyphens=False))
    figure.supxlabel(lines, x=0.012, ha="left", fontsize=SMALL, color=MUTED, linespacing=1.25)


def joined(*parts: str) -> str:
    """Join sentences, of which some may be empty."""
    return " ".join(part for part in parts if part)
