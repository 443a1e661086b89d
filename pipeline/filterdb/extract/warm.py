"""The worker as a child process loads it: with all that it needs, before there is work for it."""

from __future__ import annotations

import filterdb.onnxgraph.model  # noqa: F401 - onnx takes as long to load as a small model to extract
from filterdb.extract.worker import run

__all__ = ["run"]
