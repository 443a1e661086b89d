"""The stage that makes one data set file of several."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from filterdb import schema
from filterdb.errors import MetadataError, UsageError
from filterdb.extract.discover import relative_stem
from filterdb.run.exchange.derive import DeriveReport, Made, derive, listed, open_own
from filterdb.run.exchange.unify import unified
from filterdb.store import DatasetFile, Tables
from filterdb.store.recombine import HeldModel, filters_of, held_models, lay_out, metadata_of
from filterdb.text import clean_text


def merge(
    paths: Sequence[Path],
    out: Path,
    *,
    keep_duplicates: bool = False,
    compression: str = "none",
    force: bool = False,
) -> DeriveReport:
    """Write a data set file of all models of several.

    Parameters
    ----------
    paths
        The data set files; where they share a model, the first of them counts.
    out
        The file to write.
    keep_duplicates
        Keep a model once for each file that has it, rather than once.
    compression, force
        As for :func:`filterdb.run.exchange.derive.derive`.

    Raises
    ------
    UsageError
        If the files hold kernels of different sizes, or one model with different layers.
    """
    if not paths:
        raise UsageError("no data set file is given", hint="filterdb merge a.h5 b.h5 --out c.h5")
    with ExitStack() as stack:
        files = [open_own(path, stack, purpose="it cannot be merged") for path in paths]
        _require_one_kernel(files)
        operation = {
            "name": "merge",
            "keep_duplicates": keep_duplicates,
            # The names may become part of the models' names.
            "sources": [[file.path.stem, file.content_hash] for file in files],
        }
        return derive(
            out,
            lambda: _make(files, keep_duplicates=keep_duplicates),
            operation=operation,
            sources=paths,
            compression=compression,
            force=force,
        )


def _require_one_kernel(files: Sequence[DatasetFile]) -> None:
    first = files[0]
    for file in files:
        if file.kernel != first.kernel:
            raise UsageError(
                f"the file holds {file.kernel} filters, and {first.path} holds {first.kernel}",
                where=file.path,
                expected="files of one kernel size",
                hint="merge the files of each size on their own",
            )


@dataclass(frozen=True, slots=True)
class _Found:
    """A model, and which of the files, counted from 0, it is in."""

    number: int
    model: HeldModel
    has_metadata: bool

    @property
    def identity(self) -> Hashable:
        """The same for models of the same bytes; what could not be read at all is known by its place."""
        entry = self.model.entry
        sha256 = entry.record.sha256 if entry.record else entry.sha256
        return sha256 or (entry.name, entry.relpath, entry.reason)

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Low for the file that knows most of the model."""
        entry = self.model.entry
        return (entry.record is None, entry.crashed, not self.has_metadata, self.number)


def _make(files: Sequence[DatasetFile], *, keep_duplicates: bool) -> Made:
    found = [
        _Found(number, model, model.entry.has_metadata)
        for number, file in enumerate(files)
        for model in held_models(file)
    ]
    notes: list[str] = []
    if not keep_duplicates:
        found = _once(found, notes)
    found = _renamed(found, notes)
    found.sort(key=lambda one: one.model.entry.name)
    tables = _tables(files, found, notes)
    return Made(
        tables,
        filters_of([one.model for one in found]),
        files[0].kernel,
        _attributes(files, notes),
        tuple(notes),
    )


def _tables(files: Sequence[DatasetFile], found: Sequence[_Found], notes: list[str]) -> Tables:
    parts = []
    for number, file in enumerate(files):
        rows = [(place, one.model.model_id) for place, one in enumerate(found) if one.number == number]
        frame = metadata_of(file.tables.models).iloc[[model_id for _, model_id in rows]]
        parts.append((file.path, frame.set_axis([place for place, _ in rows])))
    metadata = unified(parts, len(found), notes)
    where = ", ".join(str(file.path) for file in files)
    schema.check_metadata_columns(metadata.columns, where=where)
    try:
        return lay_out([one.model for one in found], metadata)
    except MetadataError as error:
        error.where = where
        raise


