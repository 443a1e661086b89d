"""Scatter densities: pairs of coefficients of all filters, and the phenotypes of groups and layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing
from filterdb.figures.phenotype import PHENOTYPES, Shape, reduced

FLOOR: Final = 1e-5
"""Where the logarithmic scale of densities begins, relative to the maximum."""

_THIN: Final = 8
"""Bins are joined until a filter in the middle of the ranks shares its bin with so many: single filters make
no density."""

_DECADES: Final = {1e-5: "10⁻⁵", 1e-4: "10⁻⁴", 1e-3: "10⁻³", 1e-2: "10⁻²", 1e-1: "10⁻¹", 1.0: "1"}

_LISTED: Final = 64
"""Bins a side of the numbers that go with a figure."""


@style.drawn
def scatter_density(
    counts: NDArray[Any],
    pairs: Sequence[tuple[int, int]],
    *,
    limit: float,
    sizes: pd.DataFrame | None = None,
    width: float = style.DOUBLE,
) -> Drawing:
    """Draw the density of pairs of coefficients, each divided by its maximum.

    Parameters
    ----------
    counts
        Pairs x bins x bins, rows by the second coefficient of the pair.
    pairs
        Which two coefficients, counted from 0.
    limit
        Each square goes from minus this to this.
    sizes
        One row: how large the sample is.
    width
        Of the figure, in inches.
    """
    shown = [pair for pair in pairs if max(pair) < (9 if width >= style.WIDE else 5)]
    columns, rows = (sorted({pair[side] for pair in shown}) for side in (0, 1))
    left, below, gap = 0.34, 0.5, 0.03
    # The scale lies in the empty half above the diagonal.
    right = 0.06 if len(columns) > 2 else 0.6
    side = (width - left - right - gap * max(0, len(columns) - 1)) / max(1, len(columns))
    height = below + len(rows) * side + gap * max(0, len(rows) - 1) + 0.06
    figure = style.canvas(width, height, layout=None)
    wanted = int(side * 320) + 1
    drawn = joined_bins(counts[[pairs.index(pair) for pair in shown]])
    for pair, density in zip(shown, drawn, strict=True):
        column, row = columns.index(pair[0]), rows.index(pair[1])
        x, y = left + column * (side + gap), height - 0.06 - row * (side + gap) - side
        ax = figure.add_axes((x / width, y / height, side / width, side / height))
        _density(ax, density, limit, wanted)
        outer = row == len(rows) - 1, column == 0
        _outer_ticks(ax, limit, *outer)
        if outer[0]:
            ax.set_xlabel(labels.component(pair[0]))
        if outer[1]:
            ax.set_ylabel(labels.component(pair[1]), rotation=0, ha="right", va="center")
    tall = min(1.5, height - below - 0.1)
    place = (1 - 0.62 / width, 1 - (tall + 0.12) / height, 0.08 / width, tall / height)
    _density_bar(figure, place)
    n = "" if sizes is None else f"n = {labels.sample(sizes)}."
    said = (
        "Each panel is divided by its own maximum." if not n else f"{n} Each panel is divided by its maximum."
    )
    figure.text(0.012, 0.012, said, fontsize=style.SMALL, color=style.MUTED, va="bottom")
    caption = labels.joined(
        "Density of pairs of coefficients of the scaled filters along the principal components, on a "
        f"logarithmic scale, counted in {counts.shape[-1]} x {counts.shape[-1]} bins over -{limit:.1f} to "
        f"{limit:.1f} and divided by the maximum of the panel; where filters are few, bins are joined.",
        n,
    )
    return Drawing(figure, _table(counts, [f"c{a + 1}, c{b + 1}" for a, b in pairs], limit, "pair"), caption)


@style.drawn
def phenotypes(
    counts: NDArray[Any],
    names: Sequence[str],
    shapes: Sequence[Shape],
    *,
    limit: float,
    kind: str = "group",
    axis: str = "",
    of: int | None = None,
    width: float = style.DOUBLE,
) -> Drawing:
    """Draw the first two coefficients of groups or layers, with the phenotype of each.

    Parameters
    ----------
    counts
        Groups or layers x bins x bins: those that are drawn.
    names, shapes
        Of these, and after them of any others, which are counted and listed.
    limit
        Each square goes from minus this to this.
    kind
        ``group`` or ``layer``.
    axis
        What the groups are groups of.
    of
        How many there are altogether, where not all are given.
    width
        Of the figure, in inches.
    """
    most = {"group": (3, 6), "layer": (2, 4)}[kind][width >= style.WIDE]
    down = max(1, -(-len(counts) // most))
    across = max(1, -(-len(counts) // down))
    side = min((width - 0.75) / across, 1.6)
    longest = labels.characters(side, 6.0)
    titles = labels.shortened(list(names[: len(counts)]), longest)
    if kind == "layer":
        titles = [labels.titled(name, longest) for name in names[: len(counts)]]
    lines = max((title.count("\n") for title in titles), default=0)
    figure = style.canvas(width, down * (side + 0.3 + 0.11 * lines) + 0.6, layout="compressed")
    panels = figure.subplots(down, across, squeeze=False)
    densities = joined_bins(counts)
    for place, ax in enumerate(panels.flat):
        if place >= len(counts):
            ax.set_visible(False)
            continue
        _density(ax, densities[place], limit, int(side * 320) + 1)
        _outer_ticks(ax, limit, place + across >= len(counts), place % across == 0)
        _phenotype_title(ax, titles[place], shapes[place])
    _map_bar(figure, panels, down * side)
    said = labels.joined(
        f"Horizontal: {labels.component(0)}; vertical: {labels.component(1)}. n counts filters.",
        _tally(shapes) if kind == "layer" else "",
        labels.left_out(of or len(names), len(counts)) if kind == "group" else "",
    )
    labels.note(figure, said)
    style.trim(figure)
    by = f" by {labels.spaced(axis)}" if axis else ""
    which = "each group" if kind == "group" else "the layers that show a phenotype most clearly"
    caption = (
        f"Density of the first two coefficients of the scaled filters of {which}{by}, on a logarithmic "
        "scale and divided by its maximum (where filters are few, bins are joined), with its phenotype "
        f"by the rule of filterdb. {said}"
    )
    return Drawing(figure, _shape_table(names, shapes, kind), caption)


def _phenotype_title(ax: Axes, title: str, shape: Shape) -> None:
    what = "too few filters" if shape.phenotype == "few" else shape.phenotype
    ax.set_title(f"{title}\n", fontsize=6.0, pad=1.0, linespacing=1.2)
    ax.text(
        0.5,
        1.015,
        f"{what}, n = {labels.compact(shape.filters)}",
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize=style.SMALL,
        color=style.MUTED,
    )


def _map_bar(figure: Figure, panels: Any, tall: float) -> None:
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(LogNorm(FLOOR, 1), _map()),
        ax=panels,
        shrink=min(1.0, 1.3 / tall),
        aspect=16,
        pad=0.01,
    )
    bar.outline.set_visible(False)
    bar.set_ticks(list(_DECADES), labels=list(_DECADES.values()))
    bar.ax.minorticks_off()
    bar.set_label("density / maximum", fontsize=6.0)


def _tally(shapes: Sequence[Shape]) -> str:
    found = [shape.phenotype for shape in shapes]
    known = ", ".join(f"{found.count(name):,} {name}" for name in PHENOTYPES)
    few = found.count("few")
    more = f"; {few:,} have too few filters to say" if few else ""
    return f"Of {labels.counted(len(found), 'layer')}: {known}{more}."


def _map() -> Any:
    colours = mpl.colormaps[style.SEQUENTIAL]
    return colours.with_extremes(bad=colours(0.0), under=colours(0.0))


def joined_bins(counts: NDArray[Any]) -> NDArray[Any]:
    """Join bins of all panels alike, so that they compare, until filters are dense in each of them.

    Parameters
    ----------
    counts
        Panels x bins x bins.
    """
    while counts.shape[-1] > _LISTED and any(0 < _typical(one) < _THIN for one in counts):
        counts = reduced(counts, counts.shape[-1] // 2)
    return counts


def _typical(counts: NDArray[Any]) -> int:
    """Return how many filters the bin holds in which the filter in the middle of the ranks lies."""
    ranked = np.sort(counts[counts > 0], axis=None)
    if not len(ranked):
        return 0
    running = np.cumsum(ranked, dtype=np.int64)
    return int(ranked[np.searchsorted(running, running[-1] / 2)])


def _density(ax: Axes, counts: NDArray[Any], limit: float, wanted: int) -> None:
    if counts.any():
        relative = reduced(counts, wanted, how=np.max) / counts.max()
        ax.imshow(
            np.ma.masked_less_equal(relative, 0),
            norm=LogNorm(FLOOR, 1),
            cmap=_map(),
            origin="lower",
            extent=(-limit, limit, -limit, limit),
            aspect="auto",
        )
    else:
        ax.set_facecolor(style.EMPTY)
        ax.text(0.5, 0.5, "no filter", transform=ax.transAxes, ha="center", va="center", color=style.MUTED)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    ax.set_box_aspect(1)
    ax.spines[:].set_visible(False)


def _outer_ticks(ax: Axes, limit: float, bottom: bool, left: bool) -> None:
    step = float(int(limit / 1.6)) or 1.0
    places = [-step, 0, step]
    texts = [f"{place:.0f}".replace("-", "−") for place in places]
    ax.set_xticks(places, texts if bottom else [])
    ax.set_yticks(places, texts if left else [])
    ax.tick_params(length=1.5, width=0.4, labelsize=style.SMALL)
    if not bottom:
        ax.tick_params(axis="x", length=0)
    if not left:
        ax.tick_params(axis="y", length=0)


def _density_bar(figure: Figure, place: tuple[float, float, float, float]) -> None:
    ax = figure.add_axes(place)
    bar = figure.colorbar(mpl.cm.ScalarMappable(LogNorm(FLOOR, 1), _map()), cax=ax)
    bar.outline.set_visible(False)
    bar.set_ticks(list(_DECADES), labels=list(_DECADES.values()))
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.set_label("density / maximum", fontsize=6.0)


def _table(counts: NDArray[Any], names: Sequence[str], limit: float, what: str) -> pd.DataFrame:
    coarse = reduced(counts, _LISTED)
    one, row, column = np.nonzero(coarse)
    width = 2 * limit / coarse.shape[-1]
    return pd.DataFrame(
        {
            what: np.array(names, dtype=object)[one],
            "x": np.round((column + 0.5) * width - limit, 9),
            "y": np.round((row + 0.5) * width - limit, 9),
            "filters": coarse[one, row, column],
        }
    )


def _shape_table(names: Sequence[str], shapes: Sequence[Shape], kind: str) -> pd.DataFrame:
    rows = [
        {
            kind: name,
            "phenotype": shape.phenotype,
            "filters": shape.filters,
            "centre": shape.centre,
            "spread": shape.spread,
            "bimodality": shape.bimodality,
        }
        for name, shape in zip(names, shapes, strict=True)
    ]
    return pd.DataFrame(rows, columns=[kind, "phenotype", "filters", "centre", "spread", "bimodality"])
