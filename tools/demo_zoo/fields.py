"""Random fields, palettes and soft-edged geometry shared by the procedural scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
Rng = np.random.Generator


def grid(size: int, half: float = 1.0) -> tuple[Field, Field]:
    """Pixel-centre coordinates of a square image.

    Parameters
    ----------
    size : int
        Pixels along one side.
    half : float
        Half of the side in scene units.

    Returns
    -------
    tuple of ndarray
        x and y, each of shape (size, size), in (-half, half).
    """
    axis = (np.arange(size) + 0.5) / size * 2 * half - half
    x, y = np.meshgrid(axis, axis)
    return x, y


def rotated(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates turned by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def unit(values: Field) -> Field:
    """Values stretched linearly to [0, 1]."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low + 1e-9)


def soft(distance: Field, size: int) -> Field:
    """Coverage of a pixel by the inside (negative distance) of a shape, one pixel of soft edge."""
    return np.clip(0.5 - distance * size / 2, 0.0, 1.0)


def spectral_noise(rng: Rng, size: int, beta: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Field:
    """Random field with a power-law spectrum, in [0, 1].

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    size : int
        Pixels along one side.
    beta : float
        Exponent of the power spectrum; 2 is rough, 4 is smooth.
    stretch : tuple of float
        Weights of the horizontal and vertical frequencies; unequal ones give a grain.

    Returns
    -------
    ndarray
        The field, shape (size, size).
    """
    # Twice the size is synthesised and cropped, so that the image does not wrap around.
    wide = 2 * size
    fx = np.fft.rfftfreq(wide)[None, :] * stretch[0]
    fy = np.fft.fftfreq(wide)[:, None] * stretch[1]
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1.0
    shape = (wide, wide // 2 + 1)
    spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * radius ** (-beta / 2)
    spectrum[0, 0] = 0.0
    return unit(np.fft.irfft2(spectrum, s=(wide, wide))[:size, :size])


def palette(rng: Rng, t: Field) -> Field:
    """Colours of values in [0, 1] by a random cosine palette, shape (3, ...)."""
    phase = rng.uniform(0, 1, 3).reshape(3, 1, 1)
    speed = rng.uniform(0.5, 1.2, 3).reshape(3, 1, 1)
    return 0.5 + 0.5 * np.cos(2 * np.pi * (speed * t[None] + phase))


def colour(rng: Rng, low: float = 0.0, high: float = 1.0) -> Field:
    """One random colour, shape (3, 1, 1)."""
    return rng.uniform(low, high, (3, 1, 1))


def two_colours(rng: Rng, contrast: float = 0.5) -> tuple[Field, Field]:
    """Two random colours whose summed channel distance is at least `contrast`."""
    while True:
        first, second = colour(rng), colour(rng)
        if float(np.abs(first - second).sum()) >= contrast and abs(float((first - second).mean())) > 0.2:
            return first, second


def blend(below: Field, above: Field, cover: Field) -> Field:
    """`above` painted over `below` with a coverage in [0, 1]."""
    return below * (1 - cover) + above * cover


def polygon_distance(x: Field, y: Field, corners: Field) -> Field:
    """Signed distance to a polygon, negative inside.

    Parameters
    ----------
    x, y : ndarray
        Coordinates.
    corners : ndarray
        Corners in order, shape (n, 2).

    Returns
    -------
    ndarray
        Distance, of the shape of `x`.
    """
    nearest = np.full_like(x, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        t = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - t * ex, y - ay - t * ey))
        # Even-odd rule: count the edges crossed by a ray to the left.
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < ex * (y - ay) / (ey if ey else 1e-12) + ax)
    return np.where(inside, -nearest, nearest)
