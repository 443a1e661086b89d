"""One procedural scene per call: fractals, textures, shapes, star fields, terrain and cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fields import (
    Field,
    Rng,
    blend,
    colour,
    grid,
    palette,
    polygon_distance,
    rotated,
    soft,
    spectral_noise,
    two_colours,
    unit,
)

Scene = tuple[Field, int, NDArray[Any]]
"""Image (channels, size, size) in [0, 1], class of the image, class of each pixel."""


def _escape_time(rng: Rng, size: int, burning: bool, limit: int = 24) -> Field:
    """Smooth escape count in [0, 1] of a Julia set, of z^2 + c or of the burning ship."""
    x, y = rotated(*grid(2 * size, rng.uniform(1.1, 1.5)), rng.uniform(0, 2 * np.pi))
    z = x + 1j * y
    theta = rng.uniform(0, 2 * np.pi)
    # Just outside the main cardioid the Julia sets are the richest.
    c = (np.exp(1j * theta) / 2 - np.exp(2j * theta) / 4) * rng.uniform(1.0, 1.12)
    if burning:
        c = complex(-rng.uniform(0.3, 1.2), -rng.uniform(-0.1, 0.5))
    count = np.full(z.shape, float(limit))
    for step in range(limit):
        if burning:
            z = np.abs(z.real) + 1j * np.abs(z.imag)
        z = z * z + c
        size_of_z = np.abs(z)
        fresh = (size_of_z > 4) & (count == limit)
        count[fresh] = step + 1 - np.log2(np.log2(size_of_z[fresh]) / 2)
        z[size_of_z > 1e3] = 1e3
    count = np.clip(count, 0, limit) / limit
    return count.reshape(size, 2, size, 2).mean(axis=(1, 3))


def _chaos_game(rng: Rng, size: int, flame: bool) -> tuple[Field, Field]:
    """Log density in [0, 1] and mean colour coordinate of a random iterated function system."""
    maps = int(rng.integers(3, 5))
    angle = rng.uniform(0, 2 * np.pi, maps)
    scale = rng.uniform(0.55, 0.85, maps) if flame else rng.uniform(0.4, 0.58, maps)
    turn = np.linspace(0, 2 * np.pi, maps, endpoint=False) + rng.uniform(0, 2 * np.pi)
    shift = np.stack([np.cos(turn), np.sin(turn)], 1) * rng.uniform(0.4, 0.8, (maps, 1))
    points = rng.uniform(-1, 1, (1500, 2))
    tint = rng.uniform(0, 1, 1500)
    density, tinted = np.zeros((size, size)), np.zeros((size, size))
    for step in range(24):
        pick = rng.integers(0, maps, len(points))
        cos, sin = np.cos(angle[pick]) * scale[pick], np.sin(angle[pick]) * scale[pick]
        px, py = points.T
        points = np.stack([cos * px - sin * py, sin * px + cos * py], 1) + shift[pick]
        if flame:
            # Sinusoidal and swirl variations bend the straight copies into flames.
            r2 = (points**2).sum(1)
            swirl = np.stack(
                [
                    np.sin(r2) * points[:, 0] - np.cos(r2) * points[:, 1],
                    np.cos(r2) * points[:, 0] + np.sin(r2) * points[:, 1],
                ],
                1,
            )
            points = np.where((pick % 2 == 0)[:, None], np.sin(points), 0.9 * swirl)
        tint = (tint + pick / max(maps - 1, 1)) / 2
        if step >= 6:
            cell = np.floor((points / 1.7 * 0.5 + 0.5) * size).astype(int)
            ok = ((cell >= 0) & (cell < size)).all(1)
            flat = cell[ok, 1] * size + cell[ok, 0]
            density += np.bincount(flat, minlength=size * size).reshape(size, size)
            tinted += np.bincount(flat, tint[ok], minlength=size * size).reshape(size, size)
    return unit(np.log1p(density)), tinted / np.maximum(density, 1)


def fractal(rng: Rng, size: int) -> Scene:
    """Julia set, burning ship, iterated function system or flame; pixels inside are 1."""
    label = int(rng.integers(4))
    back = blend(colour(rng, 0, 0.3), colour(rng, 0, 0.3), spectral_noise(rng, size, 3)[None])
    if label < 2:
        t = _escape_time(rng, size, burning=label == 1)
        return palette(rng, np.sqrt(t)), label, (t > 0.4).astype(np.int64)
    density, tint = _chaos_game(rng, size, flame=label == 3)
    image = blend(back, 0.3 + 0.7 * palette(rng, tint), density[None] ** 0.7)
    return image, label, (density > 0.25).astype(np.int64)


def _texture_field(rng: Rng, size: int, kind: int) -> Field:
    """Grey texture in [0, 1] of kind grating, checker, weave, noise or dots."""
    x, y = rotated(*grid(size), rng.uniform(0, np.pi))
    x, y = x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)
    freq = rng.uniform(0.10, 0.19) * size
    wave_x, wave_y = np.sin(np.pi * freq * x), np.sin(np.pi * freq * y)
    if kind == 0:
        return 0.5 + 0.5 * np.sin(1.4 * np.pi * freq * x + rng.uniform(0, 6))
    if kind == 1:
        return 0.5 + 0.5 * np.clip(6 * wave_x * wave_y, -1, 1)
    if kind == 2:
        over = wave_x * wave_y > 0
        thread = np.where(over, np.abs(np.cos(2 * np.pi * freq * x)), np.abs(np.cos(2 * np.pi * freq * y)))
        return 0.15 + 0.85 * thread * np.where(over, 1.0, 0.6)
    if kind == 3:
        return unit(spectral_noise(rng, size, rng.uniform(1.0, 2.2)))
    return np.clip(0.5 + 4 * (np.sin(1.2 * np.pi * freq * x) * np.sin(1.2 * np.pi * freq * y) - 0.45), 0, 1)


def texture(rng: Rng, size: int) -> Scene:
    """A single texture in two colours; all pixels carry its class."""
    label = int(rng.integers(5))
    first, second = two_colours(rng)
    light = 0.85 + 0.15 * spectral_noise(rng, size, 3.5)
    image = blend(first, second, _texture_field(rng, size, label)[None]) * light
    return image, label, np.full((size, size), label)


def texture_mosaic(rng: Rng, size: int) -> Scene:
    """Two textures meeting along a curved border; each pixel carries its own class."""
    kinds = rng.choice(5, 2, replace=False)
    images = []
    for kind in kinds:
        first, second = two_colours(rng)
        images.append(blend(first, second, _texture_field(rng, size, int(kind))[None]))
    side = spectral_noise(rng, size, 4.5) > rng.uniform(0.35, 0.65)
    return np.where(side[None], images[1], images[0]), int(kinds[0]), np.where(side, kinds[1], kinds[0])


def shape(rng: Rng, size: int) -> Scene:
    """Circle, triangle, rectangle, star or ring over a cloudy ground with stray lines."""
    label = int(rng.integers(5))
    x, y = rotated(*grid(size), rng.uniform(0, 2 * np.pi))
    cx, cy = rng.uniform(-0.35, 0.35, 2)
    x, y, r = x - cx, y - cy, rng.uniform(0.4, 0.65)
    if label in (0, 4):
        distance = np.hypot(x, y) - r
        if label == 4:
            distance = np.abs(distance + r * 0.25) - r * 0.22
    elif label == 2:
        distance = np.maximum(np.abs(x) - r * rng.uniform(0.7, 1.0), np.abs(y) - r * rng.uniform(0.5, 0.9))
    else:
        n = 3 if label == 1 else 10
        turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
        radius = np.full(n, 1.15 * r) if label == 1 else np.where(np.arange(n) % 2, 0.45 * r, 1.15 * r)
        distance = polygon_distance(x, y, np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1))
    first, second = two_colours(rng, 0.7)
    image = np.clip(first + 0.25 * (spectral_noise(rng, size, 2.5) - 0.5), 0, 1)
    for _ in range(int(rng.integers(1, 4))):
        u, _v = rotated(*grid(size), rng.uniform(0, np.pi))
        line = soft(np.abs(u - rng.uniform(-0.9, 0.9)) - 0.03, size)
        image = blend(image, colour(rng), 0.8 * line[None])
    cover = soft(distance, size)
    shade = 1 - 0.2 * spectral_noise(rng, size, 3)
    return blend(image, second * shade, cover[None]), label, (cover > 0.5).astype(np.int64)


def _stars(rng: Rng, size: int, where: Field, width: float) -> Field:
    """Summed light of point sources blurred by a Moffat point-spread function."""
    x, y = grid(size)
    flux = np.minimum(rng.pareto(1.3, len(where)) * 0.15 + 0.1, 1.5)
    r2 = (x[None] - where[:, :1, None]) ** 2 + (y[None] - where[:, 1:, None]) ** 2
    return (flux[:, None, None] * (1 + r2 / width**2) ** -3.0).sum(0)


def starfield(rng: Rng, size: int) -> Scene:
    """Sparse field, cluster, spiral or elliptical galaxy; pixels are sky, star or galaxy."""
    label = int(rng.integers(4))
    width = rng.uniform(2.0, 3.0) / size
    count = int(rng.integers(4, 14)) if label == 0 else int(rng.integers(1, 6))
    stars = _stars(rng, size, rng.uniform(-1, 1, (count, 2)), width)
    centre = rng.uniform(-0.4, 0.4, 2)
    glow = np.zeros((size, size))
    if label == 1:
        swarm = centre + rng.normal(0, rng.uniform(0.2, 0.35), (int(rng.integers(25, 50)), 2))
        stars = stars + 0.7 * _stars(rng, size, swarm, width)
    elif label >= 2:
        x, y = grid(size)
        x, y = rotated(x - centre[0], y - centre[1], rng.uniform(0, np.pi))
        r = np.hypot(x, y / rng.uniform(0.45, 0.9)) + 1e-6
        scale = rng.uniform(0.16, 0.28)
        glow = rng.uniform(0.8, 1.4) * np.exp(-r / scale)
        if label == 2:
            arms = np.cos(2 * np.arctan2(y, x) + rng.choice([-1, 1]) * 5 * np.log(r + 0.08))
            glow = glow * 0.5 * np.exp(-r / scale) + np.exp(-r / (1.7 * scale)) * np.clip(arms, 0, 1) * 0.9
    sky = rng.uniform(0.01, 0.05)
    image = np.arcsinh(12 * (stars + glow + sky)) / np.arcsinh(15.0)
    mask = np.where(stars > 0.2, 1, np.where(glow > 0.12, 2, 0))
    return np.clip(image, 0, 1)[None], label, mask


def terrain(rng: Rng, size: int) -> Scene:
    """Shaded relief of hills, ridges, islands, dunes or cloud; pixels are low, middle or high."""
    label = int(rng.integers(5))
    grain = (1.0, rng.uniform(3, 5)) if label == 3 else (1.0, 1.0)
    height = spectral_noise(rng, size, rng.uniform(3.2, 4.2), grain)
    if label == 1:
        height = unit(1 - np.abs(2 * height - 1))
    sea, snow = rng.uniform(0.25, 0.45), rng.uniform(0.65, 0.8)
    mask = np.where(height < sea, 0, np.where(height < snow, 1, 2))
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.gradient(height, axis=0) * np.sin(angle) + np.gradient(height, axis=1) * np.cos(angle)
    light = np.clip(0.75 + slope * size * 0.15, 0.25, 1.15)
    if label == 4:
        blue = np.array([0.25, 0.45, 0.8]).reshape(3, 1, 1) * rng.uniform(0.8, 1.2)
        return np.clip(blend(blue, 0.95 * light, unit(height)[None] ** 1.5), 0, 1), label, mask
    tint = rng.uniform(0.85, 1.15, (3, 1, 1))
    ramp = [[0.12, 0.25, 0.5], [0.3, 0.5, 0.2], [0.55, 0.42, 0.28], [0.93, 0.93, 0.95]]
    if label == 3:
        ramp = [[0.55, 0.4, 0.25], [0.8, 0.62, 0.35], [0.87, 0.7, 0.42], [0.95, 0.85, 0.6]]
    stops = [0.0, sea, snow, 1.0]
    rgb = np.stack([np.interp(height, stops, [c[k] for c in ramp]) for k in range(3)])
    wet = (mask == 0) & (label == 2)
    return np.clip(rgb * tint * np.where(wet, 0.75, light), 0, 1), label, mask


def _one_cell(rng: Rng, size: int, label: int, radius: float) -> tuple[Field, Field]:
    """Coverage of a cell body and of its nucleus (or of the pale centre of a ring)."""
    x, y = grid(size)
    cx, cy = rng.uniform(-0.85, 0.85, 2)
    x, y = rotated(x - cx, y - cy, rng.uniform(0, np.pi))
    ripple = 1 + 0.1 * np.sin(3 * np.arctan2(y, x) + rng.uniform(0, 6))
    if label == 1:
        body = np.hypot(np.maximum(np.abs(x) - 1.1 * radius, 0), y) - 0.45 * radius
        core = np.hypot(x, y) - 0.2 * radius
    elif label == 3:
        body = np.minimum(np.hypot(x - 0.75 * radius, y), np.hypot(x + 0.75 * radius, y)) - 0.85 * radius
        core = np.minimum(np.hypot(x - 0.75 * radius, y), np.hypot(x + 0.75 * radius, y)) - 0.35 * radius
    else:
        body = np.hypot(x, y / rng.uniform(0.75, 1)) - radius * ripple
        core = np.hypot(x - 0.15 * radius, y) - 0.45 * radius
    return soft(body, size), soft(core, size)


def cells(rng: Rng, size: int) -> Scene:
    """Round cells, rods, rings or dividing pairs; pixels are ground, body or core."""
    label = int(rng.integers(4))
    ground, body_ink = colour(rng, 0.75, 0.98), colour(rng, 0.35, 0.75)
    core_ink = body_ink * rng.uniform(0.35, 0.6)
    image = ground * (1 - 0.12 * spectral_noise(rng, size, 3)[None])
    mask = np.zeros((size, size), dtype=np.int64)
    for _ in range(int(rng.integers(2, 6))):
        body, core = _one_cell(rng, size, label, rng.uniform(0.2, 0.32))
        grain = 1 - 0.25 * spectral_noise(rng, size, 2)
        image = blend(image, body_ink * grain, 0.85 * body[None])
        # The centre of a ring is pale, a nucleus is dark; rods have none.
        if label != 1:
            image = blend(image, ground * 0.95 if label == 2 else core_ink, 0.9 * core[None])
        mask[body > 0.5] = 1
        if label != 1:
            mask[core > 0.5] = 2
    return np.clip(image, 0, 1), label, mask


SCENES: dict[str, Callable[[Rng, int], Scene]] = {
    "fractals": fractal,
    "textures": texture,
    "shapes": shape,
    "starfields": starfield,
    "terrain": terrain,
    "cells": cells,
}
