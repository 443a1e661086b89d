"""The stage that turns a data set and its results into figures: PNG, SVG and the numbers as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl

import filterdb
from filterdb.config import FiguresConfig, RunConfig
from filterdb.run import files, place, provenance
from filterdb.run.analysis import results
from filterdb.run.drawing import figure_views as views
from filterdb.run.drawing.figure_files import Drawn, write_figures
from filterdb.run.drawing.figure_plan import Plan
from filterdb.run.drawing.sources import fingerprint
from filterdb.run.progress import progress
from filterdb.run.provenance import digest
from filterdb.store import open_dataset

FORMAT_VERSION: Final = 1
DRAWN_BY: Final = ("filterdb.figures", "filterdb.run.drawing")
"""Packages that decide how the same data looks."""

FOLDER: Final = place.Kind("filterdb figures", "folder of figures", "filterdb figures")

Action = Literal["drawn", "fresh"]


@dataclass(frozen=True, slots=True)
class FiguresReport:
    """What the stage did.

    Parameters
    ----------
    action
        ``"fresh"`` where the figures were up to date already.
    out
        The folder.
    captions
        What each figure shows, by the name of its files.
    """

    action: Action
    out: Path
    captions: Mapping[str, str]


def draw(
    path: Path, results_folder: Path, out: Path, config: RunConfig, *, force: bool = False
) -> FiguresReport:
    """Draw every figure of a data set.

    Parameters
    ----------
    path
        The data set file.
    results_folder
        Its results.
    out
        The folder to write. It is at every moment absent, the old one or the new one.
    config
        How figures are drawn, and by how many processes.
    force
        Draw what is up to date, too.

    Raises
    ------
    UsageError
        If the place is taken by something else, or a model that is named is not in the data set.
    NotADatasetError
        If the results are of another data set.
    """
    place.require_replaceable(out, FOLDER)
    with open_dataset(path) as file:
        manifest = results.require_results(results_folder, dataset=file.content_hash)
        inputs = _inputs(manifest, config.figures)
        if not force and (captions := _fresh(out, inputs)) is not None:
            place.tidy(out, FOLDER)
            return FiguresReport("fresh", out, captions)
        found = results.load(results_folder, dataset=file.content_hash)
        views.require_models(found, config.figures)
        with place.held(out, FOLDER) as staging:
            plan = Plan(file, found, config.figures)
            captions = _write(
                plan, out.resolve(), staging, config, {"inputs": inputs, "dataset": file.content_hash}
            )
    return FiguresReport("drawn", out, captions)


def _inputs(manifest: Mapping[str, Any], settings: FiguresConfig) -> str:
    return digest(
        results=manifest.get("inputs"),
        settings=settings.model_dump(mode="json"),
        filterdb=filterdb.__version__,
        matplotlib=mpl.__version__,
        code=fingerprint(*DRAWN_BY),
    )


def _fresh(out: Path, inputs: str) -> dict[str, str] | None:
    """Return the captions of figures that are up to date and all there."""
    stated = files.read_json(out / place.MANIFEST)
    if stated.get("format") != FOLDER.format or stated.get("inputs") != inputs:
        return None
    if sorted(stated.get("files", ())) != place.files_in(out):
        return None
    return {str(name): str(text) for name, text in dict(stated.get("captions", {})).items()}


def _write(
    plan: Plan, out: Path, staging: Path, config: RunConfig, made: Mapping[str, str]
) -> dict[str, str]:
    """Draw all figures into the working folder, and put it in its place."""
    settings, jobs = plan.settings, list(plan.jobs())
    drawn: dict[str, Drawn] = {}
    new = staging / place.STAGED
    with files.writing(out):
        new.mkdir()
        with progress("figures", len(jobs), "figures") as bar:
            for one in write_figures(jobs, new, dpi=settings.dpi, workers=config.workers):
                drawn[one.name] = one
                bar.advance()
        captions = {name: drawn[name].caption for name, _ in jobs}
        manifest = {
            **made,
            "format": FOLDER.format,
            "format_version": FORMAT_VERSION,
            "captions": captions,
            "settings": settings.model_dump(mode="json"),
            "seconds": {name: drawn[name].seconds for name, _ in jobs},
            "provenance": provenance.of_run(config),
            "files": [place.MANIFEST, *place.files_in(new)],
        }
        files.write_json(new / place.MANIFEST, manifest)
        files.replace_folder(new, out)
    return captions


def summary(report: FiguresReport) -> dict[str, Any]:
    """Return the outcome as plain data."""
    return {"action": report.action, "figures_folder": str(report.out), "figures": dict(report.captions)}


def text(report: FiguresReport) -> str:
    """Return the outcome as a few lines."""
    count = len(report.captions)
    if report.action == "fresh":
        return f"{report.out} is fresh: nothing has changed"
    return f"{report.out}: {count} figures, each as PNG, SVG and CSV\n  " + ", ".join(report.captions)
