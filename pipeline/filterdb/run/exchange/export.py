"""The stage that turns a data set file into a folder of Parquet files that a hub can take as it is."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import filterdb
from filterdb import schema
from filterdb.errors import CorruptDataError, OutputError, UsageError, printable
from filterdb.run import files
from filterdb.run.analysis import results
from filterdb.run.progress import Progress, progress
from filterdb.run.scanning.buffers import thread_buffer
from filterdb.store import DatasetFile, PublishedFile, open_dataset
from filterdb.store.cards import Card, render
from filterdb.store.hashing import content_hash
from filterdb.store.parquet import MAX_WIDTH, Piece, write_filters, write_table
from filterdb.store.recombine import read_intact, require_intact_tables
from filterdb.types import RowRange

MANIFEST: Final = "dataset.json"
CARD: Final = "README.md"
FORMAT: Final = "filterdb export"
FORMAT_VERSION: Final = 1
TABLES: Final = ("meta", "models", "skipped")

_STAGED: Final = "export"
_LONGEST: Final = 200
_OURS: Final = re.compile(
    r"dataset\.json|README\.md|(meta|models|skipped|layers)\.parquet|filters/model_id=\d+/part-0\.parquet"
)


def part_name(model_id: int) -> str:
    """Return where the filters of a model are within an export."""
    return f"filters/model_id={model_id}/part-0.parquet"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Parameters
    ----------
    action
        ``"fresh"`` where the folder was up to date already.
    out
        The folder.
    content_hash
        Of the data set.
    filters, models, bytes
        Filters, models that have any, and bytes of the whole folder.
    license
        Licence that the card states.
    importable
        Whether ``filterdb import`` can make the data set file of it again.
    """

    action: Literal["exported", "fresh"]
    out: Path
    content_hash: str
    filters: int
    models: int
    bytes: int
    license: str
    importable: bool


def export(
    path: Path,
    out: Path,
    *,
    results_folder: Path | None = None,
    license: str = "other",  # noqa: A002 - what hubs call it
    title: str | None = None,
    force: bool = False,
) -> ExportReport:
    """Write a data set file as Parquet, with a card.

    Parameters
    ----------
    path
        The data set file, ours or a published one.
    out
        The folder to write.
    results_folder
        Results of the data set, whose metrics of every layer are written too.
    license
        Licence of the weights, which nobody but the user can know.
    title
        Name of the data set on the card; the name of the file where not given.
    force
        Write again what is there already.

    Raises
    ------
    UsageError
        If the place is taken by something that is not ours to replace.
    NotADatasetError
        If the results are those of another data set.
    """
    title = printable(path.stem)[:_LONGEST] if title is None else title
    for what, text in (("licence", license), ("title", title)):
        if not text.strip() or not text.isprintable() or len(text) > _LONGEST:
            raise UsageError(
                f"the {what} is {text[:50]!r}", expected=f"one line of 1 to {_LONGEST} characters"
            )
    with open_dataset(path) as file:
        _check(file)
        # Where the name is a link, what it leads to is replaced, and not the link.
        job = _Export(file, out.resolve(), _layers(file, results_folder), license, title)
        return replace(job.run(force=force), out=out)


