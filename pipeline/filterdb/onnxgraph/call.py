"""One operator about to be computed: its inputs, its attributes, and what it may cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filterdb.errors import WeightError
from filterdb.onnxgraph.graph import STANDARD, Node
from filterdb.onnxgraph.tensors import Array, TensorReader


@dataclass(frozen=True, slots=True)
class Call:
    """A node with the values of its inputs.

    Parameters
    ----------
    node
        The node.
    inputs
        Its inputs, None where one is left out.
    tensors
        Reads tensors in its attributes.
    limit
        Most bytes of one result.
    pay
        Told of work that is far more than its results are large, and refuses it where it is too much.
    """

    node: Node
    inputs: Sequence[Array | None]
    tensors: TensorReader
    limit: int
    pay: Callable[[int], None]

    @property
    def name(self) -> str:
        """The operator, with its domain where that is not the standard one."""
        return self.node.op if self.node.domain == STANDARD else f"{self.node.domain}::{self.node.op}"

    def array(self, place: int) -> Array:
        """Return an input that must be there."""
        array = self.optional(place)
        if array is None:
            raise WeightError(f"{self.name} lacks its input {place}")
        return array

    def optional(self, place: int) -> Array | None:
        """Return an input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, name: str, place: int) -> tuple[int, ...] | None:
        """Return what is an attribute in old operator sets, and an input in new ones."""
        given = self.optional(place)
        if given is not None:
            if given.size > 1024 or given.dtype.kind not in "iu":
                raise WeightError(
                    f"{self.name} has {name} of type {given.dtype} and shape {list(given.shape)}"
                )
            return tuple(int(number) for number in given.reshape(-1))
        return self.node.numbers(name) or None

    def axis(self, default: int, rank: int) -> int:
        """Return the attribute ``axis``, counted from the front."""
        return normal_axis(self.node.number("axis", default), rank, self.name)

    def allow(self, shape: Sequence[int], itemsize: int) -> None:
        """Refuse a result that would be too large, before it is made."""
        if any(size < 0 for size in shape):
            raise WeightError(f"{self.name} would give the shape {list(shape)}")
        if math.prod(shape) * itemsize > self.limit:
            raise WeightError(
                f"{self.name} would give {list(shape)}, more than the limit of {self.limit} bytes"
            )


def normal_axis(axis: int, rank: int, name: str) -> int:
    """Return an axis counted from the front."""
    if not -rank <= axis < rank:
        raise WeightError(f"{name} has axis {axis} of {rank} dimensions")
    return axis % rank
