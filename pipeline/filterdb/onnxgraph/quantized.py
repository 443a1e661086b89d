"""Numbers that are stored as steps of a scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from onnx import helper

from filterdb.errors import WeightError
from filterdb.onnxgraph.call import Call, normal_axis
from filterdb.onnxgraph.layout import saturate
from filterdb.onnxgraph.tensors import SMALL_INTEGERS, Array

_ROUNDING: Mapping[str, Callable[[Array], Array]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


def dequantize_linear(call: Call) -> Sequence[Array]:
    """Compute ``(x - zero) * scale``, by tensor, by axis or by block."""
    array, scale, zero = call.array(0), call.array(1), call.optional(2)
    result = _output_type(call, scale.dtype)
    call.allow(array.shape, max(4, result.itemsize))
    if _is_integer(array.dtype):
        steps = array.astype(np.int32)
        if zero is not None:
            steps = steps - _spread(call, zero.astype(np.int32), array)
        values = steps.astype(np.float32)
    else:
        values = array.astype(np.float32)
    return [(values * _spread(call, scale.astype(np.float32), array)).astype(result, copy=False)]


def quantize_linear(call: Call) -> Sequence[Array]:
    """Compute ``round(x / scale) + zero``, within the range of the result's type."""
    array, scale, zero = call.array(0), call.array(1), call.optional(2)
    dtype = zero.dtype if zero is not None else _output_type(call, np.dtype(np.uint8))
    call.allow(array.shape, 8 if _is_integer(dtype) else 4)  # whole steps are rounded in float64
    values = array.astype(np.float32) / _spread(call, scale.astype(np.float32), array)
    if not _is_integer(dtype):
        return [saturate(values, dtype)]
    steps = np.rint(values).astype(np.float64)
    if zero is not None:
        steps = steps + _spread(call, zero.astype(np.float64), array)
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return [np.clip(steps, int(info.min), int(info.max)).astype(np.int64).astype(dtype)]


def quant(call: Call) -> Sequence[Array]:
    """Compute QONNX's ``Quant``: to whole steps within a bit width, and back."""
    array, scale, zero, bits = (call.array(place) for place in range(4))
    signed, narrow = call.node.number("signed", 1), call.node.number("narrow", 0)
    rounding = _ROUNDING.get(call.node.text("rounding_mode", "ROUND").upper())
    if rounding is None or bits.size != 1 or not 1 <= float(bits.reshape(-1)[0]) <= 64:
        raise WeightError("Quant has an unknown rounding mode, or a bit width that is no number from 1 to 64")
    width = float(bits.reshape(-1)[0])
    call.allow(np.broadcast_shapes(array.shape, scale.shape, zero.shape), _widest(array, scale, zero))
    steps = array / scale + zero
    if signed and width == 1:
        steps = np.where(steps >= 0, 1, -1).astype(array.dtype)
    else:
        low = -(2 ** (width - 1)) + narrow if signed else 0
        high = 2 ** (width - 1) - 1 if signed else 2**width - 1 - narrow
        steps = rounding(np.clip(steps, low, high))
    return [((steps - zero) * scale).astype(array.dtype, copy=False)]


def bipolar_quant(call: Call) -> Sequence[Array]:
    """Compute QONNX's ``BipolarQuant``: plus or minus the scale."""
    array, scale = call.array(0), call.array(1)
    call.allow(np.broadcast_shapes(array.shape, scale.shape), _widest(array, scale))
    return [(np.where(array >= 0, 1, -1).astype(array.dtype) * scale).astype(array.dtype, copy=False)]


def _spread(call: Call, parameter: Array, array: Array) -> Array:
    """Give a scale or zero point the shape that fits the values it belongs to."""
    if parameter.size == 1:
        return parameter.reshape(())
    block = call.node.number("block_size", 0)
    axis = normal_axis(call.node.number("axis", 1), array.ndim, call.name)
    if parameter.ndim == 1 and not block:
        if parameter.size != array.shape[axis]:
            raise WeightError(f"{call.name} has {parameter.size} scales for {array.shape[axis]} channels")
        return parameter.reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    expected = [-(-size // block) if block and i == axis else size for i, size in enumerate(array.shape)]
    if list(parameter.shape) != expected:
        raise WeightError(f"{call.name} has scales of shape {list(parameter.shape)}, expected {expected}")
    places = np.arange(array.shape[axis]) // max(block, 1)
    return np.take(parameter, places, axis=axis)


def _widest(*arrays: Array) -> int:
    """Return the bytes of one value of a quotient or product: of integers, numpy may make float64."""
    return max(8 if _is_integer(array.dtype) else array.itemsize for array in arrays)


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype in SMALL_INTEGERS


def _output_type(call: Call, default: np.dtype[Any]) -> np.dtype[Any]:
    code = call.node.number("output_dtype", 0)
    return np.dtype(helper.tensor_dtype_to_np_dtype(code)) if code else default
