"""Layers are summed on several threads, and no bit depends on how many there are or on the memory."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from models import classifier, images, write

from filterdb.errors import FilterDBError
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe import cka, saturation
from filterdb.probe.engine import Activations, Tap, Workers
from filterdb.probe.options import Setup
from filterdb.probe.pooling import POOLINGS, columns
from filterdb.probe.runtime import Array

ROWS, BATCH = 150, 40
SETTINGS = [*itertools.product((1, 2, 3, 0), (1 << 30,)), (2, 100_000), (1, 1)]


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write(tmp_path / "a.onnx", classifier(size=12)),
        write(tmp_path / "b.onnx", classifier(size=12, seed=7)),
    )


@pytest.mark.parametrize(("threads", "memory"), SETTINGS)
def test_cka_has_the_same_bits(models: tuple[Path, Path], threads: int, memory: int) -> None:
    data = images(ROWS, size=12)
    plain = cka(*models, data=data, batch=BATCH, threads=1)
    found = cka(*models, data=data, batch=BATCH, threads=threads, memory=memory)
    for side in ("a", "b"):
        assert (getattr(found, side).hsic == getattr(plain, side).hsic).all()
    assert (found.hsic == plain.hsic).all()
    assert (found.values == plain.values).all()
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("pooling", [name for name in POOLINGS if name != "flatten"])
@pytest.mark.parametrize(("threads", "memory"), SETTINGS[:-1])
def test_saturation_has_the_same_bits(
    models: tuple[Path, Path], threads: int, memory: int, pooling: str
) -> None:
    data = images(ROWS, size=12)
    plain = saturation(models[0], data=data, batch=BATCH, pooling=pooling, threads=1)
    found = saturation(models[0], data=data, batch=BATCH, pooling=pooling, threads=threads, memory=memory)
    assert found.layers == plain.layers
    assert not any(layer.reason for layer in found.layers)


def test_flattened_features_have_the_same_bits(models: tuple[Path, Path]) -> None:
    data = images(ROWS, size=12)
    found = [saturation(models[0], data=data, pooling="flatten", threads=n).layers for n in (1, 2)]
    assert found[0] == found[1]


def taps(model: Path) -> list[tuple[Tap, Array]]:
    activations = Activations(open_inside(model), images(8, size=12), Setup())
    return list(activations.open(activations.taps).read(activations.rows))


def test_layers_of_a_batch_are_taken_at_the_same_time(models: tuple[Path, Path]) -> None:
    both = threading.Barrier(2, timeout=30)
    with Workers(Setup(threads=2), 1) as workers:
        workers.each(lambda *_: both.wait(), taps(models[0])[:2])
    assert not both.broken


def test_all_layers_are_done_when_a_batch_is(models: tuple[Path, Path]) -> None:
    seen: list[int] = []
    layers = taps(models[0])
    for threads in (1, 2):
        with Workers(Setup(threads=threads), 1) as workers:
            workers.each(lambda tap, _: seen.append(tap.position), layers)
        assert sorted(seen) == [tap.position for tap, _ in layers]
        seen.clear()


def test_threads_take_no_more_than_the_memory() -> None:
    counts = [Workers(Setup(threads=8, memory=1000), each).count for each in (1, 125, 400, 1001)]
    assert counts == [8, 8, 2, 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_in_a_layer_is_not_lost(models: tuple[Path, Path], threads: int) -> None:
    def fail(tap: Tap, _: Array) -> None:
        if tap.position == 1:
            raise FilterDBError("one layer")

    with (
        pytest.raises(FilterDBError, match="one layer"),
        Workers(Setup(threads=threads), 1) as workers,
    ):
        workers.each(fail, taps(models[0]))


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 7), (1, 1, 1), (4, 2, 1 << 19)])
@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i1"])
def test_columns_are_features_by_observations_in_order(shape: tuple[int, ...], kind: str) -> None:
    values = np.random.default_rng(0).integers(-9, 9, size=shape).astype(kind)
    blocks = list(columns(values))
    expected = np.moveaxis(values, 1, 0).reshape(shape[1], -1).astype("f8")
    assert (np.concatenate(blocks, axis=1) == expected).all()
    assert all(block.dtype == np.float64 and block.flags.c_contiguous for block in blocks)
    # They are changed in place, which must not reach what they were made of.
    assert not any(np.shares_memory(block, values) for block in blocks)
