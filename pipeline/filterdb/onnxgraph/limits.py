"""What a model may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

EXTRACTOR_VERSION = 1
"""Changes whenever the same bytes would give other records."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hostile files meet and honest ones do not.

    Parameters
    ----------
    file_bytes
        Largest model file, weights inside included.
    message_bytes
        Largest protobuf message to parse, weights left out.
    nodes
        Most nodes, with function bodies counted once per call.
    names
        Most names of values, attributes and bodies that the nodes bring along, counted as often as they.
    nesting
        Deepest nesting of bodies and function calls.
    constant_bytes
        Largest constant that folding may make, and the largest weight.
    fold_bytes
        Most bytes that the folding of one weight may produce in all its steps.
    model_bytes
        Most bytes that the folding of all weights together may produce.
    check_bytes
        Largest message that the ONNX checker is asked about.
    """

    file_bytes: int = 1 << 37
    message_bytes: int = 1 << 30
    nodes: int = 500_000
    names: int = 1 << 23
    nesting: int = 64
    constant_bytes: int = 1 << 31
    fold_bytes: int = 1 << 34
    model_bytes: int = 1 << 36
    check_bytes: int = 1 << 23
