"""An ONNX file in, plain layers out: the only home of ``onnx`` in the package.

Loading this package costs nothing: ``onnx`` itself is loaded when a model is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from filterdb.onnxgraph.limits import EXTRACTOR_VERSION, Limits

if TYPE_CHECKING:
    from filterdb.onnxgraph.model import OpenModel, open_model, read_layers, read_model

__all__ = ["EXTRACTOR_VERSION", "Limits", "OpenModel", "open_model", "read_layers", "read_model"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from filterdb.onnxgraph import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
