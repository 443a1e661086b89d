"""Whether a graph treats every row of its data by itself, so that rows may go through it in any parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

_DOMAINS: Final = frozenset({"", "com.microsoft.nchwc"})
# Of their first input each row becomes a row, if the others are the same for all.
_EACH: Final = frozenset(
    {
        "Abs", "AveragePool", "Cast", "Ceil", "Celu", "Clip", "Conv", "ConvTranspose", "Elu", "Erf", "Exp",
        "Floor", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "HardSigmoid",
        "HardSwish", "Identity", "InstanceNormalization", "LRN", "LeakyRelu", "Log", "MaxPool", "Mish", "Neg",
        "Reciprocal", "Relu", "ReorderInput", "ReorderOutput", "Selu", "Sigmoid", "Softplus", "Softsign",
        "Sqrt", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
_ELEMENTWISE: Final = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum"})
_REDUCED: Final = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
_WHOLE: Final = 64
"""Most numbers of a constant that says sizes or axes."""


def by_row(graph: GraphProto) -> bool:
    """Tell whether every result of a graph has, row by row, what comes of that row of its one input.

    Where that is not certain, the answer is no.

    Parameters
    ----------
    graph
        The graph, with its constants folded.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in stored]
    if len(inputs) != 1 or not inputs[0].type.HasField("tensor_type"):
        return False
    shape = inputs[0].type.tensor_type.shape.dim
    if len(shape) < 2 or shape[0].HasField("dim_value"):
        return False
    ranks = {inputs[0].name: len(shape)}
    known = {"", inputs[0].name, *stored}
    for node in graph.node:
        bodies = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if bodies or not known.issuperset(node.input):
            return False
        known.update(node.output)
        if not any(name in ranks for name in node.input):
            continue
        rank = _Rule(node, ranks, stored).rank()
        if rank is None or len([name for name in node.output if name]) != 1:
            return False
        ranks[node.output[0]] = rank
    return all(info.name in ranks for info in graph.output)


class _Rule:
    """How many axes the result of a node has that is made row by row; None where it may not be."""

    def __init__(self, node: NodeProto, ranks: Mapping[str, int], stored: Mapping[str, TensorProto]) -> None:
        self._node, self._ranks, self._stored = node, ranks, stored
        self._of = [ranks.get(name) for name in node.input]
        self._attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}

    def rank(self) -> int | None:
        op = self._node.op_type
        if self._node.domain not in _DOMAINS:
            return None
        if op in _ELEMENTWISE:
            return self._together()
        if op == "Concat":
            return self._joined()
        rank = self._of[0]
        if rank is None or any(other is not None for other in self._of[1:]):
            return None
        if op in _EACH:
            return rank
        if op in _REDUCED:
            return self._reduced(rank)
        special = _SPECIAL.get(op)
        return None if special is None else special(self, rank)

    def _together(self) -> int | None:
        """Row tensors of as many axes, and constants that are the same for all rows."""
        ranks = {rank for rank in self._of if rank is not None}
        if len(ranks) != 1:
            return None
        rank = ranks.pop()
        for name, own in zip(self._node.input, self._of, strict=True):
            if own is None:
                dims = self._stored[name].dims if name in self._stored else None
                if dims is None or len(dims) > rank or (len(dims) == rank and dims[0] != 1):
                    return None
        return rank

    def _joined(self) -> int | None:
        rank = self._of[0]
        if rank is None or set(self._of) != {rank} or self._attributes["axis"] % rank == 0:
            return None
        return rank

    def _reduced(self, rank: int) -> int | None:
        axes = self._attributes.get("axes", self._constant(1))
        if axes is None or len(axes) == 0 or any(axis % rank == 0 for axis in axes):
            return None
        return rank if self._attributes.get("keepdims", 1) else rank - len(axes)

    def _constant(self, place: int) -> NDArray[Any] | None:
        """Return a small constant that a node is given; None where there is none."""
        name = self._node.input[place] if place < len(self._node.input) else ""
        found = self._stored.get(name)
        if found is None or found.data_location == TensorProto.EXTERNAL or np.prod(found.dims) > _WHOLE:
            return None
        return np.asarray(numpy_helper.to_array(found)).reshape(-1)

    def _normalized(self, rank: int) -> int | None:
        return None if self._attributes.get("training_mode", 0) else rank

    def _kept(self, rank: int) -> int | None:
        return rank if len(self._of) == 1 else None

    def _along(self, rank: int) -> int | None:
        return rank if self._attributes.get("axis", -1) % rank else None

    def _flat(self, rank: int) -> int | None:
        return 2 if self._attributes.get("axis", 1) % rank == 1 else None

    def _turned(self, rank: int) -> int | None:
        return rank if next(iter(self._attributes.get("perm", ())), -1) == 0 else None

    def _dense(self, rank: int) -> int | None:
        shared = len(self._node.input) < 3 or self._is_shared(self._node.input[2])
        return 2 if rank == 2 and shared and not self._attributes.get("transA", 0) else None

    def _is_shared(self, name: str) -> bool:
        """Tell whether a term of a dense layer is the same for all rows."""
        dims = self._stored[name].dims if name in self._stored else None
        return not name or (dims is not None and (len(dims) < 2 or dims[0] == 1))

    def _multiplied(self, rank: int) -> int | None:
        name = self._node.input[1]
        return rank if rank > 1 and name in self._stored and len(self._stored[name].dims) == 2 else None

    def _reshaped(self, _rank: int) -> int | None:
        sizes = self._constant(1)
        if sizes is None or not len(sizes) or sizes[0] != 0 or self._attributes.get("allowzero", 0):
            return None
        return len(sizes)

    def _padded(self, rank: int) -> int | None:
        pads = self._attributes.get("pads", self._constant(1))
        around = len(self._node.input) < 4 or not self._node.input[3]
        if pads is None or len(pads) != 2 * rank or not around or pads[0] or pads[rank]:
            return None
        return rank

    def _sliced(self, rank: int) -> int | None:
        axes = self._attributes.get("axes", self._constant(3))
        return None if axes is None or any(axis % rank == 0 for axis in axes) else rank

    def _scaled(self, rank: int) -> int | None:
        if self._attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
            return None
        scales = self._attributes.get("scales", self._constant(len(self._node.input) - 1))
        if scales is None or len(scales) != rank or len(self._node.input) > 3:
            return None
        return rank if scales[0] == 1 else None


_SPECIAL: Final[Mapping[str, Callable[[_Rule, int], int | None]]] = {
    "BatchNormalization": _Rule._normalized,
    "Dropout": _Rule._kept,
    "Flatten": _Rule._flat,
    "Gemm": _Rule._dense,
    "LayerNormalization": _Rule._along,
    "LogSoftmax": _Rule._along,
    "MatMul": _Rule._multiplied,
    "Pad": _Rule._padded,
    "Reshape": _Rule._reshaped,
    "Resize": _Rule._scaled,
    "Slice": _Rule._sliced,
    "Softmax": _Rule._along,
    "Transpose": _Rule._turned,
    "Upsample": _Rule._scaled,
}
