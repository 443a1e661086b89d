"""Convolution weights of all but ONNX files: PyTorch modules, state dicts, safetensors, NumPy files, arrays.

Nothing here imports PyTorch, and nothing that is read can run code.
"""

from __future__ import annotations

from filterdb.weights.entries import Entry, Found, reason_of
from filterdb.weights.files import is_onnx, of_file
from filterdb.weights.mappings import of_mapping
from filterdb.weights.modules import ModuleLike, of_module
from filterdb.weights.tensors import TensorLike, of_tensor

__all__ = [
    "Entry",
    "Found",
    "ModuleLike",
    "TensorLike",
    "is_onnx",
    "of_file",
    "of_mapping",
    "of_module",
    "of_tensor",
    "reason_of",
]
