"""Files that hold weights as plain arrays: safetensors, ``.npy``, ``.npz``; and those that are refused."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from filterdb.errors import ModelError, NotAModelError
from filterdb.weights import arrays, safetensors
from filterdb.weights.entries import Found
from filterdb.weights.mappings import choose

EXPECTED = "an ONNX model, or a .safetensors, .npy or .npz file"

_PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".pt2"}
_READERS = {".safetensors": safetensors.entries, ".npz": arrays.of_npz, ".npy": arrays.of_npy}
# Files of other names are known by how they begin. A ZIP archive is NumPy's or, far more often, PyTorch's.
_HEADS = (
    (re.compile(rb"(?s).{8}\{\s*\""), ".safetensors"),
    (re.compile(rb"\x93NUMPY"), ".npy"),
    (re.compile(rb"PK\x03\x04|\x80[\x02-\x05]"), ".pt"),
    (re.compile(rb"\x89HDF\r\n"), ".h5"),
)


def is_onnx(path: Path) -> bool:
    """Tell whether a file is one for the ONNX reader, which also says best what else it may be."""
    return _kind(path) not in {*_READERS, *_PICKLES, ".h5"}


def of_file(path: Path) -> Found:
    """Find the convolution weights in a file of arrays.

    Raises
    ------
    ModelError
        If it is none, is damaged, may not be read, or is a pickle, which could run code.
    """
    kind = _kind(path)
    if kind in _PICKLES:
        raise NotAModelError(
            "this is a pickle, which may run code when it is read",
            where=path,
            expected=EXPECTED,
            hint="if you trust it: filterdb.measure_quality(torch.load(path, weights_only=True)), "
            "or save it once with safetensors.torch.save_file",
        )
    if kind not in _READERS:
        raise NotAModelError(
            "this is an HDF5 file",
            where=path,
            expected=EXPECTED,
            hint="filterdb analyze, if it is a data set; else export the model to ONNX",
        )
    try:
        found = choose(_READERS[kind](path))
    except OSError as error:
        raise ModelError(f"the file cannot be read: {error.strerror or error}", where=path) from error
    except ModelError as error:
        error.where = error.where or str(path)
        raise
    found.single = kind == ".npy"
    return found


def _kind(path: Path) -> str:
    """Return the suffix that a file has, or should have."""
    suffix = path.suffix.lower()
    try:
        # What is missing, a folder or a pipe is left to the ONNX reader's messages.
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        if suffix in _READERS or suffix in _PICKLES or suffix == ".onnx":
            return suffix
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return ""
    return next((kind for pattern, kind in _HEADS if pattern.match(head)), "")
