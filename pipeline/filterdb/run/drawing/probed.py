"""What probes have found, for the report: beside the layers of the data set, and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from filterdb.errors import UsageError
from filterdb.figures import Drawing
from filterdb.figures.probed_zoo import layers_against, rank_correlation
from filterdb.report import Probed
from filterdb.report.probed import ENTROPY
from filterdb.run.files import read_json
from filterdb.run.place import MANIFEST
from filterdb.run.probing import zoo
from filterdb.run.probing.folder import PROBES, ZooProbe, load
from filterdb.run.probing.zoo_tables import by_layer

FOLDER: Final = "probes"
"""The folder beside results in which probes of the zoo are looked for."""

_ORDER: Final = ("saturation", "cka", "sparsity")
_DIGITS: Final = "scikit-learn's digits"
_KEYS: Final = ["model_sha256", "layer_name"]
_X: Final = "variance entropy of its filters (H/T_H)"
_Y: Final = {"saturation": "saturation", "sparsity": "sparsity score alpha", "cka": "CKA with the next layer"}


def found_in(folders: Sequence[Path], models: pd.DataFrame) -> list[ZooProbe]:
    """Return what probes found in the models of a data set.

    Parameters
    ----------
    folders
        Folders that ``filterdb probe ... ZOO`` has written.
    models
        One row a file of the zoo, as the data set has it.

    Raises
    ------
    UsageError
        If two are of one kind, or one is of none of the models.
    """
    found: dict[str, ZooProbe] = {}
    for folder in folders:
        one = load(folder)
        if one.what in found:
            raise UsageError(f"two of the probes are of {one.what}", where=folder, expected="one of a kind")
        if not _is_of(one, models):
            raise UsageError(
                "these probes are of none of the data set's models",
                where=folder,
                expected="probes of the zoo that the data set was extracted from",
                hint="filterdb probe saturation ZOO",
            )
        found[one.what] = one
    return list(found.values())


def beside(results: Path, models: pd.DataFrame) -> list[ZooProbe]:
    """Return the probes that lie beside results, as far as they are of the data set's models.

    Parameters
    ----------
    results
        The results folder.
    models
        One row a file of the zoo.
    """
    folder = results.with_name(FOLDER)
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [load(path) for path in paths if read_json(path / MANIFEST).get("format") == PROBES.format]
    return sorted((one for one in found if _is_of(one, models)), key=lambda one: _ORDER.index(one.what))


def _is_of(one: ZooProbe, models: pd.DataFrame) -> bool:
    return "sha256" not in models or bool(set(one.models["sha256"]) & set(models["sha256"].dropna()))


def identity(found: Sequence[ZooProbe]) -> list[Any]:
    """Return what a page about probes depends on."""
    return [[one.key, one.manifest.get("content")] for one in found]


def told(
    found: Sequence[ZooProbe], layers: pd.DataFrame, *, width: float
) -> tuple[list[Probed], dict[str, Drawing]]:
    """Return what probes found, and its figures by name.

    Parameters
    ----------
    found
        The probes.
    layers
        The layers of the data set, with their metrics.
    width
        Of a figure, in inches.
    """
    drawings: dict[str, Drawing] = {}
    told = []
    for one in found:
        name = f"probe_{one.what}"
        drawings[name] = zoo.draw(one, width=width)
        both = _beside(one, layers)
        correlation = None
        if len(both):
            titles = _X, _Y[one.what]
            drawn = layers_against(both, x=ENTROPY, y="value", titles=titles, width=width)
            drawings[f"{name}_entropy"] = drawn
            correlation = rank_correlation(both, ENTROPY, "value")
        figures = (name, f"{name}_entropy")
        told.append(Probed(one.what, _data(one), one.models, by_layer(one), correlation, figures))
    return told, drawings


def _beside(one: ZooProbe, layers: pd.DataFrame) -> pd.DataFrame:
    """Return the layers that the probe and the data set both know, with the values of both."""
    if not set(_KEYS) <= set(layers.columns):
        return pd.DataFrame()
    ours = layers.reset_index()[[*_KEYS, ENTROPY, "conv_depth_norm"]]
    theirs = by_layer(one).rename(columns={"layer": "layer_name"})[["model", *_KEYS, "value"]]
    return theirs.merge(ours, on=_KEYS, validate="many_to_many").dropna(subset=[ENTROPY, "value"])


def _data(one: ZooProbe) -> str:
    settings: Mapping[str, Any] = one.manifest["settings"]
    rows = one.models["rows"].dropna()
    return f"{int(rows.max()):,} rows of {settings.get('data') or _DIGITS}" if len(rows) else ""
