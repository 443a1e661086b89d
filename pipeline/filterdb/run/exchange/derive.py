"""Data set files made of other files: never in the place of something foreign, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import filterdb
from filterdb.config import RunConfig
from filterdb.errors import FilterDBError, UsageError
from filterdb.run import files, provenance
from filterdb.run.extraction.previous import require_replaceable
from filterdb.run.progress import progress
from filterdb.store import DatasetFile, PublishedFile, PublishedPart, Tables, open_dataset, write_dataset
from filterdb.types import Filters, Kernel

COMPRESSIONS: Final = ("none", "gzip")
_TEMPORARY: Final = "derived.h5.tmp"
_SHOWN: Final = 5

Action = Literal["written", "fresh"]


@dataclass(frozen=True, slots=True)
class Made:
    """What a new data set file is to hold.

    Parameters
    ----------
    tables
        Its tables.
    blocks
        Its filters, in blocks of any height.
    kernel
        Their size.
    attributes
        Values of :data:`filterdb.schema.OPTIONAL_ATTRIBUTES`.
    notes
        What went another way than expected.
    """

    tables: Tables
    blocks: Iterable[Filters]
    kernel: Kernel
    attributes: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def n_bytes(self) -> int:
        """What the filters take in the file, if it is not compressed."""
        return self.tables.n_filters * self.kernel.size * 4

    def write(self, path: Path, *, compression: str | None, advance: Callable[[float], None]) -> str:
        """Write the file and return its content hash.

        Parameters
        ----------
        path
            The file, overwritten.
        compression
            ``None`` or ``"gzip"``.
        advance
            Told of each block how many filters it has.
        """
        return write_dataset(
            path,
            self.tables,
            _counted(self.blocks, advance),
            kernel=self.kernel,
            compression=compression,
            attributes=self.attributes,
        )


@dataclass(frozen=True, slots=True)
class MadePublished:
    """What a new file in the layout of a published one is to hold.

    Parameters
    ----------
    part
        The records of the published file.
    tables
        What they are read as.
    made_by
        What was asked for.
    notes
        What went another way than expected.
    """

    part: PublishedPart
    tables: Tables
    made_by: str
    notes: tuple[str, ...] = ()

    @property
    def n_bytes(self) -> int:
        """What the filters take in the file, if it is not compressed."""
        return self.part.n_bytes

    def write(self, path: Path, *, compression: str | None, advance: Callable[[float], None]) -> str:
        """Write the file and return what it will be recognized by.

        Parameters
        ----------
        path, compression, advance
            As for :meth:`Made.write`.
        """
        self.part.write(path, made_by=self.made_by, compression=compression, advance=advance)
        with PublishedFile(path) as file:
            return file.content_hash


@dataclass(frozen=True, slots=True)
class DeriveReport:
    """What a stage that makes a data set file of others did.

    Parameters
    ----------
    action
        ``"fresh"`` where the file was up to date already.
    path
        The file.
    tables, content_hash
        What it holds.
    operation
        What was asked for.
    notes
        What went another way than expected.
    """

    action: Action
    path: Path
    tables: Tables
    content_hash: str
    operation: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def derive(
    out: Path,
    make: Callable[[], Made | MadePublished],
    *,
    operation: Mapping[str, Any],
    sources: Sequence[Path],
    compression: str = "none",
    force: bool = False,
) -> DeriveReport:
    """Write a data set file that is made of others, unless it is there already.

    Parameters
    ----------
    out
        The file. It is at every moment absent, the old file or the new one.
    make
        Makes the content; called only if there is something to do.
    operation
        What decides the content, as plain data: ``name`` says which stage it is.
    sources
        What it is made from, and must not overwrite.
    compression
        ``"none"`` or ``"gzip"``.
    force
        Replace a data set file that some other stage has written.

    Raises
    ------
    UsageError
        If the place is taken by something that is not ours to replace.
    OutputError
        If it cannot be written to.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"the compression is {compression!r}", expected=" or ".join(COMPRESSIONS))
    _refuse_sources(out, sources)
    files.require_place(out)
    full = {**operation, "compression": compression, "filterdb": filterdb.__version__}
    inputs = hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()
    with _held(out) as staging:
        stated = files.read_json(provenance.sidecar(out))
        if fresh := _fresh(out, stated, inputs):
            return DeriveReport("fresh", out, *fresh, full, tuple(stated.get("notes", ())))
        _require_own(out, stated, str(operation["name"]), force=force)
        made = make()
        digest = _write(made, out, staging / _TEMPORARY, compression)
        _put(
            staging / _TEMPORARY, out, made, {"content_hash": digest, "inputs_hash": inputs, "made_by": full}
        )
    return DeriveReport("written", out, made.tables, digest, full, made.notes)


