"""Pools of training and held-out images of each visual category."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits

from .fields import Rng, grid, rotated, spectral_noise
from .scenes import SCENES, Scene, texture_mosaic

TRAIN_IMAGES, HELD_IMAGES = 1536, 384
CLASSES = {"fractals": 4, "textures": 5, "shapes": 5, "starfields": 4, "handwriting": 10, "cells": 4}
PIXEL_CLASSES = {"fractals": 2, "textures": 5, "shapes": 2, "starfields": 3, "terrain": 3, "cells": 3}
DATA_SET = {
    "handwriting": "UCI optdigits (scikit-learn load_digits), augmented",
    "fractals": "filterdb procedural fractals",
    "textures": "filterdb procedural textures",
    "shapes": "filterdb procedural shapes",
    "starfields": "filterdb procedural starfields",
    "terrain": "filterdb procedural terrain",
    "cells": "filterdb procedural cells",
}
DIGITS_URL = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"


@dataclass(frozen=True)
class Pool:
    """Images with their labels and masks.

    Attributes
    ----------
    images : Tensor
        Float images in [0, 1], shape (n, channels, size, size).
    labels : Tensor
        Class of each image.
    masks : Tensor
        Class of each pixel.
    """

    images: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits of 8x8 pixels in [0, 1] and their labels."""
    bundle = load_digits()
    return bundle.images / 16.0, bundle.target


def _digit(rng: Rng, size: int, held: bool) -> Scene:
    """One augmented digit; the first 1,400 digits train, the others are held out."""
    images, labels = _digits()
    index = int(rng.integers(1400, len(images))) if held else int(rng.integers(0, 1400))
    x, y = rotated(*grid(size), rng.uniform(-0.25, 0.25))
    zoom = rng.uniform(4.0, 5.2, 2)
    shift = rng.uniform(-0.6, 0.6, 2) + 3.5
    x = x + rng.uniform(-0.2, 0.2) * y
    ink = map_coordinates(images[index], [y * zoom[0] + shift[0], x * zoom[1] + shift[1]], order=3)
    ink = np.clip((ink - 0.15) * rng.uniform(1.2, 1.8), 0, 1)
    paper = rng.uniform(0.0, 0.2) + 0.08 * spectral_noise(rng, size, 2.5)
    image = paper * (1 - ink) + rng.uniform(0.8, 1.0) * ink
    return image[None], int(labels[index]), (ink > 0.5).astype(np.int64)


def _seed(category: str, size: int, mosaic: bool, held: bool) -> list[int]:
    """Seed of a pool; the training and the held-out pool never share one."""
    return [20220622, sorted(DATA_SET).index(category), size, int(mosaic), int(held)]


@cache
def pool(category: str, size: int, channels: int, mosaic: bool, held: bool) -> Pool:
    """Images of one category, drawn once per process.

    Parameters
    ----------
    category : str
        A key of `DATA_SET`.
    size : int
        Pixels along one side.
    channels : int
        1 for luminance, 3 for colour.
    mosaic : bool
        Draw textures in pairs, for segmentation.
    held : bool
        Draw the held-out pool.

    Returns
    -------
    Pool
        The images with labels and masks.
    """
    rng = np.random.default_rng(_seed(category, size, mosaic, held))
    images, labels, masks = [], [], []
    for _ in range(HELD_IMAGES if held else TRAIN_IMAGES):
        if category == "handwriting":
            image, label, mask = _digit(rng, size, held)
        elif category == "textures" and mosaic:
            image, label, mask = texture_mosaic(rng, size)
        else:
            image, label, mask = SCENES[category](rng, size)
        if image.shape[0] > channels:
            image = image.mean(axis=0, keepdims=True)
        elif image.shape[0] < channels:
            image = np.repeat(image, channels, axis=0)
        images.append(np.clip(image, 0, 1).astype(np.float32))
        labels.append(label)
        masks.append(mask)
    stacked = torch.from_numpy(np.stack(images))
    return Pool(stacked, torch.tensor(labels), torch.from_numpy(np.stack(masks).astype(np.int64)))


def batch(source: Pool, count: int, rng: torch.Generator, flips: bool) -> Pool:
    """Random batch, turned and mirrored as one when the category allows it."""
    index = torch.randint(len(source.images), (count,), generator=rng)
    images, masks = source.images[index], source.masks[index]
    if flips:
        turn, mirror = (int(v) for v in torch.randint(4, (2,), generator=rng))
        images, masks = torch.rot90(images, turn, (2, 3)), torch.rot90(masks, turn, (1, 2))
        if mirror % 2:
            images, masks = images.flip(3), masks.flip(2)
    return Pool(images.contiguous(), source.labels[index], masks.contiguous())
