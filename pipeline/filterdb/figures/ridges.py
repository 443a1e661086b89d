"""Ridge plots: how the coefficients of every group are distributed, component by component."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from filterdb.figures import labels, style
from filterdb.figures.components import MOST_COMPONENTS
from filterdb.figures.density import Densities
from filterdb.figures.drawing import Drawing
from filterdb.figures.palette import group_colours

_OVERLAP: Final = 1.75
"""Height of a ridge, in units of the distance between two."""

_STEP: Final = 4
"""Every how many points of the grid are drawn and listed: more than paper can show."""


@style.drawn
def ridges(
    found: Densities,
    groups: pd.DataFrame,
    *,
    axis: str,
    ordered: bool = False,
    width: float = style.DOUBLE,
    most: int = 20,
) -> Drawing:
    """Draw the densities of the coefficients of groups, one below the other.

    Parameters
    ----------
    found
        Densities: groups x components x points.
    groups
        One row a group: its name and sizes.
    axis
        What the groups are groups of.
    ordered
        The groups have an order of their own.
    width
        Of the figure, in inches.
    most
        Groups that are shown; of more, the largest.
    """
    shown = labels.largest(groups, most)
    count = min(MOST_COMPONENTS, found.values.shape[1])
    across = min(count, 9 if width >= style.WIDE else 3)
    down = -(-count // across)
    colours = group_colours(groups["group"].tolist(), ordered=ordered)
    room = min(1.5, 0.3 * width)
    # A page has room for so much.
    pitch = min(0.27, 8.4 / down / (len(shown) + _OVERLAP))
    figure = style.canvas(width, down * (pitch * (len(shown) + _OVERLAP) + 0.32) + 0.35)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for i, ax in enumerate(panels.flat):
        if i >= count:
            ax.set_visible(False)
            continue
        for place, group in enumerate(shown.tolist()):
            name = groups["group"].iloc[group]
            _ridge(ax, place, found.grid, found.values[group, i], colours[name])
        ax.set_title(labels.component(i), pad=3)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.tick_params(axis="x", length=2, width=0.5)
        ax.axvline(0, color=style.FAINT, linewidth=0.5, zorder=0)
    top = panels[0, 0]
    top.set_ylim(len(shown) - 0.6, -_OVERLAP - 0.1)
    top.set_xlim(found.grid[0], found.grid[-1])
    reach = max(1, int(0.75 * found.grid[-1]))
    top.set_xticks([-reach, 0, reach], [f"−{reach}", "0", f"{reach}"])
    for ax in panels[:, 0]:
        brief = labels.name_rows(ax, range(len(shown)), groups.iloc[shown], room=room, pitch=pitch)
    for ax in panels[:, 1:].flat:
        ax.tick_params(axis="y", length=0)
    how = "every filter" if found.exact else "the bins of the cube"
    empty = np.isnan(found.values[shown]).all(axis=(1, 2))
    lacking = [groups["group"].iloc[group] for group in shown[empty]]
    labels.note(
        figure,
        labels.joined(
            f"Density of each coefficient, from {how}; each ridge is scaled to its own maximum.",
            labels.left_out(len(groups), len(shown)),
            f"Without a coefficient in the range: {', '.join(lacking)}." if lacking else "",
            brief,
        ),
    )
    caption = (
        f"Distribution of the coefficients of the scaled filters along each principal component, by "
        f"{labels.spaced(axis)}: kernel density estimates with a Gaussian kernel and Silverman's bandwidth, "
        f"from {how}. Each ridge is scaled to its own maximum. n = {labels.sample(groups)}."
    )
    return Drawing(figure, _table(found, groups), caption)


def _ridge(ax: Axes, place: int, grid: np.ndarray, density: np.ndarray, colour: str) -> None:
    peak = np.nanmax(density, initial=0)
    ax.axhline(place, color=style.FAINT, linewidth=0.4, zorder=place)
    if not peak > 0:
        return
    x, height = grid[::_STEP], density.reshape(-1, _STEP).max(axis=1) / peak * _OVERLAP
    seen = height > 0.002
    first, last = int(np.argmax(seen)), len(seen) - int(np.argmax(seen[::-1]))
    part = slice(max(0, first - 1), last + 1)
    ax.fill_between(
        x[part], place, place - height[part], color=colour, alpha=0.78, linewidth=0, zorder=place + 0.3
    )
    ax.plot(x[part], place - height[part], color="white", linewidth=0.9, zorder=place + 0.4)
    ax.plot(x[part], place - height[part], color=colour, linewidth=0.5, zorder=place + 0.5)


def _table(found: Densities, groups: pd.DataFrame) -> pd.DataFrame:
    values = found.values[:, :, ::_STEP]
    group, component, point = np.indices(values.shape).reshape(3, -1)
    names = groups["group"].to_numpy(object)
    table = pd.DataFrame(
        {
            "group": names[group],
            "component": component + 1,
            "bandwidth": found.bandwidth[group, component],
            "coefficient": found.grid[::_STEP][point],
            "density": values.ravel(),
        }
    )
    return table[table["density"].notna()].reset_index(drop=True)
