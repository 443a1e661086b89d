"""The folder that probing a zoo writes: tables of models and layers, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pandas as pd

from filterdb.errors import CorruptDataError, NotADatasetError, UsageError
from filterdb.run import files
from filterdb.run.place import MANIFEST, Kind, files_in, require_replaceable

PROBES: Final = Kind("filterdb probes", "folder of probes", "filterdb probe")
FORMAT_VERSION: Final = 1

NEW: Final = "new"
"""What the folder is called while it is prepared."""

_TABLES: Final = ("models", "layers", "skipped")


@dataclass(frozen=True, slots=True)
class ZooProbe:
    """What a probe found in the models of a zoo.

    Parameters
    ----------
    models
        One row a model file, those that could not be probed too.
    layers
        The tidy tables of all models, one below the other: a row a layer, or for CKA a pair of layers.
    skipped
        Layers that could not be looked at.
    manifest
        What it was made from, and how.
    """

    models: pd.DataFrame
    layers: pd.DataFrame
    skipped: pd.DataFrame
    manifest: Mapping[str, Any]

    @property
    def what(self) -> str:
        """The probe: ``cka``, ``saturation`` or ``sparsity``."""
        return str(self.manifest["what"])

    @property
    def column(self) -> str:
        """The column of :attr:`layers` that the probe is about."""
        return "alpha" if self.what == "sparsity" else self.what

    @property
    def key(self) -> str:
        """A hash of all that it was made from, but for the models."""
        return str(self.manifest["key"])


def save(found: ZooProbe, out: Path, staging: Path) -> None:
    """Write a folder; until it is complete, the old one stands.

    Parameters
    ----------
    found
        What to write.
    out
        The folder.
    staging
        A working folder beside it.
    """
    out = out.resolve()
    with files.writing(out):
        require_replaceable(out, PROBES)
        new = staging / NEW
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for name in _TABLES:
            getattr(found, name).to_parquet(new / f"{name}.parquet", index=False)
        found.layers.to_csv(new / "layers.csv", index=False, lineterminator="\n", errors="backslashreplace")
        content = {name: sha256((new / f"{name}.parquet").read_bytes()).hexdigest() for name in _TABLES}
        marks = {"format": PROBES.format, "format_version": FORMAT_VERSION, "content": content}
        written = {"files": [MANIFEST, *files_in(new)]}
        files.write_json(new / MANIFEST, {**found.manifest, **marks, **written})
        files.replace_folder(new, out)


def require_same_probe(out: Path, what: str, other: Path | None) -> None:
    """Refuse to replace what another probe has found, or the same one with another second model.

    Parameters
    ----------
    out
        The folder, if it is there.
    what
        The probe that is going to write it.
    other
        The model that each one is going to be compared with, if any.

    Raises
    ------
    UsageError
        If something else would be lost.
    """
    manifest = files.read_json(out / MANIFEST)
    held, settings = manifest.get("what"), manifest.get("settings")
    if manifest.get("format") != PROBES.format or not isinstance(settings, Mapping):
        return
    theirs = settings.get("b")
    if held == what and _same_path(theirs, other):
        return
    raise UsageError(
        f"the folder holds another probe: {_called(str(held), theirs)}, not {_called(what, other)}",
        where=out,
        expected="a folder of its own for each probe",
        hint="name another --out, or replace what is there with --force",
    )


def _same_path(a: object, b: object) -> bool:
    if a is None or b is None:
        return a is b
    return Path(str(a)).resolve() == Path(str(b)).resolve()


def _called(what: str, other: object) -> str:
    if what != "cka":
        return what
    return f"{what} of each model with {'itself' if other is None else other}"


def load(folder: Path) -> ZooProbe:
    """Read what probing a zoo has written.

    Parameters
    ----------
    folder
        The folder.

    Raises
    ------
    NotADatasetError
        If it is no such folder, or of another format version.
    CorruptDataError
        If something in it is missing or damaged.
    """
    manifest = files.read_json(folder / MANIFEST)
    if manifest.get("format") != PROBES.format:
        found = f"this is no {PROBES.noun}" if folder.exists() else "no such folder"
        raise NotADatasetError(found, where=folder, hint=f"{PROBES.command} saturation ZOO writes one")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise NotADatasetError(
            f"probes of format version {manifest.get('format_version')!r}",
            where=folder,
            expected=f"format version {FORMAT_VERSION}",
            hint="use the filterdb that wrote them, or probe the zoo again",
        )
    try:
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        probe = ZooProbe(**tables, manifest=manifest)
        _ = probe.what, probe.key, probe.models[["model", "sha256", "status", "crashed"]]
    except (OSError, ValueError, KeyError) as error:
        raise CorruptDataError(
            f"the folder is damaged: {error}", where=folder, hint=f"{PROBES.command} writes it again"
        ) from error
    return probe
