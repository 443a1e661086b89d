"""A model as its convolutions run fastest on this processor, whatever layers are looked at.

onnxruntime can keep activations in blocks of channels ("NCHWc"), which its convolutions run far faster on. As
it does so, it fuses nodes whose results nobody else wants, and a fused sum has other last bits: values would
depend on which layers are given out. So it is handed a copy of the model that gives out every layer. Then it
has nothing to fuse, and the graph that it makes depends on the model alone. That graph is what every session
runs, as it stands; the choice of layers only decides which results are copied back out of their blocks.
"""

from __future__ import annotations

from typing import Final

from filterdb.errors import ModelError
from filterdb.onnxgraph.blocked import LaidOut, open_laid_out
from filterdb.onnxgraph.probing import InnerModel
from filterdb.probe.runtime import CAN_REWRITE, rewritten

_MOST_BYTES: Final = 1 << 30


def laid_out(model: InnerModel) -> LaidOut | None:
    """Return a model in onnxruntime's own layout; nothing where that does not apply to it.

    Parameters
    ----------
    model
        The model.
    """
    if not CAN_REWRITE or all(layer.op_type != "Conv" for layer in model.layers):
        return None
    try:
        content = rewritten(model, [layer.tensor for layer in model.layers if layer.tensor])
    except ModelError:
        # What onnxruntime cannot rewrite it may still run as it is written.
        return None
    return open_laid_out(content, model.outputs) if 0 < len(content) <= _MOST_BYTES else None
