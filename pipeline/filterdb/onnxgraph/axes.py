"""Where the results of nodes have their channels, as far as the graph says so.

A convolution puts channels behind the rows, a product with a stored matrix puts features last. What follows
is told node by node, also through transpositions and changes of shape that keep channels together; what
comes before a node that says how it reads its input is told by that node. All else is unknown, and is not
guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from onnx import TensorProto

from filterdb.errors import WeightError
from filterdb.onnxgraph.convolutions import classify
from filterdb.onnxgraph.graph import Node, Value
from filterdb.onnxgraph.tensors import TensorReader, shape_of

Axes: TypeAlias = Literal["channels_first", "channels_last", "time_major", "recurrent", "unknown"]
"""Where an activation has its channels: behind the rows, last, last with the rows not first, as a recurrent
layer has them, or nobody knows."""

_CHANNELS_LAST: Final = frozenset({"NhwcConv", "NhwcFusedConv", "NhwcMaxPool"})
RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
"""Recurrent layers."""

PRODUCTS: Final = {
    "MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3, "FusedGemm": 1,
    "FusedMatMul": 1, "MatMulNBits": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1,
}  # fmt: skip
"""Products with a matrix, and where it stands among their inputs."""

_LAST: Final = frozenset(
    {"Attention", "MultiHeadAttention", "GroupQueryAttention", "EmbedLayerNormalization", "Flatten"}
)
_NORMALIZED_LAST: Final = frozenset(
    {"LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"}
)
# What leaves the order of axes as it is: its result is laid out as its first input that is known.
_KEEPS_WIDTH: Final = _NORMALIZED_LAST | {
    "Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Pow", "Sqrt", "Neg", "Abs", "Erf", "Exp",
    "Log", "Reciprocal", "Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Not", "And", "Or", "Equal",
    "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "IsNaN", "IsInf", "Identity", "Cast", "Dropout",
    "QuantizeLinear", "DequantizeLinear", "Quant", "MaxPool", "AveragePool", "GlobalAveragePool",
    "GlobalMaxPool", "LpPool", "Upsample", "Resize", "QLinearAdd", "QLinearMul", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "Where", "InstanceNormalization", "GroupNormalization", "LRN",
    "LpNormalization", "Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Sigmoid",
    "HardSigmoid", "Tanh", "Softplus", "Softsign", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "HardSwish",
    "Mish", "Swish", "Clip", "Softmax", "LogSoftmax", "Hardmax", "QLinearSigmoid", "QLinearLeakyRelu",
}  # fmt: skip
_KEEPS: Final = _KEEPS_WIDTH | {
    "Concat", "QLinearConcat", "Pad", "DepthToSpace", "SpaceToDepth", "Slice", "Split", "Tile", "Expand",
}  # fmt: skip
_REDUCTIONS: Final = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2", "ReduceL1"})
_READS_FIRST: Final = frozenset(
    {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "BatchNormalization", "FusedConv"}
)
_STEPS: Final = 8
_FEW: Final = 64


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a result has its channels, how many there are, and what it was before they were taken apart."""

    axes: Axes
    width: int | None = None
    before: _Place | None = None

    @property
    def known(self) -> bool:
        return self.axes != "unknown"


_UNKNOWN: Final = _Place("unknown")


def axes_of(nodes: Sequence[Node], tensors: TensorReader) -> Mapping[Value, Axes]:
    """Return where each result has its channels.

    Parameters
    ----------
    nodes
        The nodes, in an order of execution.
    tensors
        Reads the shapes that nodes are told.
    """
    reader = _Reader(tensors)
    for node in nodes:
        place = reader.place(node)
        for value in node.outputs:
            if value is not None:
                reader.places[value] = place
    for node in reversed(nodes):
        for value in node.outputs:
            if value is not None and not reader.places[value].known:
                reader.places[value] = reader.as_read(value)
    return {value: place.axes for value, place in reader.places.items()}


