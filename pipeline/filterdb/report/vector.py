"""Figures as a part of the page: SVG that follows its colours, or PNG where that is smaller."""

from __future__ import annotations

import base64
import re
from typing import Final
from xml.etree import ElementTree as ET

from filterdb.figures import Drawing, style
from filterdb.report.blocks import Picture

LARGEST_SVG: Final = 150_000
"""Characters from which on a figure is a picture of pixels: that many shapes say no more than they do."""

DPI: Final = 160

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREFS: Final = (f"{{{_XLINK}}}href", "href")
_KEPT: Final = ("chance", "untested")
"""What lies on colours of the data keeps its own."""

_INK: Final = {
    style.INK: "var(--ink)",
    style.MUTED: "var(--muted)",
    style.FAINT: "var(--rule)",
    style.EMPTY: "var(--empty)",
    "#e3eef6": "var(--tint)",
    # The colours of groups that are too dark for a dark page.
    "#0072b2": "var(--blue)",
    "#332288": "var(--indigo)",
    "#882255": "var(--wine)",
}
_PAPER: Final = {"#ffffff": "var(--paper)"}
_DIGITS: Final = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}\b")
_FONT: Final = "'DejaVu Sans', Verdana, sans-serif"
_NUMERIC: Final = ("d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height", "transform")


def picture(drawing: Drawing, id_: str) -> Picture:
    """Return a figure as a part of the page.

    Parameters
    ----------
    drawing
        The figure.
    id_
        Its name within the page.
    """
    caption = drawing.caption
    markup = inline_svg(drawing.render("svg", dpi=100), id_)
    if len(markup) <= LARGEST_SVG:
        return Picture(id_, markup, caption)
    source = base64.b64encode(drawing.render("png", dpi=DPI)).decode("ascii")
    inches = drawing.figure.get_size_inches()
    width, height = (round(float(side) * 96) for side in inches)
    image = (
        f'<img src="data:image/png;base64,{source}" width="{width}" height="{height}" '
        f'alt="" aria-labelledby="{id_}-caption">'
    )
    return Picture(id_, image, caption, paper=True)


def inline_svg(svg: bytes, id_: str) -> str:
    """Return matplotlib's SVG as markup that can stand in a page beside others.

    Names within it are made unique and those that nothing refers to are dropped, colours of ink and paper
    become those of the page, numbers are rounded to what an eye can see, and the file's head is left out.

    Parameters
    ----------
    svg
        What :meth:`filterdb.figures.Drawing.render` returns.
    id_
        Begins every name.
    """
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(svg)
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    for defs in root.iter(f"{{{_SVG}}}defs"):
        for sheet in defs.findall(f"{{{_SVG}}}style"):
            defs.remove(sheet)
    names = {name: f"{id_}-{place}" for place, name in enumerate(_referred(root))}
    _adapt(root, names, kept=False)
    width = root.attrib.pop("width", "")
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{id_}-caption")
    root.set("data-width", width.removesuffix("pt"))
    text = ET.tostring(root, encoding="unicode")
    return re.sub(r">\s+<", "><", text)


def _referred(root: ET.Element) -> list[str]:
    found: dict[str, None] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in _HREFS and value.startswith("#"):
                found[value[1:]] = None
            else:
                found.update(dict.fromkeys(_REFERENCE.findall(value)))
    return list(found)


def _adapt(element: ET.Element, names: dict[str, str], *, kept: bool) -> None:
    own = element.attrib.get("id")
    kept = kept or own in _KEPT
    if own is not None:
        if own in names:
            element.set("id", names[own])
        else:
            del element.attrib["id"]
    for key, value in list(element.attrib.items()):
        if key in _HREFS and value.startswith("#"):
            element.set(key, f"#{names[value[1:]]}")
        elif key in _HREFS:
            element.set(key, "".join(value.split()))
        elif key == "style":
            element.set(key, _styled(_renamed(value, names), element.tag, kept))
        elif key in _NUMERIC:
            element.set(key, " ".join(_DIGITS.sub(_rounded, value).split()))
        else:
            element.set(key, _renamed(value, names))
    for child in element:
        _adapt(child, names, kept=kept)


def _renamed(value: str, names: dict[str, str]) -> str:
    return _REFERENCE.sub(lambda match: f"url(#{names[match[1]]})", value)


def _styled(text: str, tag: str, kept: bool) -> str:
    """Give what is ink or paper the page's colours; text on colours of the data is pure black or white."""
    text = text.replace("'DejaVu Sans'", _FONT)
    if kept:
        return text
    colours = _INK if tag == f"{{{_SVG}}}text" else {**_INK, **_PAPER}
    return _COLOUR.sub(lambda match: colours.get(match[0], match[0]), text)


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
