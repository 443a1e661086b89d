"""The stage that turns a data set and its results into one page that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import filterdb
from filterdb import report as pages
from filterdb.config import FiguresConfig, RunConfig
from filterdb.errors import OutputError, UsageError
from filterdb.figures import Drawing
from filterdb.figures.style import DOUBLE
from filterdb.report import Material, Notable
from filterdb.report.wording import size
from filterdb.run import files, provenance
from filterdb.run.analysis import results
from filterdb.run.analysis.results import Results
from filterdb.run.drawing import probed
from filterdb.run.drawing.figure_plan import EXACT_UP_TO, Plan
from filterdb.run.drawing.figure_scan import read_record
from filterdb.run.drawing.sources import fingerprint
from filterdb.run.probing.folder import ZooProbe
from filterdb.run.progress import progress
from filterdb.run.provenance import digest
from filterdb.store import DatasetFile, open_dataset
from filterdb.store.published import PublishedFile

WRITTEN_BY: Final = ("filterdb.figures", "filterdb.report", "filterdb.run.drawing")
"""Packages that decide how the same data is told."""

MOST_AXES: Final = 6
"""Axes whose figures are on the page."""

_LAYERS: Final = 24
_KERNELS: Final = 12
_LARGEST_KERNEL: Final = 11
_GROUP_COLUMNS: Final = ("Task", "Visual Category")
_MOST_GROUP_COLUMNS: Final = 3
_MAX_PAGE: Final = 256 << 20

Action = Literal["written", "fresh"]


@dataclass(frozen=True, slots=True)
class ReportReport:
    """What the stage did.

    Parameters
    ----------
    action
        ``"fresh"`` where the page was up to date already.
    out
        The page.
    size
        Its size in bytes.
    """

    action: Action
    out: Path
    size: int


def write(
    path: Path,
    results_folder: Path,
    out: Path,
    config: RunConfig,
    *,
    probes: Sequence[Path] | None = None,
    force: bool = False,
) -> ReportReport:
    """Write the report of a data set.

    Parameters
    ----------
    path
        The data set file.
    results_folder
        Its results.
    out
        The page to write. It is at every moment absent, the old one or the new one.
    config
        How figures are drawn.
    probes
        Folders of probes of the zoo; those beside the results where not given.
    force
        Write what is up to date, too.

    Raises
    ------
    UsageError
        If the place is taken by something else.
    NotADatasetError
        If the results are of another data set.
    """
    older = _older(out)
    with open_dataset(path) as file:
        manifest = results.require_results(results_folder, dataset=file.content_hash)
        zoo = file.tables.models
        probed_zoo = probed.beside(results_folder, zoo) if probes is None else probed.found_in(probes, zoo)
        inputs = _inputs(file, manifest, config.figures, probed_zoo)
        if not force and older is not None and pages.inputs_of(older) == inputs:
            return ReportReport("fresh", out, len(older.encode()))
        files.require_place(out)
        found = results.load(results_folder, dataset=file.content_hash)
        page = pages.compose(_material(file, found, probed_zoo, config.figures, inputs))
    content = pages.render(page).encode()
    with files.appearing(out) as temporary:
        temporary.write_bytes(content)
    return ReportReport("written", out, len(content))


def _older(out: Path) -> str | None:
    """Read the page that is going to be replaced, and refuse to replace anything else."""
    if out.is_dir():
        raise OutputError("this is a folder", where=out, expected="the name of a file")
    if not out.exists():
        return None
    with files.writing(out), out.open("rb") as file:
        text = file.read(_MAX_PAGE).decode("utf-8", "replace")
    if not pages.is_ours(text):
        raise UsageError(
            "the file is there already, and is no report of filterdb",
            where=out,
            expected="a new name, or a file that filterdb report has written",
            hint="name another --out",
        )
    return text


def _inputs(
    file: DatasetFile, manifest: Mapping[str, Any], settings: FiguresConfig, of_models: Sequence[ZooProbe]
) -> str:
    """Describe all that determines the page; what made the results is on it, too."""
    return digest(
        dataset=file.content_hash,
        name=file.path.name,
        results={key: value for key, value in manifest.items() if key != "seconds"},
        source=_source(file),
        probes=probed.identity(of_models),
        settings=settings.model_dump(mode="json"),
        filterdb=filterdb.__version__,
        matplotlib=mpl.__version__,
        code=fingerprint(*WRITTEN_BY),
    )


def _material(
    file: DatasetFile,
    found: Results,
    of_models: Sequence[ZooProbe],
    settings: FiguresConfig,
    inputs: str,
) -> Material:
    tables = file.tables
    coordinates = found.measured.coordinates
    shifts = {name: found.shifts[name] for name in _in_order(found)}
    stems = results.axis_stems(shifts)
    told, drawn = probed.told(of_models, results.joined(found.meta, found.layers), width=DOUBLE)
    return Material(
        name=file.path.name,
        kernel=str(file.kernel),
        n_filters=file.n_filters,
        meta=found.meta,
        files=tables.models,
        skipped=tables.skipped,
        notes=tuple(str(note) for note in found.manifest.get("notes", ())),
        layers=found.layers,
        models=found.models,
        pairs={name: one.pairs for name, one in shifts.items()},
        groups={name: one.groups for name, one in shifts.items()},
        stems=stems,
        explained=coordinates.basis.explained.tolist(),
        mean=coordinates.basis.mean.tolist(),
        manifest=found.manifest,
        source=_source(file),
        model_groups=_model_groups(found, tables.models),
        drawings=_drawings(file, found, settings, list(stems.values())) | drawn,
        shown=[(one, _kernels(file, found, one)) for one in pages.notable(found.models)],
        published=_published_version(file),
        probed=told,
        comparable=_differences(found.manifest),
        inputs=inputs,
        version=filterdb.__version__,
    )


def _in_order(found: Results) -> list[str]:
    """Return the axes in the order in which they were asked for; a manifest has them by name."""
    asked = list(found.manifest.get("settings", {}).get("by", ()))
    with_ = found.manifest.get("settings", {}).get("combine_with")
    names = asked if with_ is None else [f"{name} / {with_}" for name in asked]
    place = {name: number for number, name in enumerate(names)}
    return sorted(found.shifts, key=lambda name: place.get(name, len(place)))


def _source(file: DatasetFile) -> dict[str, Any]:
    """Return what the file beside the data set says of how it came about."""
    stated = files.read_json(provenance.sidecar(file.path))
    made = stated.get("provenance", stated)
    if not isinstance(made, dict):
        made = {}
    found: dict[str, Any] = {"Data set size": size(file.path.stat().st_size)}
    if isinstance(file, PublishedFile):
        found["Layout"] = str(file.attributes["layout"])
    if made.get("written"):
        found["Extracted"] = str(made["written"])
    if isinstance(command := made.get("command"), list):
        found["Extracted by"] = " ".join(str(part) for part in command)
    if isinstance(notes := made.get("notes"), list) and notes:
        found["Notes of the extraction"] = "; ".join(str(note) for note in notes)
    return found


def _model_groups(found: Results, files_table: pd.DataFrame) -> dict[str, dict[Any, str]]:
    """Return what each model is, by the columns that the axes are of and that have one value a model."""
    wanted = dict.fromkeys((*_GROUP_COLUMNS, *found.manifest.get("settings", {}).get("by", ())))
    ids = found.meta.index.get_level_values("model_id")
    chosen: dict[str, dict[Any, str]] = {}
    for name in wanted:
        if name not in found.meta or len(chosen) == _MOST_GROUP_COLUMNS:
            continue
        known = pd.Series(found.meta[name].to_numpy(object), index=ids).dropna()
        if known.empty or known.groupby(level=0).nunique().max() > 1:
            continue
        named = {model: str(value) for model, value in known.groupby(level=0).first().items()}
        if name in files_table:
            # Models without filters are in no record, and still are of a kind.
            others = files_table[name].drop(list(named), errors="ignore").dropna()
            named |= {model: str(value) for model, value in others.items()}
        chosen[name] = named
    return chosen


def _drawings(
    file: DatasetFile, found: Results, settings: FiguresConfig, stems: list[str]
) -> dict[str, Drawing]:
    """Draw the figures of the page, the most important first; the bins of the cube are enough for it."""
    plan = Plan(file, found, settings.model_copy(update={"width": "double", "ridges": "bins"}))
    jobs = dict(plan.jobs())
    names = [name for name in _wanted(file, stems) if name in jobs]
    drawings = {}
    with progress("report", len(names), "figures") as bar:
        for name in names:
            drawings[name] = jobs[name]()
            bar.advance()
    return drawings


def _wanted(file: DatasetFile, stems: list[str]) -> Iterator[str]:
    yield from ("drift_by_axis", "explained_variance", "eigenimages", "degenerate_models")
    for kind in ("drift", "quality", "drift_pairs", "ridges"):
        yield from (f"{kind}_{stem}" for stem in stems[:MOST_AXES])
    # The only one for which every filter is read.
    if file.n_filters <= EXACT_UP_TO:
        yield "scatter"


def _kernels(file: DatasetFile, found: Results, one: Notable) -> dict[int, NDArray[np.float32]]:
    """Read the first kernels of a model's layers; of many layers, of some that lie evenly over depth."""
    if max(file.kernel.shape) > _LARGEST_KERNEL:
        return {}
    rows = found.meta[found.meta.index.get_level_values("model_id") == one.model_id]
    places = np.unique(np.linspace(0, len(rows) - 1, min(_LAYERS, len(rows))).round().astype(int))
    return {
        place: read_record(file, rows.iloc[place], _KERNELS).reshape(-1, *file.kernel.shape)
        for place in places.tolist()
    }


def _published_version(file: DatasetFile) -> str | None:
    """Return the version of CNN-Filter-DB that has the layout of a file; ``None`` for files of ours."""
    if not isinstance(file, PublishedFile):
        return None
    return "v1.0.0" if "float64" in file.attributes["layout"] else "v0.1.0"


def _differences(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings in which an analysis is not as the published one was."""
    settings, coordinates = manifest.get("settings", {}), manifest.get("coordinates", {})
    published = {"measure": "paper", "weighting": "filters", "where": None, "combine_with": None}
    different = [name for name, value in published.items() if settings.get(name, value) != value]
    for name, value in (("basis", "all"), ("policy", "paper"), ("bins", 70)):
        if coordinates.get(name, value) != value:
            different.append(name)
    return tuple(different)


def summary(report: ReportReport) -> dict[str, Any]:
    """Return the outcome as plain data."""
    return {"action": report.action, "report": str(report.out), "bytes": report.size}


def text(report: ReportReport) -> str:
    """Return the outcome as a line."""
    if report.action == "fresh":
        return f"{report.out} is fresh: nothing has changed"
    return f"{report.out}: {size(report.size)}, complete in itself; open it in a browser"
