"""Which operators are convolutions, and how each keeps its weight."""

from __future__ import annotations

import re
from dataclasses import dataclass

from filterdb.onnxgraph.graph import STANDARD, Node

MICROSOFT = "com.microsoft"
_BLOCKED = "com.microsoft.nchwc"
_TRANSPOSED = re.compile(r"Conv\w*Transpose|Deconv")
_LIKE_CONV = re.compile(r"Conv(?!ert)")
# No operator has a longer name, and a search for "Conv...Transpose" takes the square of what it looks at.
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Convolution:
    """How an operator is read.

    Parameters
    ----------
    weight
        Which input is the weight.
    scale, zero
        Which inputs are the weight's scale and zero point, where it is quantized by the node itself.
    channels_last
        The weight is stored as out x height x width x in.
    refused
        Why an operator is counted, but not extracted.
    planar
        It may be a 2-D convolution, and then counts for ``conv_depth``.
    """

    weight: int = 1
    scale: int | None = None
    zero: int | None = None
    channels_last: bool = False
    refused: str | None = None
    planar: bool = True


_CONV = Convolution()
# onnxruntime's documentation repeats Conv's text for NhwcConv, but its kernels and every converter to it
# keep the weight as out x height x width x in. NhwcFusedConv and com.ms.internal.nhwc change only the data.
_KINDS = {
    "Conv": _CONV,
    "FusedConv": _CONV,
    "NhwcFusedConv": _CONV,
    "NhwcConv": Convolution(channels_last=True),
    "ConvInteger": Convolution(zero=3),
    "QLinearConv": Convolution(weight=3, scale=4, zero=5),
}
_BLOCKED_CONV = Convolution(
    refused="the weight is in the blocked layout of one processor (com.microsoft.nchwc); use the model from"
    " before onnxruntime optimized it"
)


def classify(node: Node) -> Convolution | None:
    """Return how to read a node, or None where it is no convolution."""
    if node.called or "onv" not in node.op:
        return None
    if node.domain == _BLOCKED and node.op == "Conv":
        return _BLOCKED_CONV
    kind = _KINDS.get(node.op)
    if kind is not None:
        return kind
    if _TRANSPOSED.search(node.op[:_LONGEST]):
        return Convolution(refused="a transposed convolution", planar=False)
    if node.op.startswith("DeformConv"):
        return Convolution(refused="a deformable convolution", planar=False)
    if _LIKE_CONV.search(node.op):
        name = node.op if node.domain == STANDARD else f"{node.domain}::{node.op}"
        return Convolution(refused=f"{name} is not known to be a plain convolution", planar=False)
    return None
