"""What a file is that is no ONNX model, in words that help."""

from __future__ import annotations

import re
from pathlib import Path

from filterdb.errors import NotAModelError
from filterdb.onnxgraph.wire import Blobs, NestingError, TruncatedError, WireError, slim

_HEAD = 4096
_EXPORT = "export the model to ONNX with the tool that wrote it"
_LFS = "git lfs pull"
_DOWNLOAD = "download the file itself; an error or login page was saved in its place"
# First match wins; each is looked for at the start of the file, after white space where it is text.
_KINDS: tuple[tuple[re.Pattern[bytes], str, str | None], ...] = (
    (re.compile(rb"(?s).{8}\{\""), "a safetensors file", _EXPORT),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the model it points to", _LFS),
    (re.compile(rb"\s*<(!doctype|html|head|body)", re.I), "an HTML page", _DOWNLOAD),
    (re.compile(rb"\s*<[?!a-zA-Z]"), "an XML document", None),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive, as PyTorch and Keras save models", _EXPORT),
    (re.compile(rb"\x1f\x8b|\xfd7zXZ|BZh|\x28\xb5\x2f\xfd|7z\xbc\xaf"), "a compressed file", "unpack it"),
    (re.compile(rb"\x89HDF\r\n"), "an HDF5 file, as Keras saves models", _EXPORT),
    (re.compile(rb"\x93NUMPY"), "a NumPy array", None),
    (re.compile(rb"\x80[\x02-\x05]"), "a pickle, as PyTorch saves models", _EXPORT),
    (
        re.compile(rb"(?s).{4}ORTM"),
        "an onnxruntime (ORT format) model",
        "use the .onnx file it was made from",
    ),
    (re.compile(rb"(?s).{4}TFL3"), "a TensorFlow Lite model", "convert it with tf2onnx"),
    (re.compile(rb"\s*[{\[]"), "a JSON document", None),
    (
        # A comment ends with its line alone: many "# " in one line must not be tried in every way.
        re.compile(rb"\s*(?:#[^\n]*\n\s*)*[a-z_]+\s*[:{<]"),
        "text, perhaps a model in protobuf's text format",
        "onnx.save(onnx.load(path, format='textproto'), 'model.onnx')",
    ),
)


def diagnose(
    data: memoryview, path: Path, *, parsed: bool = False, problem: str | None = None
) -> NotAModelError:
    """Return the error that says what a file is.

    Parameters
    ----------
    data
        The whole file.
    path
        Where it is.
    parsed
        It is a protobuf message, but one without a graph.
    problem
        What was seen already.
    """
    head = bytes(data[:_HEAD])
    for pattern, what, hint in _KINDS:
        if pattern.match(head):
            return NotAModelError(f"this is {what}", where=path, expected="an ONNX model", hint=hint)
    if parsed:
        what = "the file parses, but holds no graph"
    else:
        what = _damage(data) or f"the file is no protobuf message ({problem or 'it does not parse'})"
    return NotAModelError(
        what, where=path, expected="an ONNX model", hint="compare its size and hash with the original"
    )


def _damage(data: memoryview) -> str | None:
    # Looks into small messages too: protobuf itself says only that something is wrong.
    try:
        slim(data, Blobs(), large=0)
    except NestingError as error:
        return str(error)
    except TruncatedError as error:
        if data[0] == 0x08:
            return f"the file is cut off or damaged: {error}"
        return f"the file is cut off, or no protobuf message at all: {error}"
    except WireError:
        return None
    return None
