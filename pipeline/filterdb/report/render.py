"""A page as one HTML document: nothing is fetched, and every name is text, whatever it says."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from filterdb.errors import printable
from filterdb.report.blocks import Image, Link, Page

GENERATOR: Final = "filterdb report"
_UNSEALED: Final = "0" * 64
_HEAD: Final = 4_096
"""Characters within which the marks of a page stand."""

_INPUTS: Final = re.compile(r'<meta name="filterdb:inputs" content="([0-9a-f]{64})">')
_SEAL: Final = re.compile(r'<meta name="filterdb:seal" content="([0-9a-f]{64})">')
_TEMPLATES: Final = ("page.html.j2", "blocks.html.j2", "style.css", "script.js")


def render(page: Page) -> str:
    """Return a page as HTML: the same characters for the same page.

    Parameters
    ----------
    page
        What is on it.
    """
    script = _asset("script.js")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            generator=GENERATOR,
            seal=_UNSEALED,
            style=Markup(_asset("style.css")),
            script=Markup(script),
            script_hash=allowed,
        )
    )
    # Half a character, which a name may hold, has no bytes.
    html = html.encode("utf-8", "backslashreplace").decode("utf-8")
    return html.replace(_UNSEALED, hashlib.sha256(html.encode()).hexdigest(), 1)


def inputs_of(html: str) -> str | None:
    """Return what a page says it was made from; ``None`` if it is none of ours, or was changed.

    Parameters
    ----------
    html
        A document.
    """
    head = html[:_HEAD]
    stated, seal = _INPUTS.search(head), _SEAL.search(head)
    if not is_ours(html) or stated is None or seal is None:
        return None
    unsealed = html.replace(seal[1], _UNSEALED, 1)
    return stated[1] if hashlib.sha256(unsealed.encode()).hexdigest() == seal[1] else None


def is_ours(html: str) -> bool:
    """Tell whether a document is a page that this module has rendered, changed or not."""
    return f'<meta name="generator" content="{GENERATOR}' in html[:_HEAD]


def _asset(name: str) -> str:
    return resources.files("filterdb.report").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("filterdb.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.tests["image"] = lambda cell: isinstance(cell, Image)
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    environment.filters["safe_markup"] = Markup
    environment.filters["lines"] = _lines
    return environment


def _shown(value: Any) -> Any:
    """Show control characters and marks that turn the direction of text as what they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def _lines(text: str) -> Markup:
    """Return text whose lines stay lines."""
    return Markup("\n").join(printable(line) for line in text.split("\n"))
