"""One look for all figures: sizes of a printed page, fonts, maps of colours; no state outlives a figure."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure

COLUMN: Final = 3.4
"""Width of one column of a page, in inches."""

DOUBLE: Final = 7.0
"""Width of a page of two columns, in inches."""

WIDE: Final = 5.0
"""From this width on, figures have room for more columns of panels."""

SEQUENTIAL: Final = "viridis"
"""Perceptually ordered: for distances and densities."""

DIVERGING: Final = "RdBu_r"
"""Centred on zero: for kernels, loadings and covariances."""

_AIR: Final = 0.16
"""Height of the empty space of a figure whose height was trimmed, in inches."""

INK: Final = "#1a1a1a"
MUTED: Final = "#5f6368"
FAINT: Final = "#d9dce0"
ACCENT: Final = "#0072b2"
EMPTY: Final = "#eceff1"

SMALL: Final = 5.5
"""Points of the smallest text."""

STYLE: Final[dict[str, Any]] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.5,
    "xtick.labelsize": 6.0,
    "ytick.labelsize": 6.0,
    "legend.fontsize": 6.0,
    "legend.frameon": False,
    "figure.titlesize": 7.5,
    "figure.labelsize": 7.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "lines.linewidth": 1.0,
    "patch.linewidth": 0.5,
    "hatch.linewidth": 0.4,
    # Glyphs that snap to pixels are of another width at every resolution, and the layout would not hold.
    "text.hinting": "none",
    "figure.dpi": 300,
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
    "image.composite_image": False,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    # Names of groups, layers and models come from anybody: a dollar sign starts no formula.
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "filterdb",
    "pdf.fonttype": 42,
}


class _HasFigure(Protocol):
    @property
    def figure(self) -> Figure: ...


P = ParamSpec("P")
D = TypeVar("D", bound=_HasFigure)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the one style; what was set before comes back."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes, and is whole in the SVG and the CSV.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        mpl.rcdefaults()
        parameters: Any = mpl.rcParams
        parameters.update(STYLE)
        yield


def drawn(function: Callable[P, D]) -> Callable[P, D]:
    """Make a function draw in the one style, ticks and layout included."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> D:
        with styled():
            drawing = function(*args, **kwargs)
            # Ticks are made when a figure is first laid out, and take the style of that moment.
            drawing.figure.draw_without_rendering()
            # From here on everything stays in its place, and files of all kinds are laid out alike.
            drawing.figure.set_layout_engine("none")
        return drawing

    return wrapper


def canvas(width: float, height: float, *, layout: str | None = "constrained") -> Figure:
    """Return an empty figure.

    Parameters
    ----------
    width, height
        In inches.
    layout
        Name of the layout engine, if any.
    """
    return Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]


def trim(figure: Figure) -> None:
    """Take out the height that nothing uses: images keep their shape and may be lower than was allowed for.

    Parameters
    ----------
    figure
        A figure whose images are as wide as they can be.
    """
    engine = figure.get_layout_engine()
    assert engine is not None, "a figure without a layout has the height that it was given"
    engine.execute(figure)
    width, height = figure.get_size_inches()
    boxes = [artist.get_tightbbox() for artist in (*figure.axes, *figure.texts, *figure.legends)]
    spans = sorted((box.y0 / figure.dpi, box.y1 / figure.dpi) for box in boxes if box is not None)
    covered, end = 0.0, 0.0
    for low, high in spans:
        covered += max(0.0, high - max(low, end))
        end = max(end, high)
    figure.set_size_inches(width, min(height, covered + _AIR))
