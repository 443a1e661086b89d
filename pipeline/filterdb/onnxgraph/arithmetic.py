"""Arithmetic on constants, with the rounding of onnxruntime's CPU kernels.

Sums are the exception: onnxruntime adds in an order that depends on the processor, so here they are
added in float64 and rounded once, which differs from it by the last bit or two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from filterdb.errors import WeightError
from filterdb.onnxgraph.call import Call
from filterdb.onnxgraph.tensors import Array


def _elementwise(function: Callable[..., Any]) -> Callable[[Call], Sequence[Array]]:
    def apply(call: Call) -> Sequence[Array]:
        arrays = [array for array in call.inputs if array is not None]
        call.allow(np.broadcast_shapes(*(array.shape for array in arrays)), arrays[0].itemsize)
        return [np.asarray(function(*arrays)).astype(arrays[0].dtype, copy=False)]

    return apply


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
    if low is not None:
        array = np.maximum(array, low)
    return [array if high is None else np.minimum(array, high)]


def _where(call: Call) -> Sequence[Array]:
    condition, yes, no = (call.array(place) for place in range(3))
    call.allow(np.broadcast_shapes(condition.shape, yes.shape, no.shape), yes.itemsize)
    return [np.where(condition, yes, no)]


def _reduction(function: Callable[..., Any]) -> Callable[[Call], Sequence[Array]]:
    def apply(call: Call) -> Sequence[Array]:
        array = call.array(0)
        axes = call.numbers("axes", 1)
        if axes is None and call.node.int("noop_with_empty_axes", 0):
            return [array]
        wide = array.astype(np.float64) if array.dtype.kind in "fV" else array
        result = function(wide, axis=axes, keepdims=bool(call.node.int("keepdims", 1)))
        return [np.asarray(result).astype(array.dtype)]

    return apply


def _mean(array: Array, **options: Any) -> Any:
    if array.dtype.kind in "iu":
        raise WeightError("the mean of integers is not computed")
    return np.mean(array, **options)


OPERATORS: Mapping[str, Any] = {
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Pow": _elementwise(_power),
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
    "Exp": _elementwise(_in_double(np.exp)),
    "Log": _elementwise(_in_double(np.log)),
    "Tanh": _elementwise(_in_double(np.tanh)),
    "Clip": _clip,
    "Where": _where,
    "ReduceSum": _reduction(np.sum),
    "ReduceMean": _reduction(_mean),
    "ReduceMax": _reduction(np.max),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceL1": _reduction(lambda array, **options: np.sum(np.abs(array), **options)),
    "ReduceL2": _reduction(lambda array, **options: np.sqrt(np.sum(array * array, **options))),
    "ReduceSumSquare": _reduction(lambda array, **options: np.sum(array * array, **options)),
}
