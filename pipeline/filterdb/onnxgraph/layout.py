"""Operators that move values without changing them, and those that store or repeat them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from filterdb.errors import WeightError
from filterdb.onnxgraph.call import Call, normal_axis
from filterdb.onnxgraph.tensors import SMALL_INTEGERS, Array, from_low_bits

_SATURATING = {
    np.dtype(kind)
    for kind in (
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
        ml_dtypes.float4_e2m1fn,
    )
}


def _constant(call: Call) -> Sequence[Array]:
    for name, bound in call.node.attributes().items():
        proto = bound.proto
        match name:
            case "value":
                return [call.tensors.array(proto.t)]
            case "sparse_value":
                return [call.tensors.sparse(proto.sparse_tensor)]
            case "value_float":
                return [np.array(proto.f, np.float32)]
            case "value_floats":
                return [np.array(proto.floats, np.float32)]
            case "value_int":
                return [np.array(proto.i, np.int64)]
            case "value_ints":
                return [np.array(proto.ints, np.int64)]
    raise WeightError("Constant holds no numbers")


def _identity(call: Call) -> Sequence[Array]:
    return [call.array(0)]


def _cast(call: Call) -> Sequence[Array]:
    code = call.node.number("to", 0)
    if code in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise WeightError("Cast makes no number of the weight")
    return _to_type(call, np.dtype(helper.tensor_dtype_to_np_dtype(code)))


def _cast_like(call: Call) -> Sequence[Array]:
    return _to_type(call, call.array(1).dtype)


def _to_type(call: Call, dtype: np.dtype[Any]) -> Sequence[Array]:
    array = call.array(0)
    call.allow(array.shape, dtype.itemsize)
    if dtype in _SATURATING and call.node.number("saturate", 1):
        return [saturate(array, dtype)]
    if dtype in SMALL_INTEGERS:
        # onnxruntime rounds halves away from zero here, and truncates everywhere else.
        whole = np.trunc(array + np.copysign(0.5, array)) if array.dtype.kind == "f" else array
        return [from_low_bits(whole.astype(np.int64), dtype)]
    return [array.astype(dtype, copy=False)]


def saturate(array: Array, dtype: np.dtype[Any]) -> Array:
    """Convert to a small float type whose largest value stands for everything beyond it."""
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    return np.clip(array.astype(np.float32), -largest, largest).astype(dtype)


def _transpose(call: Call) -> Sequence[Array]:
    return [call.array(0).transpose(call.node.numbers("perm") or None)]


def _reshape(call: Call) -> Sequence[Array]:
    array = call.array(0)
    shape = list(call.numbers("shape", 1) or ())
    if not call.node.number("allowzero", 0):
        shape = [array.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return [array.reshape(shape)]


def _squeeze(call: Call) -> Sequence[Array]:
    axes = call.numbers("axes", 1)
    return [np.squeeze(call.array(0), axis=axes)]


def _unsqueeze(call: Call) -> Sequence[Array]:
    return [np.expand_dims(call.array(0), call.numbers("axes", 1) or ())]


def _flatten(call: Call) -> Sequence[Array]:
    array = call.array(0)
    axis = call.node.number("axis", 1)
    axis = axis + array.ndim if axis < 0 else axis
    return [array.reshape(math.prod(array.shape[:axis]), -1 if array.size else 0)]


def _concat(call: Call) -> Sequence[Array]:
    arrays = [array for array in call.inputs if array is not None]
    call.allow([sum(array.size for array in arrays)], max(array.itemsize for array in arrays))
    return [np.concatenate(arrays, axis=call.axis(1, arrays[0].ndim))]


def _slice(call: Call) -> Sequence[Array]:
    array = call.array(0)
    starts, ends = call.numbers("starts", 1) or (), call.numbers("ends", 2) or ()
    axes = call.numbers("axes", 3) or tuple(range(len(starts)))
    steps = call.numbers("steps", 4) or (1,) * len(starts)
    cut = [slice(None)] * array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = normal_axis(axis, array.ndim, "Slice")
        size = array.shape[axis]
        if step < 0 and end < -size:
            cut[axis] = slice(start, None, step)
        else:
            cut[axis] = slice(start, end, step)
    return [array[tuple(cut)]]


def _split(call: Call) -> Sequence[Array]:
    array = call.array(0)
    axis = call.axis(0, array.ndim)
    sizes, parts = call.numbers("split", 1), len(call.node.outputs)
    if sizes is None:
        each = -(-array.shape[axis] // parts)
        sizes = (*[each] * (parts - 1), array.shape[axis] - each * (parts - 1))
    if sum(sizes) != array.shape[axis] or min(sizes) < 0:
        raise WeightError(f"Split into {list(sizes)} does not fit {array.shape[axis]}")
    return np.split(array, np.cumsum(sizes)[:-1], axis=axis)


def _gather(call: Call) -> Sequence[Array]:
    array, places = call.array(0), call.array(1)
    axis = call.axis(0, array.ndim)
    call.allow([*array.shape[:axis], *places.shape, *array.shape[axis + 1 :]], array.itemsize)
    return [np.take(array, places.astype(np.int64), axis=axis)]


def _expand(call: Call) -> Sequence[Array]:
    array = call.array(0)
    shape = np.broadcast_shapes(array.shape, call.numbers("shape", 1) or ())
    call.allow(shape, array.itemsize)
    return [np.broadcast_to(array, shape)]


def _tile(call: Call) -> Sequence[Array]:
    array = call.array(0)
    repeats = call.numbers("repeats", 1) or ()
    if len(repeats) != array.ndim:
        raise WeightError(f"Tile by {list(repeats)} does not fit the shape {list(array.shape)}")
    call.allow([size * times for size, times in zip(array.shape, repeats, strict=True)], array.itemsize)
    return [np.tile(array, repeats)]


def _constant_of_shape(call: Call) -> Sequence[Array]:
    shape = call.numbers("shape", 0) or ()
    bound = call.node.attributes().get("value")
    fill = np.zeros(1, np.float32) if bound is None else call.tensors.array(bound.proto.t)
    call.allow(shape, fill.itemsize)
    return [np.full(shape, fill.reshape(-1)[0], fill.dtype)]


def _range(call: Call) -> Sequence[Array]:
    start, limit, step = (call.array(place).reshape(-1)[0] for place in range(3))
    count = max(math.ceil((float(limit) - float(start)) / float(step)), 0)
    call.allow([count], max(start.dtype.itemsize, 8))  # counted in int64 first
    return [(start + np.arange(count).astype(start.dtype) * step).astype(start.dtype)]


def _shape(call: Call) -> Sequence[Array]:
    shape = call.array(0).shape
    start, end = call.node.number("start", 0), call.node.number("end", len(shape))
    return [np.array(shape[start:end], np.int64)]


OPERATORS: Mapping[str, Any] = {
    "Constant": _constant,
    "Identity": _identity,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Shape": _shape,
}
