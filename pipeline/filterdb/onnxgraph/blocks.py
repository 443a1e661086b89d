"""Where the block of a layer ends: after the normalization and the activation that follow it.

An operator may be written as several nodes: SiLU as a product with a sigmoid, GELU around an error function,
group normalization between two changes of shape, layer normalization as means and roots. They are told by
what they are made of: nodes that compute each value by itself or a mean, begin with one value that nobody
else uses, and come together in one value again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from filterdb.onnxgraph.graph import Node, Value

NORM: Final = frozenset(
    {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "LRN",
     "LpNormalization", "RMSNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization"}
)  # fmt: skip
"""Normalizations."""

ACTIVATION: Final = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "Tanh",
     "Softplus", "Softsign", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "HardSwish", "Mish", "Swish",
     "Clip", "Softmax", "LogSoftmax", "Hardmax", "QLinearSigmoid", "QLinearLeakyRelu"}
)  # fmt: skip
"""Activation functions."""

_PARTS: Final = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Min", "Max", "Sqrt", "Reciprocal", "Exp", "Log", "Erf",
     "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Clip", "Relu", "Cast", "Identity", "ReduceMean", "Where",
     "Greater", "Less"}
)  # fmt: skip
_BENDS: Final = frozenset(
    {"Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Erf", "Exp", "Clip", "Relu", "Min", "Max", "Where"}
)
_SCALED: Final = frozenset({"Erf", "Tanh", "Clip", "Relu"})
_ROOTS: Final = frozenset({"Sqrt", "Pow"})
_SUMS: Final = frozenset({"Add", "Sub"})
_AFFINE: Final = frozenset({"Mul", "Add"})
_FACTOR: Final = frozenset({"Mul", "Div"})
_SHAPE: Final = frozenset({"Reshape"})
_SHAPES: Final = frozenset({"Flatten", "Reshape", "Squeeze", "Identity"})
_LONGEST: Final = 16
_MOST_USERS: Final = 64


@dataclass(frozen=True, slots=True)
class Written:
    """A normalization or an activation that is written as several nodes.

    Parameters
    ----------
    kind
        Which of the two.
    end
        Its result.
    nodes
        The nodes, without those that only scale the result.
    """

    kind: Literal["norm", "activation"]
    end: Value
    nodes: frozenset[Node]


def end_of_block(value: Value) -> Value:
    """Return the value at the end of a block: after a bias, a normalization and an activation.

    Parameters
    ----------
    value
        The result of the layer; it is the end where none of these alone follows.
    """
    value = _biased(value)
    for kind, ops in (("norm", NORM), ("activation", ACTIVATION)):
        user, several = _only(value), written_out(value)
        if several is not None and several.kind == kind:
            value = several.end
        elif user is not None and user.op in ops:
            value = _result(user) or value
    return value


def is_final(value: Value) -> bool:
    """Tell whether a value is a result of the model, or nothing but an activation and a shape lie between."""
    values = [value, value := _biased(value)]
    for ops in (ACTIVATION, _SHAPES, ACTIVATION):
        user = _only(value)
        result = None if user is None or user.op not in ops else _result(user)
        if result is not None:
            value = result
            values.append(value)
    return any(item.consumers() is None for item in values)


def written_out(value: Value) -> Written | None:
    """Return the normalization or the activation of several nodes that a value goes into, and nothing else.

    Parameters
    ----------
    value
        A result of a node.
    """
    users = value.consumers()
    if not users or len(users) > _MOST_USERS:
        return None
    return _grouped(users) or (_together(value, users) if len(users) > 1 else None)


def _grouped(users: list[Node]) -> Written | None:
    """Find a normalization between two changes of shape; the shape itself may be asked for, too."""
    first = [user for user in users if user.op != "Shape"]
    apart = _through(first[0], _SHAPE) if len(first) == 1 else None
    norm = None if apart is None else _only(apart)
    inner = None if norm is None else _through(norm, NORM)
    back = None if inner is None else _only(inner)
    result = None if back is None else _through(back, _SHAPE)
    if norm is None or result is None:
        return None
    return Written("norm", _scaled(result, _AFFINE), frozenset({norm}))


def _through(node: Node, ops: frozenset[str]) -> Value | None:
    """Return the result of a node of the main graph, if it is one of these operators."""
    return _result(node) if node.op in ops and not node.frame.level else None


def _together(value: Value, waiting: list[Node]) -> Written | None:
    """Find the first place where all that is computed of a value has come together as something known."""
    nodes: set[Node] = set()
    known = {value}
    for _ in range(_LONGEST):
        ready = [node for node in waiting if node not in nodes and _is_part(node, known)]
        node = min(ready, key=lambda item: item.index, default=None)
        result = None if node is None else _result(node)
        if node is None or result is None or len(waiting) > _MOST_USERS:
            return None
        nodes.add(node)
        if all(_is_done(item, nodes) for item in known):
            ops = frozenset(item.op for item in nodes)
            if "ReduceMean" in ops and ops & _ROOTS:
                return Written("norm", _scaled(result, _AFFINE), frozenset(nodes))
            if "ReduceMean" not in ops and ops & _BENDS:
                if node.op in _SUMS and value in node.inputs:
                    # A shortcut around an activation, which ends no block.
                    return None
                end = _scaled(result, _FACTOR) if ops & _SCALED else result
                return Written("activation", end, frozenset(nodes))
        known.add(result)
        waiting = waiting + (result.consumers() or [])
    return None


def _is_part(node: Node, known: set[Value]) -> bool:
    if node.op not in _PARTS or node.frame.level:
        return False
    return all(value is None or value.constant or value in known for value in node.inputs)


def _is_done(value: Value, nodes: set[Node]) -> bool:
    users = value.consumers()
    return users is not None and all(user in nodes for user in users)


def _biased(value: Value) -> Value:
    """Follow a value to where it has its bias, as exporters write a dense layer."""
    return _scaled(value, frozenset({"Add"}))


def _scaled(value: Value, ops: frozenset[str]) -> Value:
    """Follow a value through operators with a constant, each at most once."""
    left = set(ops)
    while (user := _only(value)) is not None and user.op in left and _with_constant(user):
        result = _result(user)
        if result is None:
            break
        left.discard(user.op)
        value = result
    return value


def _only(value: Value) -> Node | None:
    """Return the node that alone uses a value."""
    users = value.consumers()
    return users[0] if users is not None and len(users) == 1 and not users[0].frame.level else None


def _result(node: Node) -> Value | None:
    return node.outputs[0] if node.outputs else None


def _with_constant(node: Node) -> bool:
    return any(value is not None and value.constant for value in node.inputs)
