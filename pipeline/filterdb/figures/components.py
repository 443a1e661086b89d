"""Figures of the basis: eigenimages, what they explain, and the covariance that they come from."""

from __future__ import annotations

from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from filterdb.figures import labels, style
from filterdb.figures.drawing import Drawing
from filterdb.figures.palette import readable_on

F64 = NDArray[np.float64]

MOST_COMPONENTS: Final = 9
_GAP: Final = 0.35
"""Least space between two eigenimages, in units of their width."""


_ONE_LINE: Final = 0.42
"""Inches in which the name of a component and its share stand side by side."""

_NARROW: Final = 0.12
"""Inches below which a segment of a bar has no text."""


@style.drawn
def eigenimages(
    components: F64,
    explained: F64,
    groups: pd.DataFrame,
    *,
    kernel: tuple[int, int] = (3, 3),
    width: float = style.DOUBLE,
    most: int = 20,
) -> Drawing:
    """Draw the principal components of groups as images, with the variance that each explains.

    Parameters
    ----------
    components
        Groups x components x values of a filter.
    explained
        Share of the variance: groups x components.
    groups
        One row a group: its name and sizes.
    kernel
        Height and width of a filter.
    width
        Of the figure, in inches.
    most
        Groups that are shown; of more, the largest.
    """
    shown = labels.largest(groups, most)
    count = min(MOST_COMPONENTS, components.shape[1])
    limit = float(np.abs(components[shown, :count]).max(initial=0)) or 1.0
    room, wide = min(1.6, 0.31 * width), width >= style.WIDE
    across = (width - room - (0.45 if wide else 0.05)) / count
    tall = kernel[0] / kernel[1]
    # As wide as the page allows, and no higher than it.
    pitch = min(across / (1 + _GAP), (8.8 / len(shown) - 0.25) / tall)
    row, apart = pitch * tall + 0.25, across / pitch
    figure = style.canvas(width, len(shown) * row + 1.0)
    ax = figure.add_subplot()
    # In units of one eigenimage's width.
    step = row / pitch
    for place, group in enumerate(shown.tolist()):
        running = np.cumsum(explained[group])
        for i in range(count):
            left, top = i * apart, place * step
            ax.imshow(
                components[group, i].reshape(kernel),
                cmap=style.DIVERGING,
                vmin=-limit,
                vmax=limit,
                extent=(left, left + 1, top + tall, top),
            )
            ax.add_patch(
                mpl.patches.Rectangle((left, top), 1, tall, fill=False, ec=style.MUTED, lw=0.4, clip_on=False)
            )
            digits = 1 if wide else 0
            text = f"{explained[group, i]:.{digits}%}\n{running[i]:.{digits}%}"
            ax.text(left + 0.5, top + tall + 0.06, text, ha="center", va="top", fontsize=style.SMALL - 0.5)
    # The layout measures labels against the corner that stays where it is when the axes keep their shape.
    ax.set_aspect("equal", anchor="NW")
    ax.set_xlim(-0.1, (count - 1) * apart + 1.1)
    ax.set_ylim(len(shown) * step, -0.25)
    ax.xaxis.tick_top()
    ax.set_xticks([i * apart + 0.5 for i in range(count)], [labels.component(i) for i in range(count)])
    ax.tick_params(axis="x", length=0, pad=0)
    rows = groups.iloc[shown]
    places = [place * step + tall / 2 for place in range(len(shown))]
    brief = labels.name_rows(ax, places, rows, room=room)
    ax.spines[:].set_visible(False)
    if wide:
        _loading_bar(ax, limit)
    labels.note(
        figure,
        labels.joined(
            "Below each image: share of the variance explained, and cumulative share.",
            "" if wide else f"Loadings from −{limit:.2f}, blue, to {limit:.2f}, red.",
            labels.left_out(len(groups), len(shown)),
            brief,
        ),
    )
    style.trim(figure)
    caption = labels.joined(
        f"The first {count} principal components of the scaled filters{_of(groups, len(shown))}, as images "
        f"of {kernel[0]}x{kernel[1]} values, with the share of the variance that each explains and the "
        "cumulative share. Colours are loadings, centred on zero.",
        _sample(groups),
    )
    return Drawing(figure, _component_table(components, explained, groups), caption)


