"""Kernels as tiny pictures: one pixel a weight, whose browser makes large squares of it."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterdb.report.blocks import Image

STEPS: Final = 41
"""Colours of a picture; odd, so that zero has its own."""

PIXEL: Final = 5
"""Size of a weight on the page, in CSS pixels."""

_BLUE, _WHITE, _RED = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def _palette() -> bytes:
    """Return colours from blue over white to red, and one that is transparent."""
    places = np.linspace(-1, 1, STEPS)[:, None]
    ends = np.where(places < 0, np.array([_BLUE]), np.array([_RED]))
    colours = np.array([_WHITE]) + np.abs(places) * (ends - np.array([_WHITE]))
    return bytes(np.round(colours).astype(np.uint8).tobytes()) + bytes(3)


def strip(kernels: NDArray[np.floating], *, alt: str) -> Image:
    """Return kernels side by side: blue below zero, white at zero, red above it.

    Parameters
    ----------
    kernels
        n x height x width; what is not finite is transparent.
    alt
        What they are.
    """
    n, height, width = kernels.shape
    finite = np.isfinite(kernels)
    values = np.where(finite, kernels, 0).astype(np.float64)
    largest = np.abs(values).max(initial=0) or 1.0
    codes = np.rint((values / largest + 1) / 2 * (STEPS - 1)).astype(np.uint8)
    codes[~finite] = STEPS
    canvas = np.full((height, n * (width + 1) - 1), STEPS, np.uint8)
    for place, kernel in enumerate(codes):
        canvas[:, place * (width + 1) : place * (width + 1) + width] = kernel
    source = "data:image/png;base64," + base64.b64encode(_png(canvas)).decode("ascii")
    return Image(source, alt, canvas.shape[1] * PIXEL, height * PIXEL)


def _png(codes: NDArray[np.uint8]) -> bytes:
    """Return a picture of palette colours as PNG."""
    height, width = codes.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), codes], axis=1)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", _palette()),
        (b"tRNS", b"\xff" * STEPS + b"\0"),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
