"""From what a data set and its results hold to the sections of a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterdb.figures import Drawing
from filterdb.report import drift, holdings, reference, tables, wear
from filterdb.report.blocks import (
    Block,
    Facts,
    Finding,
    Findings,
    Fold,
    Heading,
    Listing,
    Page,
    Picture,
    Prose,
    Section,
)
from filterdb.report.notable import Notable
from filterdb.report.probed import Probed, probe_blocks
from filterdb.report.vector import picture
from filterdb.report.wording import axis_title, counted, decimal, listed, percent

FIGURES_BUDGET: Final = 3_200_000
"""Characters that figures may take together; tables and kernels have the rest of five million."""

_DEFINITIONS: Final = (
    "D compares how the shapes of filters are distributed in two groups: filters are scaled to a largest "
    "magnitude of one, expressed in a common basis, and counted in bins; D is the distance between the "
    "counts, weighted by the variance that each component explains.",
    "Chance is what the same distance is when the labels of models (or, within models, of layers) are "
    "permuted. The interval is a bootstrap over models. p is adjusted for the number of pairs of an axis "
    "by Holm's method.",
    "Sparsity S is the share of a layer's filters that are nearly zero. Variance entropy H says how evenly "
    "the variance of a layer's filters spreads over its directions; T_H is what random filters have, so that "
    "H/T_H near 1 is like random. Orthogonality is 1 where output channels share nothing.",
)


@dataclass(frozen=True, slots=True)
class Material:
    """All that a page is made of.

    Parameters
    ----------
    name
        What the data set is called.
    kernel
        Size of its filters, such as ``3x3``.
    n_filters
        How many filters it has.
    meta
        One row a layer, as the analysis had it.
    files
        One row a file of the zoo.
    skipped
        One row a layer without a record.
    notes
        What the analysis noted.
    layers, models
        Metrics and labels.
    pairs, groups
        The tables of each axis.
    stems
        What an axis is called in names of files and within the page.
    explained, mean
        Of the basis.
    manifest
        What the results were made from, and how.
    source
        What is known of the data set file: names and values.
    model_groups
        What each model is, by the name of a column.
    drawings
        Figures, by name, the most important first.
    shown
        The notable models, each with its first kernels by the place of a layer among its layers.
    published
        The version of CNN-Filter-DB that the file is, if it is one.
    probed
        What probes found in the models.
    comparable
        Whether the analysis was made as the published one was; else why not.
    inputs
        A hash of everything here.
    version
        The version of filterdb that makes the page.
    """

    name: str
    kernel: str
    n_filters: int
    meta: pd.DataFrame
    files: pd.DataFrame
    skipped: pd.DataFrame
    notes: tuple[str, ...]
    layers: pd.DataFrame
    models: pd.DataFrame
    pairs: Mapping[str, pd.DataFrame]
    groups: Mapping[str, pd.DataFrame]
    stems: Mapping[str, str]
    explained: Sequence[float]
    mean: Sequence[float]
    manifest: Mapping[str, Any]
    source: Mapping[str, Any]
    model_groups: Mapping[str, Mapping[Any, str]]
    drawings: Mapping[str, Drawing]
    shown: Sequence[tuple[Notable, Mapping[int, NDArray[np.float32]]]]
    published: str | None
    probed: Sequence[Probed]
    comparable: tuple[str, ...]
    inputs: str
    version: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the analysis."""
        found: Mapping[str, Any] = self.manifest.get("settings", {})
        return found


