"""What every function that draws returns: the figure, the numbers behind it, and what it shows in words."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd
from matplotlib.figure import Figure

from filterdb.figures.style import styled

Kind = Literal["png", "svg"]
KINDS: Final[tuple[Kind, ...]] = ("png", "svg")


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A figure with its numbers.

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

    def render(self, kind: Kind, *, dpi: int = 300) -> bytes:
        """Return the figure as a file's content: the same bytes for the same figure, without a date.

        Parameters
        ----------
        kind
            ``png``, or ``svg``, in which text is text.
        dpi
            Pixels an inch.
        """
        metadata: dict[str, str | None] = {"Software": None}
        if kind == "svg":
            metadata = {"Date": None, "Creator": None, "Description": self.caption}
        buffer = io.BytesIO()
        with styled():
            self.figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
        return buffer.getvalue()

    def csv(self) -> bytes:
        """Return the numbers as the content of a CSV file."""
        return self.data.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace")
