"""Tables and figures in, one HTML page out that a person reads; nothing here reads a file of data."""

from __future__ import annotations

from filterdb.report.blocks import Page
from filterdb.report.compose import Material, compose
from filterdb.report.notable import Notable, notable
from filterdb.report.probed import Probed
from filterdb.report.render import inputs_of, is_ours, render

__all__ = [
    "Material",
    "Notable",
    "Page",
    "Probed",
    "compose",
    "inputs_of",
    "is_ours",
    "notable",
    "render",
]
