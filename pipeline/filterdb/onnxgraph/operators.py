"""What operators make of constants: which function computes which operator.

What moves values without changing them is in `layout`, arithmetic in `arithmetic`, sums in `reductions`,
quantization in `quantized`. Whatever else the standard has goes to ONNX's own reference evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from filterdb.errors import WeightError
from filterdb.onnxgraph import arithmetic, layout, quantized, reductions
from filterdb.onnxgraph.call import Call
from filterdb.onnxgraph.graph import STANDARD, Node
from filterdb.onnxgraph.reference import by_reference
from filterdb.onnxgraph.tensors import Array, TensorReader

Operator: TypeAlias = Callable[[Call], Sequence[Array]]

_STANDARD: Mapping[str, Operator] = {
    **layout.OPERATORS,
    **arithmetic.OPERATORS,
    **reductions.OPERATORS,
    "DequantizeLinear": quantized.dequantize_linear,
    "QuantizeLinear": quantized.quantize_linear,
}
_MICROSOFT: Mapping[str, Operator] = {
    "DequantizeLinear": quantized.dequantize_linear,
    "QuantizeLinear": quantized.quantize_linear,
}
# QONNX's operators have lived in the domains of several projects.
_QONNX: Mapping[str, Operator] = {
    "Quant": quantized.quant,
    "IntQuant": quantized.quant,
    "BipolarQuant": quantized.bipolar_quant,
}


def evaluate(
    node: Node,
    inputs: Sequence[Array | None],
    tensors: TensorReader,
    limit: int,
    pay: Callable[[int], None],
) -> Sequence[Array]:
    """Compute a node whose inputs are known.

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

    Raises
    ------
    WeightError
        If it cannot be computed, or would be too large.
    """
    call = Call(node, inputs, tensors, limit, pay)
    with np.errstate(all="ignore"):
        try:
            return _operator(node)(call)
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise WeightError(f"{call.name} cannot be computed: {error}") from error


def _operator(node: Node) -> Operator:
    if node.domain == STANDARD:
        return _STANDARD.get(node.op, by_reference)
    operator = _MICROSOFT.get(node.op) if node.domain == "com.microsoft" else _QONNX.get(node.op)
    if operator is None:
        raise WeightError(f"the weight is computed by {node.domain}::{node.op}, which is not known here")
    return operator