def compose(material: Material) -> Page:
    """Return the page of a data set and its results.

    Parameters
    ----------
    material
        All that it is made of.
    """
    pictures, left_out = _pictures(material.drawings)
    sections = [
        Section("overview", "What the data set holds", _overview(material)),
        Section("findings", "What the numbers say", [Findings(tuple(_findings(material)))]),
        Section("published", "Beside the published numbers", _published(material)),
        Section("drift", "Shift between groups", _drift(material, pictures)),
        Section("quality", "Quality of layers", _quality(material, pictures)),
        Section("basis", "The common basis", _basis(material, pictures)),
        Section("probes", "What the models do with data", probe_blocks(material.probed, pictures)),
        Section("models", "Models", _models(material)),
        Section("kernels", "Notable models and their kernels", _kernels(material)),
        Section("provenance", "How this came about", _provenance(material, left_out)),
    ]
    models = int((material.files["n_records"] > 0).sum())
    lead = (
        f"{counted(material.n_filters, 'convolution filter')} of {material.kernel} in "
        f"{counted(len(material.meta), 'layer')} of {counted(models, 'model')}: how they differ between "
        "groups, and which layers are worn out."
    )
    return Page(
        title=f"Filters of {material.name}",
        lead=lead,
        sections=[section for section in sections if section.blocks],
        inputs=material.inputs,
        version=material.version,
    )


def _pictures(drawings: Mapping[str, Drawing]) -> tuple[dict[str, Picture], list[str]]:
    """Return the figures that the budget has room for, and the names of the others."""
    made: dict[str, Picture] = {}
    left_out: list[str] = []
    room = FIGURES_BUDGET
    for name, drawing in drawings.items():
        found = picture(drawing, f"figure-{len(made) + len(left_out)}")
        if len(found.markup) > room:
            left_out.append(name)
            continue
        room -= len(found.markup)
        made[name] = found
    return made, left_out


def _some(pictures: Mapping[str, Picture], *names: str) -> list[Picture]:
    return [pictures[name] for name in names if name in pictures]


def _overview(material: Material) -> list[Block]:
    models, ours = material.files, material.published is None
    blocks: list[Block] = [
        holdings.key_facts(material.meta, models, material.n_filters, whole_zoo=ours),
    ]
    if ours:
        blocks += holdings.missing_blocks(
            models, material.skipped, weights=holdings.weight_sentences(material.meta), notes=material.notes
        )
    else:
        said = "A published file tells nothing of models that failed, layers that were left out and copies."
        blocks.append(Prose((said, *(f"Note: {note}." for note in material.notes))))
    if material.groups:
        blocks += [Heading("groups", "Groups that are compared")]
        blocks += holdings.group_tables(material.groups, material.stems)
    return blocks


def _basis(material: Material, pictures: Mapping[str, Picture]) -> list[Block]:
    figures = _some(pictures, "eigenimages", "explained_variance", "scatter")
    return [Prose((_variance(material.explained),)), *figures]


def _variance(explained: Sequence[float]) -> str:
    ratio = np.asarray(explained, np.float64)
    enough = int(np.searchsorted(np.cumsum(ratio), 0.9) + 1)
    return (
        "All filters are described in one basis, their principal components. The first of "
        f"{len(ratio)} components explains {percent(float(ratio[0]))} of the variance of the scaled filters; "
        f"{enough} explain {percent(float(ratio[:enough].sum()))}."
    )


def _findings(material: Material) -> list[Finding]:
    permutations = int(material.settings.get("permutations", 0))
    summaries = [
        drift.summarize(name, table, material.groups[name], permutations=permutations)
        for name, table in material.pairs.items()
    ]
    measure = str(material.settings.get("measure", "paper"))
    labels = dict(material.settings.get("labels", {}))
    return [
        *drift.drift_findings(summaries, material.pairs, measure=measure),
        *wear.quality_findings(material.layers, material.models, labels),
    ]


def _published(material: Material) -> list[Block]:
    if material.published is None:
        return []
    computed = reference.computed_values(
        models=int((material.files["n_records"] > 0).sum()),
        records=len(material.meta),
        filters=material.n_filters,
        explained=material.explained,
        mean=material.mean,
        pairs=material.pairs,
    )
    table = reference.reference_table(material.published, computed)
    said = [
        f"This file has the layout of CNN-Filter-DB {material.published}. The numbers that were published "
        "of it, or recomputed from it by others, stand beside those of this analysis. Only the whole file "
        "gives them."
    ]
    if material.comparable:
        said.append(
            f"Distances are not comparable as they are: {listed(list(material.comparable))} differ from how "
            "the published ones were computed."
        )
    return [Prose(tuple(said)), table]


