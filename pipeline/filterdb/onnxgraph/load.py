"""A file in, a parsed model out, with its large tensors left where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from filterdb.errors import NotAModelError, UnsafeModelError
from filterdb.onnxgraph.diagnose import diagnose
from filterdb.onnxgraph.files import ExternalFiles, MappedFile, open_file
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.tensors import TensorReader
from filterdb.onnxgraph.wire import Blobs, NestingError, TruncatedError, WireError, slim

_PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A parsed model and where its weights are.

    Parameters
    ----------
    file
        The model file.
    model
        Its message; large tensors hold tokens instead of bytes.
    message
        The serialized form of `model`.
    tensors
        Reads the tensors of `model`.
    """

    file: MappedFile
    model: onnx.ModelProto
    message: bytes
    tensors: TensorReader


def load(path: Path, *, root: Path | None, limits: Limits) -> Loaded:
    """Map and parse a model file.

    Raises
    ------
    NotAModelError
        If the file is something else; the message says what.
    """
    if path.suffix.lower() in _PICKLES:
        raise NotAModelError(
            "this is a pickle, which may run code when it is read",
            where=path,
            expected="an ONNX model",
            hint="export it with torch.onnx.export",
        )
    file = open_file(path, limit=limits.file_bytes)
    blobs = Blobs()
    message = _message(file, path, blobs, limits)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(message)
    except DecodeError as error:
        raise diagnose(file.view, path) from error
    if not model.HasField("graph"):
        raise diagnose(file.view, path, parsed=True)
    external = ExternalFiles(path.parent if root is None else root)
    return Loaded(file, model, message, TensorReader(file, blobs, external, limits.constant_bytes))


def _message(file: MappedFile, path: Path, blobs: Blobs, limits: Limits) -> bytes:
    try:
        message = slim(file.view, blobs)
    except (TruncatedError, NestingError) as error:
        raise diagnose(file.view, path, problem=str(error)) from error
    except WireError as error:
        # Protobuf may still know what to do with it; if not, it will say so.
        if file.size > limits.message_bytes:
            raise diagnose(file.view, path, problem=str(error)) from error
        message = bytes(file.view)
    if len(message) > limits.message_bytes:
        raise UnsafeModelError(
            f"the model holds {len(message)} bytes beside its weights",
            where=path,
            expected=f"at most {limits.message_bytes}",
        )
    return message
