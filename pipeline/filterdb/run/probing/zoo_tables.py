"""From what was found of each model of a zoo to tables, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from filterdb.probe import worker
from filterdb.run.probing.folder import ZooProbe
from filterdb.types import ModelSource

_IDENTITY: Final = ["model", "path", "sha256"]
_STATE: Final = [*_IDENTITY, "size", "status", "reason", "crashed", "rows", "skipped"]
_WHOLE: Final = ("rows", "skipped", "layers", "tail")
_LEFT_OUT: Final = ("layer", "op_type", "reason")
_OF_A: Final = {"position_a": "position", "layer_a": "layer", "cka": "value"}
_KEYS: Final = ["model", "model_sha256"]


def assemble(
    sources: Sequence[ModelSource],
    outcomes: Mapping[str, worker.Outcome],
    older: ZooProbe | None,
    staging: Path,
    key: str,
) -> ZooProbe:
    """Put what was found of each model into tables, in the order of the zoo.

    Parameters
    ----------
    sources
        The models.
    outcomes
        What became of each, by its name.
    older
        What an earlier run has found, of models that were not probed again.
    staging
        Where this run has kept what it found.
    key
        A hash of all that it depends on.
    """
    earlier = _Earlier(older)
    models: list[dict[str, Any]] = []
    layers: list[pd.DataFrame] = []
    skipped: list[pd.DataFrame] = []
    for source in sources:
        outcome = outcomes[source.name]
        part = worker.read_part(staging, outcome.sha256, key) or earlier.part(outcome.sha256)
        reason = outcome.reason or earlier.reason(outcome.sha256)
        models.append(_model(source, outcome, part, reason))
        if part is not None:
            keys = dict(zip(_KEYS, (source.name, outcome.sha256), strict=True))
            layers.append(_keyed(pd.DataFrame(dict(part.table)), keys))
            skipped.append(_keyed(pd.DataFrame(part.skipped, columns=_LEFT_OUT), keys))
    table = pd.DataFrame(models)
    for name in set(_WHOLE) & set(table.columns):
        table[name] = table[name].astype("Int64")
    return ZooProbe(table, _below(layers), _below(skipped), {})


def _model(
    source: ModelSource, outcome: worker.Outcome, part: worker.Part | None, reason: str
) -> dict[str, Any]:
    values = (source.name, source.relpath, outcome.sha256, outcome.size)
    head = dict(zip(_STATE, values, strict=False))
    if part is None:
        return {**head, "status": "failed", "reason": reason, "crashed": outcome.crashed}
    state = {"status": "ok", "reason": "", "crashed": False}
    return {**head, **state, "rows": part.rows, "skipped": len(part.skipped), **part.totals}


def _keyed(table: pd.DataFrame, keys: Mapping[str, str]) -> pd.DataFrame:
    return table.assign(**keys)[[*keys, *table.columns]]


def _below(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below each other; an empty one would make all columns of no type."""
    filled = [table for table in tables if len(table)] or list(tables[:1])
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=_KEYS)


class _Earlier:
    """What an earlier result says of a model, by its identity."""

    def __init__(self, found: ZooProbe | None) -> None:
        self._found = found
        self._models: dict[str, dict[str, Any]] = {}
        if found is not None:
            rows = [row for row in found.models.to_dict("records") if not row["crashed"]]
            self._models = {str(row["sha256"]): {str(n): v for n, v in row.items()} for row in rows}

    def reason(self, sha256: str) -> str:
        """Return why a model has no result."""
        return str(self._models[sha256]["reason"]) if sha256 in self._models else ""

    def part(self, sha256: str) -> worker.Part | None:
        """Return what was found in a model."""
        row = self._models.get(sha256)
        if self._found is None or row is None or row["status"] != "ok":
            return None
        table, left_out = (
            kept[(kept["model"] == row["model"]) & (kept["model_sha256"] == sha256)].drop(columns=_KEYS)
            for kept in (self._found.layers, self._found.skipped)
        )
        totals = {name: value for name, value in row.items() if name not in _STATE}
        columns = {str(name): values.tolist() for name, values in table.items()}
        listed = tuple(left_out.itertuples(index=False, name=None))
        return worker.Part(int(row["rows"]), totals, columns, listed)


def by_layer(found: ZooProbe) -> pd.DataFrame:
    """Return one row a layer with its ``value``.

    For CKA, that of the layer with the next one of its model, or with the most alike one of another model.

    Parameters
    ----------
    found
        A probed zoo.
    """
    table = found.layers
    if found.what != "cka":
        return table.rename(columns={found.column: "value"})
    if "b" in found.manifest["settings"]:
        table = table.sort_values("cka", ascending=False, kind="stable", na_position="last")
        best = table.drop_duplicates(["model", "position_a"])
        return best.rename(columns=_OF_A).sort_values(["model", "position"], ignore_index=True)
    beside = table[table["position_b"] == table["position_a"] + 1]
    return beside.rename(columns=_OF_A)


def known(found: ZooProbe) -> list[str]:
    """Return the identities of the models of which a result tells; those that crashed are tried again."""
    models = found.models
    return sorted(set(models.loc[~models["crashed"].astype(bool), "sha256"]) - {""})


def same_models(found: ZooProbe, older: ZooProbe) -> bool:
    """Tell whether two results are of the same models in the same places."""
    a, b = (one.models[[*_IDENTITY, "status", "reason"]].to_numpy(object) for one in (found, older))
    return a.shape == b.shape and bool(np.array_equal(a, b))
