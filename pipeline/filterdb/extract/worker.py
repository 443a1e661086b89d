"""What a worker process does: one model in, one shard out."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from filterdb.errors import ModelError, OutputError
from filterdb.extract.shard import Shard, ShardWriter, cannot_write
from filterdb.onnxgraph import EXTRACTOR_VERSION
from filterdb.types import Kernel, Stamps, still_hold


@dataclass(frozen=True, slots=True)
class Task:
    """One model to extract, as it is sent to a worker.

    Parameters
    ----------
    path
        The model.
    staging
        The folder that shards go to, on a file system that all workers share.
    kernel
        Kernel size to extract.
    identify_only
        Compute the model's identity and stop there.
    known_counts
        Leave a model alone that the list of known models names; without it, only what is staged counts.
    """

    path: Path
    staging: Path
    kernel: Kernel
    identify_only: bool = False
    known_counts: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a model, as a worker reports it.

    Parameters
    ----------
    sha256
        The model's identity; empty where the file could not be read.
    size
        Its bytes, external data included.
    parsed
        The model was parsed; a model that is known already is not.
    reused
        It is known from an earlier run or file. A copy of another model is neither parsed nor reused.
    reason
        Why it failed; empty where it did not.
    crashed
        It failed because its process died, hung or ran out of memory.
    stamps
        The state of each file of the model when it was read, by location.
    """

    sha256: str
    size: int
    parsed: bool
    reason: str = ""
    crashed: bool = False
    reused: bool = False
    stamps: Stamps = ()

    def still_holds(self, path: Path) -> bool:
        """Tell whether the model's files are those that were read, as far as the file system knows."""
        return still_hold(self.stamps, path)


def shard_path(staging: Path, sha256: str, kernel: Kernel) -> Path:
    """Return where the shard of a model is kept: a name made of all that its content depends on."""
    return staging / f"{sha256}-{kernel}-v{EXTRACTOR_VERSION}.shard"


def failure_path(staging: Path, sha256: str, kernel: Kernel) -> Path:
    """Return where the reason is kept why a model cannot be read."""
    return shard_path(staging, sha256, kernel).with_suffix(".failed")


def read_failure(path: Path) -> str:
    """Return the reason that is kept in a file, empty where there is none."""
    try:
        return str(json.loads(path.read_text("utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def known_path(staging: Path) -> Path:
    """Return the list of models that an older data set file already holds."""
    return staging / "known.json"


def run(task: Task) -> Outcome:
    """Extract one model into its shard, unless that is there already.

    A model that cannot be read is an outcome, not an exception. A place that cannot be written to is an
    exception: no other model could be staged there either.
    """
    # Loads onnx, which the process that hands out the work can do without.
    from filterdb.onnxgraph import open_model

    sha256, size, parsed = "", 0, False
    try:
        with open_model(task.path) as model:
            sha256, size = model.sha256, model.size
            found = Outcome(sha256, size, parsed=False, stamps=model.stamps)
            if task.identify_only:
                return found
            if _is_known(task, sha256):
                return replace(found, reused=True)
            if (staged := _staged_before(task, sha256)) is not None:
                return replace(found, reused=staged)
            parsed = True
            with ShardWriter(shard_path(task.staging, sha256, task.kernel)) as shard:
                record = model.extract(task.kernel, shard.add)
                # Else the shard would hold, under the identity of what was hashed, what was read later.
                if not found.still_holds(task.path):
                    return Outcome("", size, parsed, "the file changed while it was read; run again")
                shard.finish(record)
            return replace(found, parsed=True)
    except ModelError as error:
        if sha256:
            _keep_failure(task, sha256, error.reason)
        return Outcome(sha256, size or file_size(task.path), parsed, error.reason)


def file_size(path: Path) -> int:
    """Return the bytes of a file, 0 where nobody can tell."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_known(task: Task, sha256: str) -> bool:
    return task.known_counts and sha256 in _known(known_path(task.staging), _begun(task))


def _staged_before(task: Task, sha256: str) -> bool | None:
    """Tell whether what is staged of a model is an earlier run's, which may have suffered since.

    Returns nothing where the model must be parsed.
    """
    failure = failure_path(task.staging, sha256, task.kernel)
    if read_failure(failure):
        return failure.stat().st_mtime_ns < _begun(task)
    shard = shard_path(task.staging, sha256, task.kernel)
    try:
        own = shard.stat().st_mtime_ns >= _begun(task)
    except FileNotFoundError:
        return None
    if own:
        return False
    earlier = Shard.open(shard)
    return True if earlier is not None and earlier.is_intact(task.kernel.size) else None


def _begun(task: Task) -> int:
    """Return when this run began, by the clock of the file system that its workers share."""
    try:
        return known_path(task.staging).stat().st_mtime_ns
    except OSError as error:
        raise OutputError(
            f"a worker does not see the staging folder: {error.strerror}",
            where=task.staging,
            expected="a file system that all workers share",
        ) from error


@lru_cache(maxsize=1)
def _known(path: Path, changed: int) -> frozenset[str]:  # noqa: ARG001 - a worker may outlive a run
    return frozenset(json.loads(path.read_text()))


def _keep_failure(task: Task, sha256: str, reason: str) -> None:
    path = failure_path(task.staging, sha256, task.kernel)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(json.dumps({"reason": reason}))
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
