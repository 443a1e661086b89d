"""Colours of groups: each name has its own in every figure, and red is never told from green."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb

PALETTE: Final = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#332288",
    "#999933",
    "#882255",
    "#44aa99",
)
"""Colours of Okabe and Ito and of Paul Tol, without those that are pale on paper."""

_SHADES: Final = (1.0, 0.65, 1.35)
"""Where there are more names than colours, these are darkened, then lightened."""


def group_colours(names: Sequence[str], *, ordered: bool = False) -> dict[str, str]:
    """Return a colour for every group of an axis.

    Names choose their colour themselves, whatever their order; of two that choose the same, the one that
    comes later in the alphabet takes the next that is free.

    Parameters
    ----------
    names
        All groups of the axis, those that a figure leaves out too.
    ordered
        The groups have an order, and colours that follow it.
    """
    if ordered:
        steps = mpl.colormaps["viridis"]
        return {name: to_hex(steps(0.92 * i / max(1, len(names) - 1))) for i, name in enumerate(names)}
    slots = [_shaded(colour, shade) for shade in _SHADES for colour in PALETTE]
    free = list(range(len(PALETTE)))
    chosen: dict[str, str] = {}
    for place, name in enumerate(sorted(set(names))):
        round_ = place // len(PALETTE) % len(_SHADES)
        if not free:
            free = list(range(len(PALETTE)))
        wanted = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:4]) % len(PALETTE)
        taken = min(free, key=lambda slot: (slot - wanted) % len(PALETTE))
        free.remove(taken)
        chosen[name] = slots[round_ * len(PALETTE) + taken]
    return {name: chosen[name] for name in names}


def readable_on(colour: object) -> str:
    """Return black or white, whichever is read better on a colour."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))  # type: ignore[arg-type]
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return "#000000" if luminance > 0.179 else "#ffffff"


def _shaded(colour: str, factor: float) -> str:
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    return to_hex(colorsys.hls_to_rgb(hue, min(0.88, lightness * factor), saturation))
