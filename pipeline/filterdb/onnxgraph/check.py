"""What ONNX's own checker says of a model: advice for a careful reader, never a gate."""

from __future__ import annotations

from collections.abc import Container

import onnx
from onnx import TensorProto

from filterdb.onnxgraph.tensors import all_tensors
from filterdb.onnxgraph.wire import Blobs

_SHOWN = 300
_CONTENT = (
    "dims", "raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data",
    "segment", "external_data", "data_location",
)  # fmt: skip
# The checker prints a line of its own about these, into whatever the program writes to standard output.
_EXPERIMENTAL = {
    "ATen", "Affine", "ConstantFill", "Crop", "DynamicSlice", "GRUUnit", "GivenTensorFill", "ImageScaler",
    "ParametricSoftplus", "Scale", "ScaledTanh",
}  # fmt: skip


def complaint(message: bytes, blobs: Blobs, operators: Container[str]) -> str | None:
    """Return the checker's complaint about a model, or None.

    Tensors whose values are elsewhere are emptied first: the checker then says nothing of them, only of the
    graph around them.

    Parameters
    ----------
    message
        The model without its large tensors.
    blobs
        The tensors that were left out.
    operators
        The operators of the standard domain that it uses.
    """
    if any(name in operators for name in _EXPERIMENTAL):
        return "onnx.checker: not asked, because the model has experimental operators"
    try:
        onnx.checker.check_model(_without_values(message, blobs))
    except Exception as error:  # noqa: BLE001 - advice that fails is no advice
        text = " ".join(str(error).split()) or type(error).__name__
        return f"onnx.checker: {text[:_SHOWN]}"
    return None


def _without_values(message: bytes, blobs: Blobs) -> bytes | onnx.ModelProto:
    outside, left = b"location" in message, len(blobs.spans)
    if not outside and not left:
        return message
    model = onnx.ModelProto()
    model.ParseFromString(message)
    for tensor in all_tensors(model):
        if blobs.find(tensor.raw_data) is not None:
            left -= 1
        elif tensor.data_location != TensorProto.EXTERNAL:
            continue
        _empty(tensor)
        if left == 0 and not outside:
            break
    return model


def _empty(tensor: TensorProto) -> None:
    for name in _CONTENT:
        tensor.ClearField(name)
    tensor.dims.append(0)
    if tensor.data_type != TensorProto.STRING:
        tensor.raw_data = b""