def _once(found: Sequence[_Found], notes: list[str]) -> list[_Found]:
    """Keep each model of the file that knows most of it; what one file has twice, it keeps twice."""
    best: dict[Hashable, _Found] = {}
    for one in found:
        if one.identity not in best or one.rank < best[one.identity].rank:
            best[one.identity] = one
    kept = [one for one in found if one.number == best[one.identity].number]
    repeated: dict[str, None] = {}
    for one in found:
        if one.number != (chosen := best[one.identity]).number:
            _require_same_layers(chosen.model, one.model)
            repeated[chosen.model.entry.name] = None
    if repeated:
        notes.append(f"models that more than one file has, kept once: {listed(list(repeated))}")
        differing = _differing(found, best)
        if differing:
            notes.append(f"their metadata differ, and one file's are kept: {listed(differing)}")
    return kept


def _require_same_layers(kept: HeldModel, left: HeldModel) -> None:
    ours, theirs = kept.entry.record, left.entry.record
    if ours is None or theirs is None or ours.layers == theirs.layers:
        return
    raise UsageError(
        f"the model {kept.entry.name} has other layers in another file "
        f"({len(ours.layers)} and {len(theirs.layers)}): one of them is a subset, or of another version",
        where=f"{kept.file.path} and {left.file.path}",
        expected="the same layers of the same model",
        hint="leave it out of one of them with filterdb subset --models, or keep both with --keep-duplicates",
    )


def _differing(found: Sequence[_Found], best: dict[Hashable, _Found]) -> list[str]:
    """Name the models of which a file that is not kept says something else."""
    names: dict[str, None] = {}
    for one in found:
        chosen = best[one.identity]
        if one.number != chosen.number and one.has_metadata:
            ours, theirs = (_metadata_row(model) for model in (chosen.model, one.model))
            shared = ours.keys() & theirs.keys()
            if any(ours[name] != theirs[name] for name in shared):
                names[chosen.model.entry.name] = None
    return list(names)


def _metadata_row(model: HeldModel) -> dict[str, object]:
    row = metadata_of(model.file.tables.models).iloc[model.model_id]
    return {str(name): None if pd.isna(cell) else cell for name, cell in row.to_dict().items()}


def _renamed(found: Sequence[_Found], notes: list[str]) -> list[_Found]:
    """Name models apart that share a name, as an extraction of their zoos would."""
    names = [one.model.entry.name for one in found]
    for longer in (_within_zoo, _with_file, _with_suffix, _with_number):
        counts = Counter(names)
        names = [name if counts[name] == 1 else longer(one) for name, one in zip(names, found, strict=True)]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UsageError(
            f"two models have the one name {twice!r}", hint="merge the files one after the other"
        )
    changed = [
        f"{one.model.entry.name} is {name}"
        for name, one in zip(names, found, strict=True)
        if name != one.model.entry.name
    ]
    if changed:
        notes.append(f"different models of one name, named apart: {listed(changed)}")
    return [
        replace(one, model=replace(one.model, entry=replace(one.model.entry, name=name)))
        for name, one in zip(names, found, strict=True)
    ]


def _within_zoo(one: _Found) -> str:
    return relative_stem(one.model.entry.relpath)


def _with_file(one: _Found) -> str:
    return f"{_stem(one.model.file.path)}/{_within_zoo(one)}"


def _with_suffix(one: _Found) -> str:
    return _with_file(one) + PurePosixPath(one.model.entry.relpath).suffix


def _with_number(one: _Found) -> str:
    return f"{one.number + 1}/{_with_suffix(one)}"


def _stem(path: Path) -> str:
    return clean_text(os.fsencode(path.stem).decode("utf-8", "backslashreplace"))


def _attributes(files: Sequence[DatasetFile], notes: list[str]) -> dict[str, int]:
    """Return the optional attributes that all files agree on."""
    attributes: dict[str, int] = {}
    for name in schema.OPTIONAL_ATTRIBUTES:
        values = {file.attributes.get(name) for file in files}
        if len(values) == 1 and None not in values:
            attributes[name] = int(files[0].attributes[name])
        elif len(values) > 1:
            notes.append(f"the files are of different {name}s, and the new one states none")
    return attributes
