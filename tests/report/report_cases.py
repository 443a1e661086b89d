"""Data sets that the tests of the report and of the browser share: hostile, published and large ones."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
from published_fixtures import published
from store_cases import metadata_of, record

from filterdb.config import DEMO, RunConfig
from filterdb.run.analysis.analyze import analyze
from filterdb.run.extraction.extract import extract
from filterdb.store import ZooEntry, build_tables, write_dataset
from filterdb.testing import conv_net, write_model
from filterdb.types import Kernel

FEW = {"permutations": 19, "draws": 19}
HOSTILE = '<script>alert("x")</script>'
"""A task that wants to be markup."""

VOID = frozenset(
    {"meta", "link", "img", "input", "br", "hr", "path", "use", "rect", "image", "circle", "ellipse"}
)


@dataclass(frozen=True)
class Written:
    """A data set, its results and its report."""

    dataset: Path
    results: Path
    page: Path

    @property
    def text(self) -> str:
        return self.page.read_text("utf-8")

    @property
    def document(self) -> Document:
        return Document(self.text)


class Document(HTMLParser):
    """What a page holds, as a strict reader sees it: nesting is checked on the way.

    Parameters
    ----------
    text
        The page.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.problems: list[str] = []
        self._open: list[str] = []
        self._table = ""
        self._cell: list[str] | None = None
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag == "div" and (found.get("class") or "") == "table":
            self._table = str(found["id"])
            self.rows[self._table] = []
        elif tag == "tr":
            self.rows[self._table].append([])
        elif tag in ("td", "th"):
            self._cell = []
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[self._table][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-3:]}")
        elif tag not in VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *, without: tuple[str, ...] = ("script", "style")) -> str:
        """Return what a person reads."""
        return " ".join(" ".join(data for tag, data in self.texts if tag not in without).split())


def hostile_dataset(folder: Path) -> tuple[Path, Path]:
    """Extract and analyze a zoo whose names are markup, script and characters that turn text around."""
    zoo = folder / "zoo"
    tasks = (HOSTILE, "a & b", '" onload="alert(1)', "{{ 7 * 7 }}")
    rows = []
    for place in range(12):
        name = f"m{place:02d}"
        if place == 0:
            name = "<img src=x onerror=alert(1)>"
        elif place == 1:
            name = "</title><script>alert(2)<"
            name = name.replace("/", "∕")
        elif place == 2:
            name = "\u202eevil\u2028"
        weights = [(8, 3, 3, 3), (8, 8, 3, 3), (4, 8, 3, 3)]
        write_model(zoo / f"{name}.onnx", conv_net(weights, seed=place))
        rows.append(
            {"Name": name, "Task": tasks[place % 4], "Visual Category": "one" if place % 2 else "two"}
        )
    (zoo / "<script>broken.onnx").write_bytes(b"<html><script>alert(3)</script>")
    pd.DataFrame(rows).to_csv(zoo / "models.csv", index=False)
    config = RunConfig(zoo=(str(zoo),), metadata=str(zoo / "models.csv"), workers=1)
    dataset = folder / "<i>data & set.h5"
    extract(config, dataset)
    results = folder / "results"
    analyze(dataset, results, config.with_analyze(by=("Task", "Visual Category", "depth_decile"), **FEW))
    return dataset, results


def large_dataset(folder: Path, *, models: int = 647, records: int = 21_436) -> tuple[Path, Path]:
    """Write and analyze a data set of as many models and layers as the published one, with failures."""
    made = published(records, models=models)
    names = [f"model{place:03d}_some_architecture_with_a_long_name" for place in range(models)]
    entries = [
        ZooEntry(name, f"{name}.onnx", record(name, layers), has_metadata=True)
        for name, layers in zip(names, made.layers, strict=True)
    ]
    entries += [
        ZooEntry(f"not_read{place:02d}", f"not_read{place:02d}.onnx", None, reason="the file is cut off")
        for place in range(12)
    ]
    columns = {
        "Task": [f"Task number {place % 13}" for place in range(len(entries))],
        "Visual Category": [f"category {place % 17}" for place in range(len(entries))],
        "Training-Dataset": [f"images of kind {place % 60}" for place in range(len(entries))],
    }
    dataset, results = folder / "large.h5", folder / "results"
    tables = build_tables(entries, metadata_of(entries, **columns))
    write_dataset(dataset, tables, [made.filters], kernel=Kernel(3, 3))
    axes = ("Task", "Visual Category", "Training-Dataset", "depth_decile")
    analyze(dataset, results, RunConfig().with_analyze(by=axes, **FEW))
    return dataset, results


def published_dataset(folder: Path, version: str) -> tuple[Path, Path]:
    """Write and analyze a small file of a published layout."""
    dataset, results = folder / f"{version}.h5", folder / f"results-{version}"
    made = published(200, models=20)
    (made.v1 if version == "v1.0.0" else made.v0)(dataset)
    rules = ({"column": "Task", "contains": "Segmentation", "to": "Segmentation"},)
    axes = ("Task", "Visual Category", "depth_decile")
    analyze(dataset, results, RunConfig(workers=1).with_analyze(by=axes, relabel=rules, **FEW))
    return dataset, results


def demo_dataset(folder: Path) -> tuple[Path, Path]:
    """Extract and analyze the zoo that ships with the package."""
    dataset, results = folder / "dataset.h5", folder / "results"
    config = RunConfig(zoo=(DEMO,), metadata=DEMO)
    extract(config, dataset)
    axes = ("Task", "Visual Category", "Family", "depth_decile")
    analyze(dataset, results, config.with_analyze(by=axes, permutations=999, draws=99))
    return dataset, results
