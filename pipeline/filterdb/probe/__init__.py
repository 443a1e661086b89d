"""What a model does with data: CKA, saturation and the sparsity score of its layers.

Loading this package costs nothing; onnxruntime is loaded when a model is run. It comes with the extra
``filterdb[probe]``, and this package is its only home.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from filterdb.probe.alpha import SparsityResult, sparsity
    from filterdb.probe.similarity import CKAResult, cka
    from filterdb.probe.variance import SaturationResult, saturation

__all__ = ["CKAResult", "SaturationResult", "SparsityResult", "cka", "saturation", "sparsity"]

_HOMES: Final = {
    "CKAResult": "similarity",
    "SaturationResult": "variance",
    "SparsityResult": "alpha",
    "cka": "similarity",
    "saturation": "variance",
    "sparsity": "alpha",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
