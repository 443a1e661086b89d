"""What every function that draws returns: the figure, the numbers behind it, and what it shows in words."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from filterdb.errors import printable
from filterdb.figures.style import styled

Kind = Literal["png", "svg", "pdf"]
KINDS: Final[tuple[Kind, ...]] = ("png", "svg")
"""What every figure of a results folder is written as."""

SCREEN_DPI: Final = 120
"""Pixels an inch where a notebook shows a figure: small type can be read, and files stay small."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Drawing:
    """A figure with its numbers; a notebook shows the figure.

    Parameters
    ----------
    figure
        The figure, in its printed size.
    data
        The numbers behind it, in long form.
    caption
        What it shows, how large the sample is and what the marks mean: one paragraph, for a caption or for
        readers who cannot see the figure.
    """

    figure: Figure
    data: pd.DataFrame
    caption: str

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        size = f"{width:.1f} x {height:.1f} inches, {len(self.data):,} rows of data"
        return printable(f"<Drawing, {size}: {self.caption}>")

    def _repr_png_(self) -> bytes:
        # In 256 colours, which eyes do not tell from all, a notebook stays a quarter as large.
        with Image.open(io.BytesIO(self.render("png", dpi=SCREEN_DPI))) as image:
            small = image.convert("RGB").quantize(
                256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
            )
        buffer = io.BytesIO()
        small.save(buffer, "png", optimize=True)
        return buffer.getvalue()

    def render(self, kind: Kind, *, dpi: int = 300) -> bytes:
        """Return the figure as a file's content: the same bytes for the same figure, without a date.

        Parameters
        ----------
        kind
            ``png``, or ``svg`` or ``pdf``, in which text is text.
        dpi
            Pixels an inch.
        """
        metadata: dict[str, str | None] = {"Software": None}
        if kind == "pdf":
            metadata = {"CreationDate": None, "Creator": None, "Producer": None, "Subject": self.caption}
        if kind == "svg":
            metadata = {"Date": None, "Creator": None, "Description": self.caption}
        buffer = io.BytesIO()
        with styled(), self._at(dpi):
            # Not by savefig, which lays a figure out once more: everything is in its place.
            if kind == "svg":
                FigureCanvasSVG(self.figure).print_svg(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
            elif kind == "pdf":
                FigureCanvasPdf(self.figure).print_pdf(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
            else:
                FigureCanvasAgg(self.figure).print_png(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
        return buffer.getvalue()

    @contextlib.contextmanager
    def _at(self, dpi: int) -> Iterator[None]:
        """Give the figure a resolution; canvas and resolution that it had come back."""
        figure = self.figure
        canvas, before = figure.canvas, figure.dpi
        try:
            figure.dpi = dpi
            yield
        finally:
            figure.dpi = before
            figure.set_canvas(canvas)

    def csv(self) -> bytes:
        """Return the numbers as the content of a CSV file."""
        return self.data.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