def _drift(material: Material, pictures: Mapping[str, Picture]) -> list[Block]:
    if not material.pairs:
        return []
    blocks: list[Block] = _some(pictures, "drift_by_axis")  # type: ignore[assignment]
    for name in material.pairs:
        stem = material.stems[name]
        figures = _some(pictures, f"drift_{stem}", f"drift_pairs_{stem}", f"ridges_{stem}")
        if figures:
            blocks += [Heading(f"drift-{stem}", f"By {axis_title(name)}"), *figures]
    blocks.append(Heading("pairs", "All pairs"))
    return [*blocks, tables.pair_table(material.pairs)]


def _quality(material: Material, pictures: Mapping[str, Picture]) -> list[Block]:
    # Depth first: that is what the trend is about.
    names = sorted(material.stems, key=lambda name: name != "depth_decile")
    by_group = _some(pictures, *(f"quality_{material.stems[name]}" for name in names))
    return [*by_group, *_some(pictures, "degenerate_models")]


def _models(material: Material) -> list[Block]:
    shown = [one for one, _ in material.shown]
    return [
        Prose(
            (
                "Every file of the zoo has a row. Metrics are means over a model's layers, weighted by "
                "filters. Names that are links lead to the model's layers and kernels.",
            )
        ),
        tables.model_table(material.files, material.models, material.model_groups, shown),
    ]


def _kernels(material: Material) -> list[Block]:
    if not material.shown:
        return []
    said = (
        f"The {counted(len(material.shown), 'model')} that are extreme in something, by turns: degenerate "
        "layers, sparsity, variety, orthogonality, size. Kernels are scaled to the largest weight shown of "
        "their layer; red is positive, blue negative, white zero."
    )
    ids = material.layers.index.get_level_values("model_id")
    folds = [
        tables.layer_fold(place, one, material.layers[ids == one.model_id], kernels)
        for place, (one, kernels) in enumerate(material.shown)
    ]
    return [Prose((said,)), *folds]


def _provenance(material: Material, left_out: Sequence[str]) -> list[Block]:
    manifest = material.manifest
    made: Mapping[str, Any] = manifest.get("provenance", {})
    coordinates: Mapping[str, Any] = manifest.get("coordinates", {})
    facts = [
        ("Data set", material.name),
        ("Content hash", str(manifest.get("dataset", ""))),
        *((name, str(value)) for name, value in material.source.items()),
        ("Analyzed", str(made.get("written", ""))),
        ("Command", shlex.join(str(part) for part in made.get("command", ()))),
        ("filterdb", str(made.get("filterdb", ""))),
        ("Python", f"{made.get('python', '')}, {made.get('platform', '')}"),
        ("Coordinates", _coordinates(coordinates)),
        ("Results from", str(manifest.get("inputs", ""))),
    ]
    packages: Mapping[str, Any] = made.get("packages", {})
    facts.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    config = json.dumps(made.get("config", {}), indent=2, sort_keys=True, ensure_ascii=False)
    relabelled = manifest.get("relabelled") or []
    blocks: list[Block] = [
        Prose(_DEFINITIONS),
        Facts(tuple((name, value) for name, value in facts if value and value != ", ")),
        Fold("fold-config", "Configuration", "as the analysis had it", (Listing(config),)),
    ]
    if relabelled:
        listing = json.dumps(relabelled, indent=2, sort_keys=True, ensure_ascii=False, default=str)
        blocks.append(
            Fold("fold-relabel", "Labels that were replaced", "by the configuration", (Listing(listing),))
        )
    if left_out:
        names = listed([name.replace("_", " ") for name in left_out])
        blocks.append(
            Prose((f"Left out, to keep this page small: {names}. filterdb figures draws every figure.",))
        )
    return blocks


def _coordinates(coordinates: Mapping[str, Any]) -> str:
    if not coordinates:
        return ""
    low, high = coordinates.get("range", (np.nan, np.nan))
    return (
        f"basis {coordinates.get('basis')}, policy {coordinates.get('policy')}, {coordinates.get('bins')} "
        f"bins from {decimal(low)} to {decimal(high)}, identity {str(coordinates.get('identity', ''))[:16]}"
    )
