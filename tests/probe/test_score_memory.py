"""Layers are scored in as few passes as their features need, on several threads, with the same bits."""

from __future__ import annotations

import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import classifier, image_input, images, output, write
from onnx import helper

from filterdb.errors import FilterDBError
from filterdb.probe import scoring, sparsity
from filterdb.probe.engine import Activations
from filterdb.testing import graph_of, model_of, tensor

ROWS, BATCH = 200, 8
FULL = (6 * 64, 8 * 9, 10)
"""Values of a row of each layer of the classifier."""

POOLED = (6, 8, 10)
LABELS = np.arange(ROWS) % 3


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", classifier())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The layers that the model is run for, run after run."""
    seen: list[list[str]] = []
    plain = Activations.open

    def noted(self: Activations, taps: Any) -> Any:
        seen.append([tap.layer.name for tap in taps])
        return plain(self, taps)

    monkeypatch.setattr(Activations, "open", noted)
    return seen


def scored(model: Path, **options: Any) -> pd.DataFrame:
    return sparsity(model, data=images(ROWS), labels=LABELS, batch=BATCH, **options).to_frame()


def test_what_counts_is_the_pooled_features_and_one_batch(model: Path, opened: list[list[str]]) -> None:
    needed = 4 * (ROWS * sum(POOLED) + BATCH * sum(FULL))
    assert needed < 4 * ROWS * FULL[0] / 5
    scored(model, pooling="mean", memory=needed)
    assert opened == [["body.0", "body.1", "head"]]
    opened.clear()
    scored(model, pooling="mean", memory=needed - 1)
    assert opened == [["body.0", "body.1"], ["head"]]


def test_flattened_features_are_counted_whole(model: Path, opened: list[list[str]]) -> None:
    needed = 4 * (ROWS + BATCH) * sum(FULL)
    scored(model, memory=needed, clusters=False)
    scored(model, memory=needed - 1, clusters=False)
    assert opened == [["body.0", "body.1", "head"], ["body.0", "body.1"], ["head"]]


def test_activations_of_the_layers_that_run_together_fit_as_well(
    model: Path, opened: list[list[str]]
) -> None:
    # The features of all layers would fit many times; a batch of their activations does not.
    scored(model, pooling="mean", memory=4 * (ROWS * sum(POOLED[:2]) + BATCH * FULL[0]), clusters=False)
    assert [len(group) for group in opened] == [1, 2]


def test_a_layer_that_does_not_fit_is_not_run_for_and_says_what_it_needs(
    model: Path, opened: list[list[str]]
) -> None:
    table = scored(model, memory=4 * ROWS * FULL[0] - 1, clusters=False)
    need = 4 * ROWS * FULL[0] / 1e6
    assert table["reason"].tolist() == [
        f"its features need {need:.1f} MB; see --memory and --pooling",
        "",
        "",
    ]
    assert table["features"].tolist() == list(FULL)
    assert opened == [["body.1", "head"]]
    opened.clear()
    # What is pooled is what has to fit: 8 of 72 values.
    table = scored(model, memory=4 * ROWS * 9, pooling="max", clusters=False)
    need = 4 * ROWS * POOLED[2] / 1e6
    assert table["reason"].tolist() == [
        "",
        "",
        f"its features need {need:.1f} MB; see --memory and --pooling",
    ]
    assert table["features"].tolist() == list(POOLED)


@pytest.mark.parametrize("options", [{}, {"pooling": "mean", "forests": 2, "shuffles": 2}])
def test_no_bit_depends_on_threads_or_memory(model: Path, options: dict[str, Any]) -> None:
    plain = scored(model, threads=1, **options)
    assert plain["alpha"].notna().all()
    assert plain["ari"].notna().all()
    for threads, memory in ((2, 1 << 30), (3, 1 << 30), (2, 4 * ROWS * FULL[0])):
        assert scored(model, threads=threads, memory=memory, **options).equals(plain), (threads, memory)


def test_layers_are_scored_at_the_same_time(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=30)
    plain = scoring.clusters

    def wait(*arguments: Any) -> Any:
        both.wait()
        return plain(*arguments)

    monkeypatch.setattr(scoring, "clusters", wait)
    found = scored(model, layers=["body.*"], threads=2)
    assert found["ari"].notna().all()


def test_threads_that_would_take_more_than_the_memory_are_not_started(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    plain = scoring.clusters

    def note(*arguments: Any) -> Any:
        seen.add(threading.get_ident())
        return plain(*arguments)

    monkeypatch.setattr(scoring, "clusters", note)
    scored(model, threads=2, memory=4 * (ROWS + BATCH) * sum(FULL))
    assert seen == {threading.get_ident()}


def test_fewer_distinct_rows_than_clusters_are_no_warning_on_any_thread(tmp_path: Path) -> None:
    names = [f"l{place}" for place in range(6)]
    nodes = [helper.make_node("Gemm", ["x", f"{name}.weight"], [name]) for name in names]
    nodes.append(helper.make_node("Sum", names, ["y"]))
    weights = [
        tensor(f"{name}.weight", np.eye(4, dtype="f4")[:, :3] * (k + 1)) for k, name in enumerate(names)
    ]
    graph = graph_of(nodes, inputs=[image_input(None, 4)], outputs=[output("y")], weights=weights)
    path = write(tmp_path / "m.onnx", model_of(graph))
    data = np.eye(4, dtype="f4")[np.arange(60) % 2]
    before = list(warnings.filters)
    for threads in (1, 2):
        found = sparsity(path, data=data, labels=np.arange(60) % 5, threads=threads, trees=4).to_frame()
        assert found["ari"].notna().all()
    assert warnings.filters == before


@pytest.mark.parametrize("threads", [1, 2])
def test_what_ends_one_layer_ends_all_with_the_forest_they_are_at(
    model: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    grown = 0

    def fail(scaled: np.ndarray, *_: Any, **__: Any) -> Any:
        nonlocal grown
        if scaled.shape[1] == POOLED[0]:
            raise FilterDBError("one layer")
        grown += 1
        time.sleep(0.02)
        return scoring.Alpha(1.0, (), 1)

    monkeypatch.setattr(scoring, "forest_score", fail)
    with pytest.raises(FilterDBError, match="one layer"):
        scored(model, pooling="mean", shuffles=500, threads=threads)
    assert grown < 100


def test_a_model_that_treats_rows_by_themselves_is_run_for_some_of_a_batch(
    model: Path, opened: list[list[str]]
) -> None:
    # 32 of the 64 rows of a batch go through it at once, and so no more of them have to fit.
    needed = 4 * (ROWS * sum(POOLED) + 32 * sum(FULL))
    options: dict[str, Any] = {"data": images(ROWS), "labels": LABELS, "pooling": "mean", "batch": 64}
    found = sparsity(model, memory=needed, **options)
    sparsity(model, memory=needed - 1, **options)
    assert [len(group) for group in opened] == [3, 2, 1]
    assert found.layers == sparsity(model, **{**options, "batch": 1000}).layers
