"""Arithmetic on constants, value by value, with the rounding of onnxruntime's CPU kernels.

What has no exact answer, such as an exponential, is computed in float64 and rounded once; onnxruntime's
approximations may differ from that in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from filterdb.onnxgraph.call import Call
from filterdb.onnxgraph.tensors import Array

_DOUBLE = 8


def _elementwise(function: Callable[..., Any], *, double: bool = False) -> Callable[[Call], Sequence[Array]]:
    """Return an operator; ``double`` says that it computes in float64 whatever its inputs are."""

    def apply(call: Call) -> Sequence[Array]:
        arrays = [array for array in call.inputs if array is not None]
        itemsize = _DOUBLE if double else _itemsize(arrays)
        call.allow(np.broadcast_shapes(*(array.shape for array in arrays)), itemsize)
        return [np.asarray(function(*arrays)).astype(arrays[0].dtype, copy=False)]

    return apply


def _itemsize(arrays: Sequence[Array]) -> int:
    # Numpy makes float64 of integers where it needs to, as for a root.
    return max(_DOUBLE if array.dtype.kind in "iub" else array.itemsize for array in arrays)


def _divide(left: Array, right: Array) -> Array:
    if left.dtype.kind not in "iu":
        return np.asarray(left / right)
    # The standard rounds integers towards zero, numpy downwards.
    quotient = np.abs(left) // np.abs(right)
    return np.asarray(np.where((left < 0) != (right < 0), -quotient, quotient))


def _power(base: Array, exponent: Array) -> Array:
    if exponent.size == 1 and exponent.reshape(-1)[0] in (2, 3):
        square = base * base
        return np.asarray(square if exponent.reshape(-1)[0] == 2 else square * base)
    return np.asarray(np.power(base.astype(np.float64), exponent.astype(np.float64)))


def _in_double(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda array: function(array.astype(np.float64))


def _clip(call: Call) -> Sequence[Array]:
    array, low, high = call.array(0), call.optional(1), call.optional(2)
    attributes = call.node.attributes()
    if low is None and "min" in attributes:
        low = np.array(attributes["min"].proto.f, array.dtype)
    if high is None and "max" in attributes:
        high = np.array(attributes["max"].proto.f, array.dtype)
    given = [item for item in (array, low, high) if item is not None]
    call.allow(np.broadcast_shapes(*(item.shape for item in given)), max(item.itemsize for item in given))
    if low is not None:
        array = np.maximum(array, low)
    return [array if high is None else np.minimum(array, high)]


def _where(call: Call) -> Sequence[Array]:
    condition, yes, no = (call.array(place) for place in range(3))
    call.allow(np.broadcast_shapes(condition.shape, yes.shape, no.shape), max(yes.itemsize, no.itemsize))
    return [np.where(condition, yes, no)]


OPERATORS: Mapping[str, Any] = {
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Pow": _elementwise(_power, double=True),
    "Sum": _elementwise(lambda *arrays: reduce(np.add, arrays)),
    "Max": _elementwise(lambda *arrays: reduce(np.maximum, arrays)),
    "Min": _elementwise(lambda *arrays: reduce(np.minimum, arrays)),
    "Neg": _elementwise(np.negative),
    "Abs": _elementwise(np.abs),
    "Sign": _elementwise(np.sign),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Round": _elementwise(np.rint),
    "Sqrt": _elementwise(np.sqrt),
    "Reciprocal": _elementwise(lambda array: 1 / array),
    "Relu": _elementwise(lambda array: np.maximum(array, 0)),
    "Exp": _elementwise(_in_double(np.exp), double=True),
    "Log": _elementwise(_in_double(np.log), double=True),
    "Tanh": _elementwise(_in_double(np.tanh), double=True),
    "Clip": _clip,
    "Where": _where,
}
