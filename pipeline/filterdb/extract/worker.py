"""What a worker process does: one model in, one shard out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filterdb.errors import ModelError
from filterdb.extract.shard import ShardWriter
from filterdb.onnxgraph import EXTRACTOR_VERSION, open_model
from filterdb.types import Kernel


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
    """

    path: Path
    staging: Path
    kernel: Kernel
    identify_only: bool = False


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
    reason
        Why it failed; empty where it did not.
    crashed
        It failed because its process died, hung or ran out of memory.
    """

    sha256: str
    size: int
    parsed: bool
    reason: str = ""
    crashed: bool = False


def shard_path(staging: Path, sha256: str, kernel: Kernel) -> Path:
    """Return where the shard of a model is kept: a name made of all that its content depends on."""
    return staging / f"{sha256}-{kernel}-v{EXTRACTOR_VERSION}.shard"


def failure_path(staging: Path, sha256: str, kernel: Kernel) -> Path:
    """Return where the reason is kept why a model cannot be read."""
    return shard_path(staging, sha256, kernel).with_suffix(".failed")


def known_path(staging: Path) -> Path:
    """Return the list of models that an older data set file already holds."""
    return staging / "known.json"


def run(task: Task) -> Outcome:
    """Extract one model into its shard, unless that is there already.

    A model that cannot be read is an outcome, not an exception. A place that cannot be written to is an
    exception: no other model could be staged there either.
    """
    sha256, size, parsed = "", 0, False
    try:
        with open_model(task.path) as model:
            sha256, size = model.sha256, model.size
            if task.identify_only or _is_known(task, sha256):
                return Outcome(sha256, size, parsed)
            parsed = True
            with ShardWriter(shard_path(task.staging, sha256, task.kernel)) as shard:
                shard.finish(model.extract(task.kernel, shard.add))
        return Outcome(sha256, size, parsed)
    except ModelError as error:
        if sha256:
            _keep_failure(task, sha256, error.reason)
        return Outcome(sha256, size, parsed, error.reason)


def _is_known(task: Task, sha256: str) -> bool:
    return (
        sha256 in _known(known_path(task.staging), known_path(task.staging).stat().st_mtime_ns)
        or shard_path(task.staging, sha256, task.kernel).exists()
        or failure_path(task.staging, sha256, task.kernel).exists()
    )


@lru_cache(maxsize=1)
def _known(path: Path, changed: int) -> frozenset[str]:  # noqa: ARG001 - a worker may outlive a run
    return frozenset(json.loads(path.read_text()))


def _keep_failure(task: Task, sha256: str, reason: str) -> None:
    path = failure_path(task.staging, sha256, task.kernel)
    temporary = path.with_suffix(".failed.tmp")
    temporary.write_text(json.dumps({"reason": reason}))
    temporary.replace(path)
