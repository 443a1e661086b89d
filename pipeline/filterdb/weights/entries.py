"""What a model was found to hold: weights that are read when they are asked for, and layers without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from filterdb.errors import FilterDBError
from filterdb.types import SkippedLayer, WeightArray


@dataclass(frozen=True, slots=True)
class Entry:
    """A named array whose values are read when they are asked for.

    Parameters
    ----------
    name
        Its name.
    shape
        Its shape.
    dtype
        The type of its values as stored.
    read
        Returns the values as float32; raises a ``WeightError`` where they cannot be had.
    op_type
        What kind of layer it belongs to, where that is known.
    group
        The number of groups of a convolution, where that is known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], WeightArray]
    op_type: str = ""
    group: int | None = None


@dataclass(slots=True)
class Found:
    """What a model was found to hold.

    Parameters
    ----------
    layers
        Weights of 2-D convolutions, in order.
    skipped
        Layers that are none, or have no weight that can be read.
    single
        It is a single array rather than a model.
    """

    layers: list[Entry] = field(default_factory=list)
    skipped: list[SkippedLayer] = field(default_factory=list)
    single: bool = False

    def skip(self, name: str, reason: str, *, shape: tuple[int, ...] = (), op_type: str = "") -> None:
        """Note a layer that is left out, and why."""
        self.skipped.append(SkippedLayer(name, op_type, kernel_of(shape), reason))


def kernel_of(shape: tuple[int, ...]) -> str:
    """Return the kernel's part of a weight's shape as text."""
    return "x".join(map(str, shape[2:])) if 2 < len(shape) <= 8 else "?"


def reason_of(error: Exception) -> str:
    """Return an error as the reason why a layer is left out."""
    if isinstance(error, FilterDBError):
        return error.reason
    return f"unexpected {type(error).__name__}: {error}"
