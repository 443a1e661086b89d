"""What a worker process does for a zoo: one model in, what a probe found in it out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from filterdb.errors import FilterDBError, MissingPackageError, OutputError
from filterdb.onnxgraph import open_model
from filterdb.probe import alpha, scoring, similarity, variance
from filterdb.probe.extras import require
from filterdb.probe.options import Options
from filterdb.types import still_hold

What: TypeAlias = Literal["cka", "saturation", "sparsity"]
Result: TypeAlias = similarity.CKAResult | variance.SaturationResult | alpha.SparsityResult

WHATS: Final[tuple[What, ...]] = get_args(What)

_PROBES: Final[Mapping[str, Callable[..., Result]]] = {
    "cka": similarity.cka,
    "saturation": variance.saturation,
    "sparsity": alpha.sparsity,
}


@dataclass(frozen=True, slots=True)
class Task:
    """One model to probe, as it is sent to a worker.

    Parameters
    ----------
    path
        The model.
    staging
        The folder that what is found goes to, on a file system that all workers share.
    what
        The probe.
    key
        A hash of all that the outcome depends on, but for the model.
    options
        Passed on to the probe.
    """

    path: Path
    staging: Path
    what: str
    key: str
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a model.

    Parameters
    ----------
    sha256
        Its identity; empty where the file could not be read.
    size
        Its bytes, external data included.
    reason
        Why it has no result; empty where it has.
    reused
        It was known already, or an earlier run that was interrupted has left its result.
    crashed
        It failed because its process died, hung or ran out of memory, which another try may change.
    """

    sha256: str
    size: int
    reason: str = ""
    reused: bool = False
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What a probe found in one model, as plain data.

    Parameters
    ----------
    rows
        Rows of data that were used.
    totals
        What it says of the model as a whole.
    table
        The columns of the tidy table.
    skipped
        Layers that could not be looked at: name, operator and reason of each.
    """

    rows: int
    totals: Mapping[str, float]
    table: Mapping[str, list[Any]]
    skipped: tuple[tuple[str, str, str], ...]


def probe_of(what: str) -> Callable[..., Result]:
    """Return the function that a probe is."""
    return _PROBES[what]


def require_options(what: What, options: Mapping[str, Any]) -> None:
    """Refuse what no model could be probed with.

    Raises
    ------
    UsageError
        If an option is unknown or of a wrong value.
    MissingPackageError
        If a package that probes need is not installed.
    """
    names = {"layers", *Options.__annotations__}
    known = {name: value for name, value in options.items() if name in names}
    if what == "saturation":
        variance.checked(**known, **{name: options[name] for name in ("delta", "pooling", "rule", "steps")})
    elif what == "sparsity":
        alpha.checked(**known, own={name: options[name] for name in scoring.SETTINGS})
    else:
        similarity.checked(**known)
    for package in ("onnxruntime", "sklearn", "PIL"):
        require(package)


def run(task: Task) -> Outcome:
    """Probe one model, unless that was done before.

    A model or data that cannot be used is an outcome, not an exception. A place that cannot be written to,
    and a package that is not there, are exceptions: no other model could be probed either.
    """
    sha256, size = "", 0
    try:
        with open_model(task.path) as model:
            sha256, size, stamps = model.sha256, model.size, model.stamps
        if sha256 in _known(task) or read_part(task.staging, sha256, task.key) is not None:
            return Outcome(sha256, size, reused=True)
        result = probe_of(task.what)(task.path, **dict(task.options))
    except (OutputError, MissingPackageError):
        raise
    except FilterDBError as error:
        return Outcome(sha256, size, error.reason)
    if not still_hold(stamps, task.path):
        # What was found would stand under the identity of what was there before.
        return Outcome("", size, "the file changed while it was read; run again", crashed=True)
    _write_part(task, sha256, result)
    return Outcome(sha256, size)


def read_part(staging: Path, sha256: str, key: str) -> Part | None:
    """Return what a run has found in a model, if it has come to an end.

    Parameters
    ----------
    staging
        The folder.
    sha256
        Identity of the model.
    key
        A hash of all else that it depends on.
    """
    try:
        found = json.loads(part_path(staging, sha256, key).read_text("utf-8"))
        skipped = tuple((name, op, reason) for name, op, reason in found["skipped"])
        return Part(found["rows"], dict(found["totals"]), dict(found["table"]), skipped)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def known_path(staging: Path) -> Path:
    """Return the list of models that need not be probed, by their identity."""
    return staging / "known.json"


def part_path(staging: Path, sha256: str, key: str) -> Path:
    """Return where what was found in a model is kept until the run is complete."""
    return staging / f"{sha256}-{key[:16]}.part"


def _known(task: Task) -> frozenset[str]:
    path = known_path(task.staging)
    try:
        return _read_known(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise OutputError(
            f"a worker does not see the working folder: {error.strerror}",
            where=task.staging,
            expected="a file system that all workers share",
        ) from error


@lru_cache(maxsize=1)
def _read_known(path: Path, changed: int) -> frozenset[str]:  # noqa: ARG001 - a worker may outlive a run
    return frozenset(json.loads(path.read_text("utf-8")))


def _write_part(task: Task, sha256: str, result: Result) -> None:
    path = part_path(task.staging, sha256, task.key)
    found = {
        "rows": result.rows,
        "totals": result.totals(),
        "table": result.to_frame().to_dict("list"),
        "skipped": [(layer.name, layer.op_type, layer.reason) for layer in result.skipped],
    }
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        # NaN is written as it is: only this module reads it again.
        temporary.write_text(json.dumps(found), "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"what was found cannot be kept: {error.strerror}",
            where=task.staging,
            expected="a folder that all workers can write to",
        ) from error
