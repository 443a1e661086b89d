"""What ONNX's own checker says of a model: advice for a careful reader, never a gate."""

from __future__ import annotations

from collections.abc import Container

import onnx
from onnx import TensorProto

from filterdb.onnxgraph.tensors import all_tensors

_SHOWN = 300
# The checker prints a line of its own about these, into whatever the program writes to standard output.
_EXPERIMENTAL = {
    "ATen", "Affine", "ConstantFill", "Crop", "DynamicSlice", "GRUUnit", "GivenTensorFill", "ImageScaler",
    "ParametricSoftplus", "Scale", "ScaledTanh",
}  # fmt: skip


def complaint(message: bytes, operators: Container[str]) -> str | None:
    """Return the checker's complaint about a serialized model, or None.

    Every tensor is emptied first, because their values are not in the message: the checker then says
    nothing of weights, only of the graph around them.

    Parameters
    ----------
    message
        The model without its large tensors.
    operators
        The operators of the standard domain that it uses.
    """
    if any(name in operators for name in _EXPERIMENTAL):
        return "onnx.checker: not asked, because the model has experimental operators"
    model = onnx.ModelProto()
    model.ParseFromString(message)
    for tensor in all_tensors(model):
        _empty(tensor)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # noqa: BLE001 - advice that fails is no advice
        text = " ".join(str(error).split()) or type(error).__name__
        return f"onnx.checker: {text[:_SHOWN]}"
    return None


def _empty(tensor: TensorProto) -> None:
    kind, name = tensor.data_type, tensor.name
    tensor.Clear()
    tensor.data_type, tensor.name = kind, name
    tensor.dims.append(0)
    if kind != TensorProto.STRING:
        tensor.raw_data = b""