def _of(groups: pd.DataFrame, shown: int) -> str:
    return f" of {labels.counted(shown, 'group')}" if len(groups) > 1 else ""


def _sample(groups: pd.DataFrame) -> str:
    """Say how large the sample is, if it is one: groups may be parts of each other."""
    return f"n = {labels.sample(groups)}." if len(groups) == 1 and "filters" in groups else ""


def _loading_bar(ax: Axes, limit: float) -> None:
    figure = ax.figure
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(Normalize(-limit, limit), style.DIVERGING),
        ax=ax,
        orientation="vertical",
        shrink=min(1.0, 0.9 / figure.get_size_inches()[1]),  # type: ignore[union-attr]
        aspect=9,
        pad=0.01,
        ticks=[-limit, 0, limit],
    )
    bar.set_ticklabels([f"−{limit:.2f}", "0", f"{limit:.2f}"])
    bar.ax.tick_params(labelsize=style.SMALL, length=1.5)
    bar.outline.set_linewidth(0.4)
    bar.set_label("loading", fontsize=style.SMALL)


def _component_table(components: F64, explained: F64, groups: pd.DataFrame) -> pd.DataFrame:
    n, count, values = components.shape
    rows = groups.loc[groups.index.repeat(count), [c for c in ("group", *labels.SIZES) if c in groups]]
    rows = rows.reset_index(drop=True)
    rows["component"] = np.tile(np.arange(1, count + 1), n)
    rows["explained"] = explained.ravel()
    rows["cumulative"] = np.cumsum(explained, axis=1).ravel()
    loadings = pd.DataFrame(
        components.reshape(n * count, values), columns=[f"loading_{i}" for i in range(values)]
    )
    return pd.concat([rows, loadings], axis="columns")


@style.drawn
def explained_variance(
    explained: F64,
    groups: pd.DataFrame,
    *,
    width: float = style.COLUMN,
    most: int = 20,
) -> Drawing:
    """Draw how much variance the components of groups explain, one on top of the other.

    Parameters
    ----------
    explained
        Share of the variance: groups x components.
    groups
        One row a group: its name and sizes.
    width
        Of the figure, in inches.
    most
        Groups that are shown; of more, the largest.
    """
    shown = labels.largest(groups, most)
    count = min(MOST_COMPONENTS, explained.shape[1])
    room = min(1.6, 0.34 * width)
    figure = style.canvas(width, 0.27 * len(shown) + 0.75)
    ax = figure.add_subplot()
    inside = width - room - 0.3
    least = float(explained[shown, :count].min(initial=1)) * inside
    for place, group in enumerate(shown.tolist()):
        _stack(ax, place, explained[group, :count], inside, lines=1 if least > _ONE_LINE else 2)
    brief = labels.name_rows(ax, range(len(shown)), groups.iloc[shown], room=room)
    ax.set_ylim(len(shown) - 0.45, -0.55)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    ax.set_xlabel("cumulative share of the variance explained")
    ax.spines["left"].set_visible(False)
    rest = explained.shape[1] - count
    beyond = f"Grey: the other {rest} components." if rest > 0 else ""
    labels.note(figure, labels.joined(beyond, labels.left_out(len(groups), len(shown)), brief))
    apart = f", for {labels.counted(len(shown), 'group')}; each group has a basis of its own"
    caption = labels.joined(
        f"Share of the variance of the scaled filters that each of the first {count} principal components "
        f"explains{apart if len(groups) > 1 else ''}.",
        _sample(groups),
    )
    table = groups.loc[groups.index.repeat(explained.shape[1])].reset_index(drop=True)
    table["component"] = np.tile(np.arange(1, explained.shape[1] + 1), len(groups))
    table["explained"] = explained.ravel()
    table["cumulative"] = np.cumsum(explained, axis=1).ravel()
    return Drawing(figure, table, caption)