@dataclass(frozen=True)
class _Export:
    """What is to be written, and where."""

    file: DatasetFile
    out: Path
    layers: pd.DataFrame | None
    license: str
    title: str

    def run(self, *, force: bool) -> ExportReport:
        """Write the folder unless it is there already, and say which."""
        with files.writing(self.out):
            self.out.parent.mkdir(parents=True, exist_ok=True)
        with _held(self.out) as new:
            _require_replaceable(self.out)
            if not force and self.is_fresh():
                return self.report("fresh")
            self.write(new)
            files.replace_folder(new, self.out)
        return self.report("exported")

    @cached_property
    def card(self) -> str:
        return render(
            Card(
                self.title,
                self.license,
                self.file.tables,
                self.file.kernel,
                self.file.n_filters,
                self.file.content_hash,
                () if self.layers is None else tuple(map(str, self.layers.columns)),
            )
        )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        stated = {name: value for name, value in self.file.attributes.items() if name != "content_hash"}
        hashed = {name: content_hash({}, {name: frame}) for name, frame in self._frames().items()}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "filterdb": filterdb.__version__,
            "content_hash": self.file.content_hash,
            "dataset": stated,
            "tables": hashed,
            "card_sha256": _sha256(self.card.encode()),
        }

    def _frames(self) -> dict[str, pd.DataFrame]:
        return self.file.tables.by_name() | ({} if self.layers is None else {"layers": self.layers})

    def _model_ids(self) -> list[int]:
        return [int(model_id) for model_id in self.file.tables.meta.index.unique("model_id")]

    def is_fresh(self) -> bool:
        """Tell whether the folder is what would be written; its parts are looked for, not read."""
        names = [*(f"{name}.parquet" for name in self._frames()), CARD, *map(part_name, self._model_ids())]
        stated = files.read_json(self.out / MANIFEST)
        return stated == self.manifest and sorted(_files(self.out)) == sorted([*names, MANIFEST])

    def write(self, new: Path) -> None:
        """Write the folder; the manifest comes last."""
        with files.writing(new):
            files.require_free(new.parent, self.file.n_filters * self.file.kernel.size * 4)
            new.mkdir()
            for name, frame in self._frames().items():
                write_table(frame, new / f"{name}.parquet")
            with progress("export", self.file.n_filters, "filters") as bar:
                rows_of = self.file.tables.meta.groupby(level="model_id", sort=True).indices
                for model_id in self._model_ids():
                    part = new / part_name(model_id)
                    part.parent.mkdir(parents=True)
                    write_filters(
                        part, self._pieces(np.asarray(rows_of[model_id]), bar), self.file.kernel.size
                    )
            (new / CARD).write_text(self.card, "utf-8")
            files.write_json(new / MANIFEST, self.manifest)

    def _pieces(self, rows: NDArray[np.int64], bar: Progress) -> Iterator[Piece]:
        """Read the filters of a model's records, which a published file may hold anywhere."""
        meta, width = self.file.tables.meta, self.file.kernel.size
        height = schema.chunk_rows(schema.CHUNK_ROWS, width)
        buffer = thread_buffer(height, width)
        names = ("model", "layer_name", "filter_start", "filter_end", "weights_sha256")
        columns = [meta[name].iloc[rows].tolist() for name in names]
        layer_ids = meta.index.get_level_values("layer_id")[rows].tolist()
        for layer_id, model, layer, start, end, sha256 in zip(layer_ids, *columns, strict=True):
            known = sha256 if isinstance(sha256, str) else None
            label, first = f"model {model}, layer {layer}", start
            for block in read_intact(self.file, RowRange(start, end), known, label, buffer):
                yield Piece(first, layer_id, block)
                first += len(block)
                bar.advance(len(block))

    def report(self, action: Literal["exported", "fresh"]) -> ExportReport:
        """Say what was done."""
        return ExportReport(
            action,
            self.out,
            self.file.content_hash,
            self.file.n_filters,
            len(self._model_ids()),
            sum((self.out / name).stat().st_size for name in _files(self.out)),
            self.license,
            not isinstance(self.file, PublishedFile),
        )


def _check(file: DatasetFile) -> None:
    if not isinstance(file, PublishedFile):
        require_intact_tables(file)
    if file.kernel.size > MAX_WIDTH:
        raise UsageError(
            f"the filters have {file.kernel.size:,} values, and each would be a column",
            where=file.path,
            expected=f"{MAX_WIDTH:,} at most",
        )


def _layers(file: DatasetFile, folder: Path | None) -> pd.DataFrame | None:
    """Read the metrics of every layer, if results are given, and they are those of this data set."""
    if folder is None:
        return None
    results.require_results(folder, dataset=file.content_hash)
    path = folder / "layers.parquet"
    try:
        layers = results.read_table(path, most_rows=len(file.tables.meta))
        if not layers.index.equals(file.tables.meta.index):
            raise ValueError("its rows are not those of /meta")
    except (OSError, ValueError) as error:
        raise CorruptDataError(
            f"the results are damaged: {error}", where=path, hint="filterdb analyze writes them again"
        ) from error
    return layers


@contextlib.contextmanager
def _held(out: Path) -> Iterator[Path]:
    """Hold the working folder, and give the name of the folder to write in it."""
    with files.exclusive_folder(out.with_name(f"{out.name}.staging"), purpose=str(out)) as staging:
        new = staging / _STAGED
        try:
            shutil.rmtree(new, ignore_errors=True)
            yield new
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if [path.name for path in staging.iterdir()] == [files.LOCK]:
                files.discard(staging)


def _require_replaceable(out: Path) -> None:
    """Refuse to replace a folder that is not an export and nothing else: it may hold somebody's only copy."""
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError("this is a file", where=out, expected="the name of a folder")
    with files.writing(out):
        found = _files(out)
        card = _sha256((out / CARD).read_bytes()) if CARD in found else None
    manifest = files.read_json(out / MANIFEST)
    if found and manifest.get("format") != FORMAT:
        raise UsageError(
            f"the folder is there already, and is no export: it holds {found[0]!r}",
            where=out,
            expected="a new name, or a folder that filterdb export has written",
            hint="name another --out",
        )
    foreign = sorted(name for name in found if not _OURS.fullmatch(name))
    if card is not None and card != manifest.get("card_sha256"):
        foreign.insert(0, CARD)
    if foreign:
        raise UsageError(
            f"the folder holds what filterdb has not written so: {foreign[0]!r}",
            where=out,
            expected="nothing that would be lost when the export is replaced",
            hint="move it elsewhere, or name another --out",
        )


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
