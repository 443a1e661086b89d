"""What a notebook shows of an object; everything that a file's author may have written is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping

import pandas as pd

from filterdb.errors import printable

_GROUPS = 30
"""A larger matrix is cut in its middle, as pandas cuts it."""


def card(title: str, facts: Mapping[str, str]) -> str:
    """Return a title with a small table of facts.

    Parameters
    ----------
    title
        The title.
    facts
        Name and value of each fact.
    """
    rows = "".join(
        f"<tr><th>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in facts.items()
    )
    return f"<div><strong>{escaped(title)}</strong><table>{rows}</table></div>"


def table(title: str, frame: pd.DataFrame) -> str:
    """Return a title with a table of numbers.

    Parameters
    ----------
    title
        The title.
    frame
        The table.
    """
    body = frame.to_html(
        escape=True, border=0, float_format="{:.3f}".format, max_rows=_GROUPS, max_cols=_GROUPS
    )
    return f"<div><strong>{escaped(title)}</strong>{body}</div>"


def escaped(text: str) -> str:
    """Return text that is no markup, whatever it says.

    Parameters
    ----------
    text
        The text.
    """
    return html.escape(printable(text))
