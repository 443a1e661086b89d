"""The place of a folder that a stage writes: held while it is prepared, and never taken from anybody else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filterdb.errors import FilterDBError, OutputError, UsageError
from filterdb.run import files

MANIFEST: Final = "manifest.json"
FORMAT: Final = "filterdb results"
STAGED: Final = "results"
"""The name of the folder that is prepared, within the working folder."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder that a stage writes as a whole, with a manifest that says what is in it.

    Parameters
    ----------
    format
        What the manifest states.
    noun
        What the folder is called in messages.
    command
        What writes it.
    """

    format: str
    noun: str
    command: str


RESULTS: Final = Kind(FORMAT, "results folder", "filterdb analyze")


@contextlib.contextmanager
def held(out: Path, kind: Kind = RESULTS) -> Iterator[Path]:
    """Hold the place where a folder is prepared, so that no other run does, and find out what is in the way.

    Parameters
    ----------
    out
        The folder.
    kind
        What is going to be there.

    Raises
    ------
    OutputError
        If nothing can be written there, or another run does.
    """
    # Where the name is a link, what it leads to is replaced, and not the link.
    out = out.resolve()
    with files.exclusive_folder(_staging(out), purpose=str(out)) as staging:
        require_replaceable(out, kind)
        with files.writing(out):
            _empty(staging)
        try:
            yield staging
        finally:
            files.discard(staging)


def tidy(out: Path, kind: Kind = RESULTS) -> None:
    """Remove what an interrupted run has left beside a folder that is complete.

    Parameters
    ----------
    out
        The folder.
    kind
        What it is.
    """
    if _staging(out.resolve()).exists():
        with contextlib.suppress(FilterDBError), held(out, kind):
            pass


def require_replaceable(out: Path, kind: Kind = RESULTS) -> None:
    """Refuse to replace a folder that holds anything but ours: it may be the only copy of something.

    Parameters
    ----------
    out
        What is going to be replaced, if it is there.
    kind
        What it has to be.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError("this is a file", where=out, expected="the name of a folder")
    with files.writing(out):
        found = files_in(out)
    manifest = files.read_json(out / MANIFEST)
    if found and manifest.get("format") != kind.format:
        raise UsageError(
            f"the folder is there already, and is no {kind.noun}: it holds {found[0]!r}",
            where=out,
            expected=f"a new name, or a folder that {kind.command} has written",
            hint="name another --out",
        )
    if foreign := sorted(set(found) - set(manifest.get("files", ()))):
        raise UsageError(
            f"the {kind.noun} holds what filterdb has not written: {foreign[0]!r}",
            where=out,
            expected="nothing that would be lost when it is replaced",
            hint="move it elsewhere, or name another --out",
        )


def _staging(out: Path) -> Path:
    return out.with_name(f"{out.name}.staging")


def files_in(folder: Path) -> list[str]:
    """Return the paths of all files of a folder, within it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _empty(staging: Path) -> None:
    """Remove what an interrupted run left; what no run of ours has put there stays."""
    files.refuse_foreign(staging, (STAGED,))
    files.discard_content(staging)