def _stack(ax: Axes, place: int, explained: F64, inside: float, *, lines: int) -> None:
    """Draw one row: a segment a component, with name and share where there is room."""
    steps = mpl.colormaps["cividis"]
    start = 0.0
    size = style.SMALL if lines == 1 else style.SMALL - 0.8
    for i, share in enumerate(explained.tolist()):
        colour = steps(0.12 + 0.85 * i / max(1, len(explained) - 1))
        ax.barh(place, share, left=start, height=0.76, color=colour, edgecolor="white", linewidth=0.5)
        if share * inside > _NARROW:
            text = f"{labels.component(i)}{' ' if lines == 1 else chr(10)}{share:.0%}"
            look: Any = {"ha": "center", "va": "center", "linespacing": 1.0, "color": readable_on(colour)}
            ax.text(start + share / 2, place, text, fontsize=size, **look)
        start += share
    if 1 - start > 1e-9:
        ax.barh(place, 1 - start, left=start, height=0.76, color=style.FAINT, edgecolor="white")


@style.drawn
def covariance_image(
    covariance: F64,
    *,
    kernel: tuple[int, int] = (3, 3),
    sizes: pd.DataFrame | None = None,
    width: float = style.COLUMN,
) -> Drawing:
    """Draw the covariance of the values of scaled filters as an image.

    Parameters
    ----------
    covariance
        Values x values.
    kernel
        Height and width of a filter.
    sizes
        One row: how large the sample is.
    width
        Of the figure, in inches.
    """
    count = len(covariance)
    side = min(width, 4.2)
    figure = style.canvas(width, side * 0.88 + 0.35)
    ax = figure.add_subplot()
    limit = float(np.abs(covariance).max(initial=0)) or 1.0
    image = ax.imshow(covariance, cmap=style.DIVERGING, vmin=-limit, vmax=limit)
    ax.set_anchor("SW")
    places = [f"{i // kernel[1] + 1},{i % kernel[1] + 1}" for i in range(count)]
    every = -(-count // 12)
    ax.set_xticks(range(0, count, every), places[::every], fontsize=style.SMALL)
    ax.set_yticks(range(0, count, every), places[::every], fontsize=style.SMALL)
    ax.set(xlabel="row, column of the filter", ylabel="row, column of the filter")
    ax.tick_params(length=0)
    for border in range(kernel[1], count, kernel[1]):
        ax.axhline(border - 0.5, color="white", linewidth=1.2)
        ax.axvline(border - 0.5, color="white", linewidth=1.2)
    if count <= MOST_COMPONENTS:
        _numbers(ax, covariance, limit)
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=ax, shrink=0.75, aspect=22, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("covariance")
    n = "" if sizes is None else f"n = {labels.sample(sizes)}."
    labels.note(figure, n)
    style.trim(figure)
    caption = labels.joined(
        f"Covariance of the {count} values of the scaled filters, row by row; colours are centred on zero.", n
    )
    rows, columns = np.indices(covariance.shape).reshape(2, -1)
    table = pd.DataFrame({"value_a": rows, "value_b": columns, "covariance": covariance.ravel()})
    return Drawing(figure, table, caption)


def _numbers(ax: Axes, values: F64, limit: float) -> None:
    colours: Any = mpl.colormaps[style.DIVERGING]
    for (row, column), value in np.ndenumerate(values):
        ink = readable_on(colours((value / limit + 1) / 2))
        text = f"{value:.2f}".replace("-", "−").replace("0.", ".")
        ax.text(column, row, text, ha="center", va="center", fontsize=style.SMALL - 0.5, color=ink)
