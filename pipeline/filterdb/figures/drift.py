"""Figures of the shifts between groups: how large, between whom, and which chance alone would explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing
from filterdb.figures.palette import readable_on

LEVEL: Final = 0.05
"""Above this Holm-adjusted p, a pair is not told apart from chance."""

FEWEST_MODELS: Final = 5
"""Models a group needs before anything is said about chance."""

UNTESTED: Final = "#9aa0a6"
BY_CHANCE: Final = "#d55e00"

_LINES: Final = "Lines: 95% intervals, corrected for bias: D may lie above. p is Holm-adjusted."

_MEASURES: Final = {
    "paper": "D (symmetric KL divergence)",
    "jensen_shannon": "D (Jensen-Shannon divergence)",
    "wasserstein": "D (Wasserstein-1 distance)",
}


@style.drawn
def drift_heatmap(
    matrix: pd.DataFrame,
    pairs: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    axis: str,
    measure: str = "paper",
    width: float = style.COLUMN,
    most: int = 20,
    fewest: int = FEWEST_MODELS,
    ordered: bool = False,
) -> Drawing:
    """Draw D between every two groups of an axis.

    Parameters
    ----------
    matrix
        D, with the groups as index and columns, in the order to draw.
    pairs
        The long table: one row a pair, with ``p_holm``.
    groups
        One row a group: its name and sizes.
    axis
        What the groups are groups of.
    measure
        How groups were compared.
    width
        Of the figure, in inches.
    most
        Groups that are shown; of more, the largest.
    fewest
        Models a group needs before anything is said about chance.
    ordered
        The groups have an order of their own, and stand in it.
    """
    sizes = groups.set_index("group").loc[list(matrix.index)].reset_index()
    shown = labels.largest(sizes, most)
    sizes, values = sizes.iloc[shown], matrix.to_numpy(np.float64)[np.ix_(shown, shown)].copy()
    n = len(sizes)
    np.fill_diagonal(values, np.nan)
    room = min(1.5, 0.31 * width)
    cell = (width - room - 0.55) / max(n, 3)
    cell = min(cell, 0.6)
    figure = style.canvas(width, n * cell + min(1.1, 0.3 * width) + 1.0)
    ax = figure.add_subplot()
    ax.set_facecolor(style.EMPTY)
    top = float(np.nanmax(values, initial=0)) or 1.0
    colours = mpl.colormaps[style.SEQUENTIAL]
    image = ax.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=top)
    ax.set_anchor("SW")
    few = _few(sizes, fewest)
    brief = _square_names(ax, sizes, few, room, cell)
    standing = _standing(pairs, sizes["group"].tolist())
    _cells(ax, values, standing, cell, top)
    # In the axes' own units: they are square, whatever room there is.
    tall = min(1.0, 1.7 / (n * cell))
    place = ax.inset_axes((1 + 0.07 / (n * cell), (1 - tall) / 2, 0.08 / (n * cell), tall))
    bar = figure.colorbar(image, cax=place)
    bar.outline.set_visible(False)
    bar.set_label(_MEASURES.get(measure, "D"))
    ax.spines[:].set_visible(False)
    said = _said(standing, few, fewest)
    labels.note(figure, labels.joined(*said, labels.left_out(len(matrix), n), brief))
    style.trim(figure)
    order = "their own order" if ordered else "the order of rising mean"
    caption = labels.joined(
        f"Distribution shift between filters by {labels.spaced(axis)}: {_MEASURES.get(measure, 'D')} between "
        f"every two of {labels.counted(n, 'group')}, in {order}.",
        *said,
        f"n = {labels.sample(groups)}.",
    )
    return Drawing(figure, pairs.reset_index(drop=True), caption)


def _few(groups: pd.DataFrame, fewest: int) -> list[bool]:
    if "models" not in groups:
        return [False] * len(groups)
    return (groups["models"] < fewest).tolist()


def _square_names(ax: Axes, sizes: pd.DataFrame, few: list[bool], room: float, cell: float) -> str:
    n = len(sizes)
    marks = ["†" if one else "" for one in few]
    brief = labels.name_rows(ax, range(n), sizes, room=room, pitch=cell, marks=marks)
    names = labels.shortened(sizes["group"].tolist(), labels.characters(min(1.05, 0.95 * room), 6.0))
    ax.set_xticks(range(n), [a + b for a, b in zip(names, marks, strict=True)])
    upright = max(map(labels.columns, names), default=0) * 6.0 * 0.6 / 72 <= cell
    if not upright:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", va="top", rotation_mode="anchor")
            label.set_fontsize(min(6.0, max(4.5, cell * 72 * 0.62)))
    ax.tick_params(length=0)
    return brief


def _standing(pairs: pd.DataFrame, names: list[str]) -> NDArray[np.int64]:
    """Return what is known of each cell: 1 beyond chance, 0 not, -1 not tested, -2 no distance."""
    place = {name: i for i, name in enumerate(names)}
    found = np.full((len(names), len(names)), -2)
    for a, b, d, p in zip(pairs["group_a"], pairs["group_b"], pairs["D"], pairs["p_holm"], strict=True):
        if a in place and b in place:
            known = -2 if np.isnan(d) else -1 if np.isnan(p) else int(p < LEVEL)
            found[place[a], place[b]] = found[place[b], place[a]] = known
    return found


def _cells(ax: Axes, values: NDArray[Any], standing: NDArray[np.int64], cell: float, top: float) -> None:
    """Write D into its cell where there is room, and mark what is not beyond chance."""
    colours = mpl.colormaps[style.SEQUENTIAL]
    # Five points, or a third of a narrow cell.
    side = min(0.33, 0.07 / cell)
    digits = 2 if top >= 0.095 else 3
    size = min(6.5, cell * 72 / (0.62 * (digits + (2 if top >= 10 else 1) + 0.4)))
    for (row, column), value in np.ndenumerate(values):
        if row == column or np.isnan(value):
            continue
        ink = readable_on(colours(value / top))
        if size >= 4.2:
            text = f"{value:.{digits}f}"
            text = text.removeprefix("0") if value < 1 else text[: digits + 2]
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
        if standing[row, column] == 0:
            left, below = column - 0.45, row + 0.45
            corner = [(left, below), (left + side, below), (left, below - side)]
            ax.add_patch(mpl.patches.Polygon(corner, color=ink, linewidth=0, gid="chance"))
        elif standing[row, column] == -1:
            ax.add_patch(
                mpl.patches.Circle(
                    (column - 0.45 + side / 2, row + 0.45 - side / 2),
                    side / 3,
                    fill=False,
                    ec=ink,
                    lw=0.5,
                    gid="untested",
                )
            )


def _said(standing: NDArray[np.int64], few: list[bool], fewest: int) -> tuple[str, ...]:
    """Explain the marks that are there."""
    upper = standing[np.triu_indices(len(standing), k=1)]
    chance, untested, absent = (int((upper == kind).sum()) for kind in (0, -1, -2))
    parts = []
    if chance:
        parts.append(
            f"◣ not distinguishable from chance (Holm-adjusted p ≥ {LEVEL}): {chance} of {len(upper)} pairs."
        )
    elif (upper == 1).any():
        parts.append(f"All tested pairs are distinguishable from chance (Holm-adjusted p < {LEVEL}).")
    if any(few):
        parts.append(f"† too few models to test: fewer than {fewest}.")
    if untested:
        parts.append(f"○ not tested: {untested} of {len(upper)} pairs.")
    if absent:
        parts.append(f"Grey: no distance, as a group has no filter or none in the range ({absent} pairs).")
    return tuple(parts)


@style.drawn
def drift_intervals(
    pairs: pd.DataFrame,
    groups: pd.DataFrame | None = None,
    *,
    axis: str,
    measure: str = "paper",
    width: float = style.COLUMN,
    most: int = 20,
) -> Drawing:
    """Draw D of the most different pairs, with its interval and with what chance alone gives.

    Parameters
    ----------
    pairs
        The long table: one row a pair, with ``low``, ``high``, ``null_mean`` and ``p_holm``.
    groups
        One row a group: its name and sizes.
    axis
        What the groups are groups of.
    measure
        How groups were compared.
    width
        Of the figure, in inches.
    most
        Pairs that are shown.
    """
    known = pairs[pairs["D"].notna()].sort_values("D", ascending=False, kind="stable")
    rows = known.head(most).reset_index(drop=True)
    pitch = 0.2 if width >= style.WIDE else 0.27
    figure = style.canvas(width, max(1, len(rows)) * pitch + 0.85)
    ax = figure.add_subplot()
    ax.grid(axis="x")
    for place, row in enumerate(rows.to_dict("records")):
        _interval(ax, place, row)
    ax.set_yticks(range(len(rows)), _pair_names(rows, width), fontsize=style.SMALL)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    reach = np.nanmax(rows[["D", "high", "null_mean"]].to_numpy(np.float64), initial=0) or 1.0
    ax.set_xlim(0, reach * 1.04)
    ax.set_xlabel(_MEASURES.get(measure, "D"))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    tested = int(pairs["p_holm"].notna().sum())
    _interval_legend(figure, rows)
    which = f"The {len(rows)} largest of" if len(rows) < len(pairs) else "All"
    could = f"all {tested}" if tested == len(pairs) else f"{tested} of all {len(pairs)}"
    said = f"{which} {labels.counted(len(pairs), 'pair')}; {could} could be tested against chance."
    if len(known) < len(pairs):
        said = f"{said} {labels.counted(len(pairs) - len(known), 'pair')} without a distance."
    n = "" if groups is None else f"n = {labels.sample(groups)}."
    labels.note(figure, labels.joined(_LINES if tested else "", said, n))
    caption = labels.joined(
        f"The largest distribution shifts by {labels.spaced(axis)}: D, its 95% bootstrap interval over "
        f"models, corrected for bias so that D may lie above it, and the mean D when labels are "
        f"permuted. Filled: Holm-adjusted p < {LEVEL}; hollow: not "
        f"distinguishable from chance; grey: not tested, because a group has too few models. {said}",
        n,
    )
    return Drawing(figure, known.reset_index(drop=True), caption)


def _interval(ax: Axes, place: int, row: Mapping[Any, Any]) -> None:
    tested, beyond = not np.isnan(row["p_holm"]), row["p_holm"] < LEVEL
    colour = style.ACCENT if tested else UNTESTED
    if tested:
        ax.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.1, solid_capstyle="butt")
        ax.plot(row["null_mean"], place, marker="|", color=BY_CHANCE, markersize=6, markeredgewidth=1.2)
    ax.plot(
        row["D"],
        place,
        marker="o",
        markersize=3.6,
        color=colour,
        markerfacecolor=colour if beyond or not tested else "white",
        markeredgewidth=0.9,
        gid="tested" if tested else "untested",
    )


def _interval_legend(figure: Any, rows: pd.DataFrame) -> None:
    p = rows["p_holm"]
    dot: dict[str, Any] = {"color": style.ACCENT, "marker": "o", "markersize": 3.6}
    kinds = [
        ((p < LEVEL).any(), {**dot, "label": f"p < {LEVEL}: beyond chance"}),
        ((p >= LEVEL).any(), {**dot, "markerfacecolor": "white", "label": f"p ≥ {LEVEL}: may be chance"}),
        (
            p.notna().any(),
            {"color": BY_CHANCE, "marker": "|", "ms": 6, "mew": 1.2, "ls": "", "label": "mean by chance"},
        ),
        (p.isna().any(), {**dot, "color": UNTESTED, "ls": "", "label": "too few models to test"}),
    ]
    figure.legend(
        handles=[Line2D([], [], **how) for there, how in kinds if there],
        loc="outside upper center",
        ncols=2 if figure.get_size_inches()[0] < style.WIDE else 4,
        handlelength=1.6,
        columnspacing=1.2,
    )


def _pair_names(rows: pd.DataFrame, width: float) -> list[str]:
    between = "\n" if width < style.WIDE else "  –  "
    room = labels.characters(0.36 * width / (1 if between == "\n" else 2), style.SMALL)
    sides = [rows[f"group_{side}"].tolist() for side in "ab"]
    names = list(dict.fromkeys(name for side in sides for name in side))
    short = dict(zip(names, labels.shortened(names, room), strict=True))
    return [f"{short[a]}{between}{short[b]}" for a, b in zip(*sides, strict=True)]


@style.drawn
def drift_boxes(
    pairs: Mapping[str, pd.DataFrame],
    *,
    sizes: pd.DataFrame | None = None,
    measure: str = "paper",
    width: float = style.COLUMN,
) -> Drawing:
    """Draw how large the shifts are along each axis.

    Parameters
    ----------
    pairs
        The long table of every axis, by the axis' name.
    sizes
        One row: how large the sample is.
    measure
        How groups were compared.
    width
        Of the figure, in inches.
    """
    axes = {name: table[table["D"].notna()] for name, table in pairs.items()}
    figure = style.canvas(width, max(1, len(axes)) * 0.52 + 0.85)
    ax = figure.add_subplot()
    ax.grid(axis="x")
    names = labels.shortened([labels.spaced(name) for name in axes], labels.characters(0.3 * width, 6.5))
    for place, table in enumerate(axes.values()):
        _box(ax, place, table)
    counts = [f"{labels.counted(len(table), 'pair')}" for table in axes.values()]
    ax.set_yticks(range(len(axes)), [f"{a}\n{b}" for a, b in zip(names, counts, strict=True)])
    ax.set_ylim(len(axes) - 0.45, -0.6)
    top = max((float(table["D"].max()) for table in axes.values() if len(table)), default=1.0) or 1.0
    ax.set_xlim(0, top * 1.05)
    ax.set_xlabel(_MEASURES.get(measure, "D"))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    said = (
        "One dot a pair of groups; filled where it is distinguishable from chance (Holm-adjusted "
        f"p < {LEVEL}), grey where a group has too few models to test. Boxes: quartiles; whiskers: all pairs."
    )
    said = said if sizes is None else f"{said} n = {labels.sample(sizes)}."
    labels.note(figure, said)
    table = pd.concat([t.assign(axis=name) for name, t in axes.items()]) if axes else pd.DataFrame()
    columns = ["axis", "group_a", "group_b", "D", "low", "high", "p_holm"]
    table = table.reindex(columns=columns).reset_index(drop=True)
    return Drawing(figure, table, f"Distribution shifts between groups, by axis. {said}")


def _box(ax: Axes, place: int, table: pd.DataFrame) -> None:
    values = table["D"].to_numpy(np.float64)
    if not len(values):
        ax.text(0, place, "  no pair to compare", va="center", fontsize=style.SMALL, color=style.MUTED)
        return
    ax.boxplot(
        values,
        positions=[place],
        orientation="horizontal",
        widths=0.5,
        whis=(0, 100),
        showcaps=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": "#e3eef6", "edgecolor": style.MUTED, "linewidth": 0.7},
        whiskerprops={"color": style.MUTED, "linewidth": 0.7},
        medianprops={"color": style.INK, "linewidth": 1.3},
    )
    # Spread by rank along a fixed sequence: no two runs differ.
    spread = place + 0.36 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5)
    p = table["p_holm"].to_numpy(np.float64)
    marks: Any = {"mew": 0.6, "alpha": 0.85, "zorder": 3, "ms": 2.4 if len(values) > 60 else 3.0}
    for chosen, colour, fill in (
        (np.isnan(p), UNTESTED, UNTESTED),
        (p >= LEVEL, style.ACCENT, "white"),
        (p < LEVEL, style.ACCENT, style.ACCENT),
    ):
        ax.plot(values[chosen], spread[chosen], "o", color=colour, mfc=fill, **marks)