class _Reader:
    def __init__(self, tensors: TensorReader) -> None:
        self._tensors = tensors
        self.places: dict[Value, _Place] = {}

    def place(self, node: Node) -> _Place:
        """Say where a node's result has its channels, given its inputs."""
        if node.op in _CHANNELS_LAST:
            return _Place("channels_last")
        if classify(node) is not None:
            shape = self._shape(_at(node, 1)) if node.op == "Conv" else ()
            return _Place("channels_first", shape[0] if shape else None)
        if node.op in RECURRENT:
            return _Place("recurrent")
        if node.op in PRODUCTS:
            return self._product(node)
        if node.op == "Gather":
            return self._gathered(node)
        if node.op == "BatchNormalization":
            return replace(self._first(node), axes="channels_first", before=None)
        if node.op in _KEEPS:
            return self._kept(node)
        if node.op in _LAST:
            return _Place("channels_last")
        change = {"Transpose": self._transposed, "Reshape": self._reshaped}.get(node.op)
        if change is not None:
            return change(node)
        return self._fewer_axes(node) if node.op in _REDUCTIONS | {"Squeeze", "Unsqueeze"} else _UNKNOWN

    def as_read(self, value: Value) -> _Place:
        """Say where an unknown result has its channels, given the nodes that read it."""
        for node in value.users:
            if node.op in _READS_FIRST and _at(node, 0) is value:
                return _Place("channels_first")
            matrix = _at(node, 1)
            if node.op == "MatMul" and _at(node, 0) is value and matrix is not None and matrix.constant:
                return _Place("channels_last")
            if node.op in _KEEPS_WIDTH:
                found = next((self.places[v] for v in node.outputs if v in self.places), _UNKNOWN)
                if found.known:
                    return found
        return _UNKNOWN

    def _product(self, node: Node) -> _Place:
        left, right = _at(node, 0), _at(node, PRODUCTS[node.op])
        if node.op in ("MatMul", "FusedMatMul", "MatMulInteger") and left is not None and left.constant:
            shape = self._shape(left)
            return _Place("channels_first", shape[-2] if len(shape) > 1 else None)
        if right is None or not right.constant:
            return _Place("channels_last") if node.op in ("Gemm", "FusedGemm") else _UNKNOWN
        shape = self._shape(right) if node.op == "MatMul" else ()
        before = self._first(node)
        rows_last = before.axes == "time_major"
        return _Place("time_major" if rows_last else "channels_last", shape[-1] if len(shape) == 2 else None)

    def _gathered(self, node: Node) -> _Place:
        table = _at(node, 0)
        if table is None or not table.constant or node.number("axis", 0):
            return _UNKNOWN
        shape = self._shape(table)
        return _Place("channels_last", shape[-1] if shape else None)

    def _kept(self, node: Node) -> _Place:
        found = self._first(node)
        if not found.known and found.before is None and node.op in _NORMALIZED_LAST:
            return _Place("channels_last")
        return found if node.op in _KEEPS_WIDTH else replace(found, width=None, before=None)

    def _first(self, node: Node) -> _Place:
        places = [self.places[v] for v in node.inputs if v is not None and v in self.places]
        known = next((place for place in places if place.known), None)
        return known or next((place for place in places if place.before), _UNKNOWN)

    def _transposed(self, node: Node) -> _Place:
        order, place = node.numbers("perm"), self._first(node)
        if not order or sorted(order) != list(range(len(order))):
            return _UNKNOWN
        last = len(order) - 1
        if place.axes in ("channels_last", "time_major"):
            if order[-1] == last:
                return place if order[0] == 0 else replace(place, axes="time_major")
            beside = place.axes == "channels_last" and order[0] == 0 and order.index(last) == 1
            return replace(place, axes="channels_first") if beside else _UNKNOWN
        if place.axes == "channels_first":
            if order[-1] == 1:
                return replace(place, axes="channels_last" if order[0] == 0 else "time_major")
            return place if order[:2] == (0, 1) else _UNKNOWN
        # Groups of channels that change places, while rows and places of the image stay.
        stay = place.before is not None and order[0] == 0 and order[-2:] == (last - 1, last)
        return place if stay and last > 2 else _UNKNOWN

    def _reshaped(self, node: Node) -> _Place:
        shape = _at(node, 1)
        if shape is not None and shape.node is not None and shape.node.op == "Shape":
            like = _at(shape.node, 0)
            return self.places.get(like, _UNKNOWN) if like is not None else _UNKNOWN
        own = self._first(node)
        place = own if own.known else own.before
        sizes = self._sizes(shape) or node.numbers("shape")
        if place is None or place.width is None or not sizes:
            return _UNKNOWN
        if place.axes == "channels_first" and len(sizes) > 1 and sizes[1] == place.width:
            return place
        if place.axes in ("channels_last", "time_major") and sizes[-1] == place.width:
            return place
        return _Place("unknown", before=place) if place.axes == "channels_first" else _UNKNOWN

    def _fewer_axes(self, node: Node) -> _Place:
        """Follow channels where other axes are added, left out or summed up."""
        place = self._first(node)
        axes = set(node.numbers("axes") or self._sizes(_at(node, 1)))
        reduced = node.op in _REDUCTIONS
        if place.axes == "recurrent" and node.op == "Squeeze":
            return _Place("time_major")
        if not axes or None in axes:
            return _UNKNOWN
        if place.axes == "channels_first":
            # Axes are behind the channels; from the end, that is sure of the last one and of an image's two.
            behind = all(axis is not None and (axis >= 2 or axis == -1) for axis in axes)
            return place if behind or (reduced and axes == {-1, -2}) else _UNKNOWN
        between = reduced and axes in ({1}, {1, 2})
        return place if place.axes == "channels_last" and between else _UNKNOWN

    def _shape(self, value: Value | None) -> tuple[int, ...]:
        """Return the shape of a stored tensor, also where it is turned or scaled before it is used."""
        turned: list[tuple[int, ...]] = []
        for _ in range(_STEPS):
            if value is None or value.node is None:
                break
            if value.node.op == "Transpose":
                turned.append(value.node.numbers("perm"))
            elif value.node.op not in ("DequantizeLinear", "Identity", "Cast"):
                break
            value = _at(value.node, 0)
        tensor = _tensor(value)
        try:
            shape = () if tensor is None else shape_of(tensor)
        except WeightError:
            return ()
        for order in reversed(turned):
            order = order or tuple(reversed(range(len(shape))))
            if sorted(order) != list(range(len(shape))):
                return ()
            shape = tuple(shape[axis] for axis in order)
        return shape

    def _sizes(self, value: Value | None) -> tuple[int | None, ...]:
        """Return the numbers of a stored list, or of several put together; None where one is computed."""
        if value is not None and value.node is not None and value.node.op == "Concat":
            parts = [self._sizes(item) or (None,) for item in value.node.inputs[:_FEW]]
            return tuple(size for part in parts for size in part)
        tensor = _tensor(value)
        try:
            if tensor is None or sum(shape_of(tensor)) > _FEW:
                return ()
            return tuple(int(size) for size in self._tensors.array(tensor).reshape(-1))
        except (WeightError, ValueError):
            return ()


def _at(node: Node, place: int) -> Value | None:
    return node.inputs[place] if place < len(node.inputs) else None


def _tensor(value: Value | None) -> TensorProto | None:
    """Return what is stored under a value, or in the node that makes it."""
    if value is None:
        return None
    if value.node is not None and value.node.op == "Constant":
        bound = value.node.attributes().get("value")
        return bound.proto.t if bound is not None and bound.proto.HasField("t") else None
    return value.tensor if isinstance(value.tensor, TensorProto) else None
