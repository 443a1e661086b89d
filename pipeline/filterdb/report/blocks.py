"""What a page is made of: headings, sentences, figures and tables, as plain values without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["text", "label", "number", "image"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, whole in the page.

    Parameters
    ----------
    source
        A ``data:`` address.
    alt
        What it shows, for who cannot see it.
    width, height
        In CSS pixels.
    """

    source: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Link:
    """A text that leads to another place of the page."""

    text: str
    target: str

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = str | Link | Image


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    title
        Its heading.
    kind
        What is in it: numbers are set to the right, and sorted as numbers; labels stay on one line.
    facet
        Readers can choose one of its values.
    """

    title: str
    kind: Kind = "text"
    facet: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and what it says as a whole.

    Parameters
    ----------
    id
        Its name within the page.
    caption
        What it shows.
    columns, rows
        What is in it; a row has a cell for each column, of which the first names the row.
    tools
        Readers can sort and filter it.
    note
        What it leaves out.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    tools: bool = False
    note: str = ""

    kind = "table"

    def __post_init__(self) -> None:
        width = len(self.columns)
        if any(len(row) != width for row in self.rows):
            raise ValueError(f"each row of the table {self.id!r} needs {width} cells")

    @property
    def facets(self) -> list[tuple[int, str, list[str]]]:
        """The place, title and values of every column of which readers choose a value."""
        found = []
        for place, column in enumerate(self.columns):
            values = sorted({str(row[place]) for row in self.rows}, key=str.casefold) if column.facet else []
            if len(values) > 1:
                found.append((place, column.title, values))
        return found


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs."""

    paragraphs: tuple[str, ...]

    kind = "prose"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the numbers say.

    Parameters
    ----------
    head
        The finding, as a sentence.
    details
        Sentences with the numbers behind it.
    caution
        What a reader must not conclude.
    """

    head: str
    details: tuple[str, ...] = ()
    caution: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings, the most telling first."""

    items: tuple[Finding, ...]

    kind = "findings"


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values.

    Parameters
    ----------
    items
        The facts.
    large
        They are the few numbers that a page begins with.
    """

    items: tuple[tuple[str, str], ...]
    large: bool = False

    kind = "facts"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with its caption.

    Parameters
    ----------
    id
        Its name within the page.
    markup
        Markup that :mod:`filterdb.report.vector` has made, which is not escaped again.
    caption
        What it shows.
    paper
        It has colours of its own, and lies on white also where the page is dark.
    """

    id: str
    markup: str
    caption: str
    paper: bool = False

    kind = "picture"


@dataclass(frozen=True, slots=True)
class Fold:
    """Something that readers unfold.

    Parameters
    ----------
    id
        Its name within the page.
    title
        What it holds.
    hint
        What is said beside the title.
    content
        What is in it.
    """

    id: str
    title: str
    hint: str
    content: tuple[Table | Prose | Facts | Listing, ...]

    kind = "fold"


@dataclass(frozen=True, slots=True)
class Listing:
    """Text in lines, as it is."""

    text: str

    kind = "listing"


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a part of a section."""

    id: str
    text: str

    kind = "heading"


Block: TypeAlias = Table | Prose | Findings | Facts | Picture | Fold | Listing | Heading


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page; one without blocks does not appear.

    Parameters
    ----------
    id
        Its name within the page.
    title
        Its heading.
    blocks
        What is in it.
    """

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Parameters
    ----------
    title
        What it is about.
    lead
        The same in a sentence.
    sections
        What is in it.
    inputs
        A hash of all that it was made from.
    version
        The version of filterdb that made it.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    inputs: str
    version: str
