"""The stage that writes the part of a data set file that meets a condition."""

from __future__ import annotations

import fnmatch
import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb import schema, shift
from filterdb.errors import ColumnError, UsageError, nearest
from filterdb.run.exchange.derive import DeriveReport, Made, MadePublished, derive, listed
from filterdb.run.text_table import plural
from filterdb.store import DatasetFile, PublishedFile, PublishedPart, open_dataset
from filterdb.store.recombine import HeldModel, filters_of, held_models, lay_out, metadata_of
from filterdb.types import SkippedLayer

_SHOWN: Final = 200


def subset(
    path: Path,
    out: Path,
    *,
    where: str | None = None,
    models: Sequence[str] = (),
    keep_empty: bool = False,
    compression: str = "none",
    force: bool = False,
) -> DeriveReport:
    """Write a data set file of the records that meet a condition.

    Parameters
    ----------
    path
        The data set file; of a published one, the subset is a published file too.
    out
        The file to write.
    where
        An expression over ``/meta``; a record for which it is missing does not meet it.
    models
        Names of models, or patterns with ``*`` and ``?``; all where not given.
    keep_empty
        Keep models that never had a record although ``where`` can say nothing of them.
    compression, force
        As for :func:`filterdb.run.exchange.derive.derive`.

    Raises
    ------
    UsageError
        If no condition is given, it cannot be computed, or nothing meets it.
    """
    if where is None and not models:
        raise UsageError("there is no condition", expected="--where EXPRESSION, --models PATTERN or both")
    operation = {"name": "subset", "where": where, "models": list(models), "keep_empty": keep_empty}
    with ExitStack() as stack:
        file = stack.enter_context(open_dataset(path))
        operation |= {"sources": [file.content_hash]}
        return derive(
            out,
            lambda: (
                _make_published(file, where, models, operation)
                if isinstance(file, PublishedFile)
                else _make(file, where, models, keep_empty=keep_empty)
            ),
            operation=operation,
            sources=[path],
            compression=compression,
            force=force,
        )


def _make(file: DatasetFile, where: str | None, patterns: Sequence[str], *, keep_empty: bool) -> Made:
    held = held_models(file)
    named = _named([model.entry.name for model in held], patterns, file.path)
    meets, notes = _meets(file, where)
    ids = file.tables.meta.index.get_level_values("model_id").to_numpy()
    edges = np.searchsorted(ids, np.arange(len(held) + 1))
    kept: list[HeldModel] = []
    gone: list[str] = []
    for model, (start, end) in zip(held, itertools.pairwise(edges), strict=True):
        chosen = meets[start:end]
        empty = not len(chosen) and (where is None or keep_empty)
        if model.entry.name not in named:
            continue
        if chosen.any() or empty:
            kept.append(_restricted(model, chosen, where, str(file.kernel)))
        else:
            gone.append(model.entry.name)
    notes += _without_records(gone)
    metadata = metadata_of(file.tables.models).iloc[[model.model_id for model in kept]]
    tables = lay_out(kept, metadata)
    if not len(tables.meta):
        raise _nothing(file)
    attributes = {
        name: file.attributes[name] for name in schema.OPTIONAL_ATTRIBUTES if name in file.attributes
    }
    if any(len(model.rows) < len(held[model.model_id].rows) for model in kept):
        # An extraction takes whole models from a file of its own version.
        attributes.pop("extractor_version", None)
    return Made(tables, filters_of(kept), file.kernel, attributes, tuple(notes))


def _make_published(
    file: PublishedFile, where: str | None, patterns: Sequence[str], operation: Mapping[str, Any]
) -> MadePublished:
    """Take the records with the words of the file: its columns, its labels and its ids of models."""
    names = file.tables.meta["model"].fillna("")
    chosen, notes = _meets(file, where)
    named = names.isin(_named(list(dict.fromkeys(names)), patterns, file.path)).to_numpy(bool)
    if not (chosen & named).any():
        raise _nothing(file)
    notes += _without_records(list(dict.fromkeys(names[named & ~names.isin(names[chosen & named])])))
    left = names[named & ~chosen & names.isin(names[chosen & named])].nunique()
    if left:
        notes.append(
            f"{plural(left, 'model')} without some of their layers; the counts of filters and "
            "operators in /meta are still those of whole models"
        )
    part = PublishedPart.of(file, chosen & named)
    return MadePublished(part, part.tables(), json.dumps(operation, sort_keys=True), tuple(notes))


def _nothing(file: DatasetFile) -> UsageError:
    return UsageError(
        "no record meets the condition",
        where=file.path,
        expected="at least one",
        hint="filterdb info shows which models and groups there are",
    )


def _without_records(names: Sequence[str]) -> list[str]:
    found = f"models without a record that meets the condition, left out: {listed(names)}"
    return [found] if names else []


def _named(names: Sequence[str], patterns: Sequence[str], path: Path) -> frozenset[str]:
    if not patterns:
        return frozenset(names)
    found: set[str] = set()
    for pattern in patterns:
        matches = {name for name in names if name == pattern} or set(fnmatch.filter(names, pattern))
        if not matches:
            close = nearest(pattern, names)
            raise UsageError(
                f"no model is called {pattern!r}",
                where=path,
                expected="the name of a model, or a pattern with * and ?",
                hint=f"did you mean {close!r}?" if close else _within(pattern, names),
            )
        found |= matches
    return frozenset(found)


def _within(name: str, names: Sequence[str]) -> str:
    held = name and any(name.casefold() in one.casefold() for one in names)
    return f"names that hold it: '*{name}*'" if held else "filterdb info shows what the file holds"


def _meets(file: DatasetFile, where: str | None) -> tuple[NDArray[np.bool_], list[str]]:
    """Tell which records meet the condition, and how many cannot be said to."""
    meta = file.tables.meta
    if where is None:
        return np.ones(len(meta), bool), []
    try:
        mask = shift.evaluate(where, meta, where="--where")
    except ColumnError as error:
        raise ColumnError(
            error.what,
            where=error.where,
            expected=error.expected,
            hint=error.hint or "metrics are of the results: filterdb.open(...).select() knows them",
        ) from None
    if mask.dtype != "boolean":
        raise ColumnError(
            f"the condition {where[:_SHOWN]!r} is {'text' if mask.dtype == 'str' else 'a number'}",
            where="--where",
            expected="a truth value, such as a comparison",
        )
    missing = int(mask.isna().sum())
    notes = [f"{missing:,} records lack a value of the condition, and are left out"] if missing else []
    return mask.fillna(False).to_numpy(bool), notes


def _restricted(model: HeldModel, chosen: NDArray[np.bool_], where: str | None, kernel: str) -> HeldModel:
    """Return a model with some of its records; the others join the layers that have none."""
    record = model.entry.record
    if record is None or chosen.all():
        return model
    reason = f"left out of this subset: {(where or '')[:_SHOWN]}"
    left = [layer for layer, kept in zip(record.layers, chosen, strict=True) if not kept]
    skipped = [SkippedLayer(layer.name, layer.op_type, kernel, reason) for layer in left]
    layers = tuple(layer for layer, kept in zip(record.layers, chosen, strict=True) if kept)
    rows = tuple(rows for rows, kept in zip(model.rows, chosen, strict=True) if kept)
    smaller = replace(record, layers=layers, skipped=(*record.skipped, *skipped))
    return replace(model, entry=replace(model.entry, record=smaller), rows=rows)