@contextlib.contextmanager
def _held(out: Path) -> Iterator[Path]:
    """Hold the folder that an extraction to the same file would hold, and leave of it what was there."""
    with files.exclusive_folder(out.with_name(f"{out.name}.staging"), purpose=str(out)) as staging:
        temporary = staging / _TEMPORARY
        temporary.unlink(missing_ok=True)
        try:
            yield staging
        finally:
            temporary.unlink(missing_ok=True)
            # What an interrupted extraction has staged is worth keeping.
            if [path.name for path in staging.iterdir()] == [files.LOCK]:
                files.discard(staging)


def _refuse_sources(out: Path, sources: Sequence[Path]) -> None:
    for source in sources:
        with contextlib.suppress(OSError):
            if out.samefile(source):
                raise UsageError(
                    "the output is one of the files that are read", where=out, hint="name another --out"
                )


def _fresh(out: Path, stated: Mapping[str, Any], inputs: str) -> tuple[Tables, str] | None:
    if stated.get("inputs_hash") != inputs or not out.exists():
        return None
    with contextlib.suppress(FilterDBError), open_dataset(out) as file:
        if file.content_hash == stated.get("content_hash"):
            return file.tables, file.content_hash
    return None


def _require_own(out: Path, stated: Mapping[str, Any], name: str, *, force: bool) -> None:
    """Refuse to replace a data set that this stage has not written: it may have taken hours to extract."""
    if not out.exists():
        return
    made_by = stated.get("made_by")
    ours = isinstance(made_by, dict) and made_by.get("name") == name
    found = _content_hash(out)
    if ours and found is not None and found in (stated.get("content_hash"), stated.get("replaces")):
        return
    require_replaceable(out)
    # A damaged file has no hash to tell, and nothing to lose.
    if not (force or (ours and found is None)):
        raise UsageError(
            f"the file is there already, and filterdb {name} has not written it",
            where=out,
            expected="a new name",
            hint="name another --out, or replace it with --force",
        )


def _content_hash(path: Path) -> str | None:
    with contextlib.suppress(FilterDBError), open_dataset(path) as file:
        return file.content_hash
    return None


def _provenance() -> dict[str, Any]:
    return {name: value for name, value in provenance.of_run(RunConfig()).items() if name != "config"}


def _write(made: Made | MadePublished, out: Path, temporary: Path, compression: str) -> str:
    rows = made.tables.n_filters
    if compression == "none":
        files.require_space(temporary, made.n_bytes)
    with files.writing(out), progress("write", rows, "filters") as bar:
        packed = None if compression == "none" else compression
        return made.write(temporary, compression=packed, advance=bar.advance)


def _put(temporary: Path, out: Path, made: Made | MadePublished, known: Mapping[str, Any]) -> None:
    """Give the finished file its name, and say beside it what it is made of."""
    sidecar = {
        **known,
        "replaces": _content_hash(out),
        "notes": list(made.notes),
        "provenance": _provenance(),
    }
    # First, so that a run that is killed between the two finds out that the file is its own.
    files.write_json(provenance.sidecar(out), sidecar)
    with files.writing(out):
        files.sync_and_move(temporary, out)


def _counted(blocks: Iterable[Filters], advance: Callable[[float], None]) -> Iterator[Filters]:
    for block in blocks:
        yield block
        advance(len(block))


def open_own(path: Path, stack: contextlib.ExitStack, *, purpose: str) -> DatasetFile:
    """Open a data set file of our own format, which a published file is not.

    Parameters
    ----------
    path
        The file.
    stack
        Closes it.
    purpose
        What is to be done, for the message.
    """
    file = stack.enter_context(open_dataset(path))
    if isinstance(file, PublishedFile):
        raise UsageError(
            f"this is a published file, and {purpose}",
            where=path,
            expected="a data set file that filterdb has written",
            hint="it knows no hash and no shape of its layers; analyze, subset and export read it as it is",
        )
    return file


def listed(names: Sequence[str]) -> str:
    """Return as many names as a note has room for."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
