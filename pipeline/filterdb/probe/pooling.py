"""How the activations of a layer become rows of features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from filterdb.onnxgraph.axes import Axes

Pooling: TypeAlias = Literal["channelwise", "mean", "max", "median", "flatten"]

Steps: TypeAlias = Literal["last", "first", "all"]

STEPS: Final[tuple[str, ...]] = get_args(Steps)
POOLINGS: Final[tuple[str, ...]] = get_args(Pooling)
_BLOCK: Final = 1 << 22
BLOCK_BYTES: Final = 2 * 8 * _BLOCK
"""Bytes that a block of :func:`columns` and what is computed of it take, as a rule."""


def pooled(values: NDArray[Any], axes: Axes, pooling: str, steps: str = "last") -> NDArray[Any]:
    """Return activations as (rows, features) or, channelwise, as (rows, features, places).

    Parameters
    ----------
    values
        Activations with the rows of the data first.
    axes
        Where their channels are; it is known, unless all of them are features.
    pooling
        What becomes of the places of an image: each is a row of its own (``channelwise``), or they are
        summed up, or they are features.
    steps
        What counts of a sequence: the ``last`` step, the ``first``, or ``all``, which are then treated as
        places are.
    """
    if values.ndim <= 2:
        return values.reshape(len(values), -1)
    if axes == "unknown":
        return values.reshape(len(values), -1)
    if axes != "channels_first" and values.ndim == 3 and steps != "all":
        return values[:, 0 if steps == "first" else -1]
    if axes != "channels_first":
        values = np.moveaxis(values, -1, 1)
    places = values.reshape(*values.shape[:2], -1)
    if pooling == "channelwise":
        return places
    if pooling == "flatten":
        return places.reshape(len(places), -1)
    if pooling == "mean":
        return np.asarray(places.mean(axis=2, dtype=np.float64))
    if pooling == "max":
        return np.asarray(places.max(axis=2))
    lower = (places.shape[2] - 1) // 2
    return np.partition(places, lower, axis=2)[:, :, lower]


def needs_channels(shape: tuple[int, ...], pooling: str) -> bool:
    """Tell whether it matters where activations have their channels.

    Parameters
    ----------
    shape
        Of the activations of one row.
    pooling
        As for :func:`pooled`.
    """
    return len(shape) > 1 and pooling != "flatten"


def width_of(shape: tuple[int, ...], axes: Axes, pooling: str, steps: str = "last") -> int:
    """Return how many features pooled activations have.

    Parameters
    ----------
    shape
        Of the activations of one row.
    axes, pooling, steps
        As for :func:`pooled`.
    """
    # No more than shapes is needed, and this one takes no memory.
    values = np.broadcast_to(np.int8(0), (1, *shape))
    found = pooled(values, axes, pooling if pooling == "flatten" else "channelwise", steps)
    return int(found.shape[1])


def columns(features: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield features as float64 blocks of the shape (features, observations), in order.

    Parameters
    ----------
    features
        What :func:`pooled` returns.
    """
    width = features.shape[1]
    places = features.shape[2] if features.ndim == 3 else 1
    step = max(1, _BLOCK // max(1, width * places))
    for start in range(0, len(features), step):
        part = features[start : start + step].swapaxes(0, 1)
        # One copy, which turns it and widens it at once.
        yield np.array(part, np.float64, order="C").reshape(width, -1)
