from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filterdb.errors import OutputError
from filterdb.extract import worker
from filterdb.extract.shard import Shard
from filterdb.onnxgraph import open_model
from filterdb.onnxgraph.model import OpenModel
from filterdb.testing import conv_net, write_model
from filterdb.types import Kernel


@pytest.fixture
def task(tmp_path: Path) -> worker.Task:
    staging = tmp_path / "staging"
    staging.mkdir()
    worker.known_path(staging).write_text("[]")
    path = write_model(tmp_path / "m.onnx", conv_net([(8, 3, 3, 3)]))
    return worker.Task(path, staging, Kernel(3, 3))


def shard_of(task: worker.Task, sha256: str) -> Path:
    return worker.shard_path(task.staging, sha256, task.kernel)


def age(task: worker.Task, path: Path) -> None:
    """Make a staged file look like one of an earlier run."""
    begun = worker.known_path(task.staging).stat().st_mtime_ns
    os.utime(path, ns=(begun - 10**9, begun - 10**9))


def test_a_model_becomes_a_shard_under_its_identity(task: worker.Task) -> None:
    outcome = worker.run(task)
    with open_model(task.path) as model:
        size = task.path.stat().st_size
        assert outcome == worker.Outcome(model.sha256, size, parsed=True, stamps=model.stamps)
    shard = Shard.open(shard_of(task, outcome.sha256))
    assert shard is not None
    assert (shard.record.sha256, shard.record.n_filters) == (outcome.sha256, 24)


def test_a_model_that_changes_after_it_was_read_is_found_out(task: worker.Task) -> None:
    outcome = worker.run(task)
    assert outcome.still_holds(task.path)
    task.path.write_bytes(task.path.read_bytes())
    assert not outcome.still_holds(task.path)
    task.path.unlink()
    assert not outcome.still_holds(task.path)


def test_what_is_staged_is_not_parsed_again(task: worker.Task) -> None:
    first = worker.run(task)
    assert worker.run(task) == replace(first, parsed=False)


def test_what_an_older_file_holds_is_not_parsed_unless_asked_for(task: worker.Task) -> None:
    sha256 = worker.run(replace(task, identify_only=True)).sha256
    worker.known_path(task.staging).write_text(json.dumps([sha256]))
    assert not worker.run(task).parsed
    assert worker.run(replace(task, known_counts=False)).parsed


def test_the_identity_is_had_without_parsing(task: worker.Task) -> None:
    outcome = worker.run(replace(task, identify_only=True))
    assert (len(outcome.sha256), outcome.parsed) == (64, False)
    assert not list(task.staging.glob("*.shard"))


def test_a_damaged_shard_of_an_earlier_run_is_replaced(task: worker.Task) -> None:
    shard = shard_of(task, worker.run(task).sha256)
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    age(task, shard)
    assert worker.run(task).parsed
    whole = Shard.open(shard)
    assert whole is not None
    assert whole.is_intact(9)
    age(task, shard)
    assert not worker.run(task).parsed


def test_a_file_that_is_no_model_is_an_outcome(task: worker.Task) -> None:
    task.path.write_bytes(b"<html>")
    outcome = worker.run(task)
    assert (outcome.sha256, outcome.size, outcome.parsed) == ("", 6, False)
    assert outcome.reason
    missing = worker.run(replace(task, path=task.path.with_name("none.onnx")))
    assert missing.reason
    assert missing.size == 0


def test_a_reason_is_kept_and_a_damaged_one_counts_for_nothing(task: worker.Task) -> None:
    sha256 = worker.run(replace(task, identify_only=True)).sha256
    kept = worker.failure_path(task.staging, sha256, task.kernel)
    kept.write_text('{"reason": "a cycle"}')
    assert worker.read_failure(kept) == "a cycle"
    assert not worker.run(task).parsed
    for content in ("", "{", "[]", '{"other": 1}'):
        kept.write_text(content)
        assert worker.read_failure(kept) == ""
    assert worker.run(task).parsed


def test_other_kernels_and_other_versions_have_shards_of_their_own(
    task: worker.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = worker.run(task).sha256
    names = {shard_of(task, sha256), shard_of(replace(task, kernel=Kernel(5, 5)), sha256)}
    monkeypatch.setattr(worker, "EXTRACTOR_VERSION", -1)
    assert len(names | {shard_of(task, sha256)}) == 3
    assert worker.run(task).parsed


def test_a_worker_that_does_not_see_the_staging_folder_says_so(task: worker.Task) -> None:
    with pytest.raises(OutputError, match="does not see the staging folder"):
        worker.run(replace(task, staging=task.staging / "elsewhere"))


@pytest.mark.parametrize("shape", [(4, 4, 3, 3), (64, 64, 3, 3)])
def test_a_model_that_is_replaced_while_it_is_read_leaves_no_shard(
    task: worker.Task, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the shard would keep the new weights under the identity of the old file."""
    write_model(task.path, conv_net([shape], seed=1))
    extract = OpenModel.extract

    def replace_first(model: OpenModel, *arguments: Any) -> Any:
        data = bytearray(task.path.read_bytes())
        data[-400] ^= 1
        task.path.write_bytes(data)
        return extract(model, *arguments)

    monkeypatch.setattr(OpenModel, "extract", replace_first)
    outcome = worker.run(task)
    assert (outcome.sha256, "changed while" in outcome.reason) == ("", True)
    assert sorted(path.name for path in task.staging.iterdir()) == ["known.json"]


def test_a_copy_of_a_model_is_neither_parsed_nor_reused(task: worker.Task) -> None:
    assert worker.run(task).parsed
    again = worker.run(task)
    assert (again.parsed, again.reused) == (False, False)
    age(task, shard_of(task, again.sha256))
    assert worker.run(task).reused
