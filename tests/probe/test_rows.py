"""Rows of the data are found wherever an operator has put them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import activations, image_input, output, write
from onnx import helper

from filterdb.probe import cka, saturation
from filterdb.probe.rows import TRIALS, find_rows
from filterdb.testing import graph_of, model_of, random_weight, tensor

STEPS, WIDTH = 5, 4


def trials(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """What a layer gives for the first rows: three, and two of them."""
    values = rng.normal(size=(TRIALS[0], *shape))
    return [values[:count] for count in TRIALS]


sizes = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@given(shape=sizes, axis=st.integers(0, 3), seed=st.integers(0, 99))
def test_an_axis_of_their_own_is_found(shape: tuple[int, ...], axis: int, seed: int) -> None:
    first = trials(np.random.default_rng(seed), shape)
    axis = min(axis, len(shape))
    found = find_rows([np.moveaxis(value, 0, axis) for value in first], TRIALS, "unknown")
    assert found is not None
    for value in first:
        assert np.array_equal(found.first(np.moveaxis(value, 0, axis)), value)


@given(shape=sizes, steps=st.integers(2, 5), faster=st.booleans(), seed=st.integers(0, 99))
def test_an_axis_with_steps_is_taken_apart_in_the_right_order(
    shape: tuple[int, ...], steps: int, faster: bool, seed: int
) -> None:
    first = trials(np.random.default_rng(seed), (steps, *shape, WIDTH))
    merged = [
        np.swapaxes(value, 0, 1).reshape(-1, *shape, WIDTH) if faster else value.reshape(-1, *shape, WIDTH)
        for value in first
    ]
    found = find_rows(merged, TRIALS, "channels_last")
    assert found is not None
    for value, one in zip(first, merged, strict=True):
        assert np.array_equal(found.first(one), value)


@pytest.mark.parametrize(
    "tried",
    [
        [np.float32(1), np.float32(1)],
        [np.zeros(4), np.zeros(4)],
        [np.zeros((3, 3)), np.zeros((3, 2))][::-1],
        [np.zeros((7, 2)), np.zeros((5, 2))],
        [np.zeros((6, 2)), np.zeros((4, 2))],
        [np.full((6, 2), np.nan), np.full((4, 2), np.nan)],
        [np.arange(12.0).reshape(6, 2), np.arange(8.0).reshape(4, 2) ** 2],
        [np.zeros((3, 5)), np.zeros((2, 4))],
        [np.zeros((3, 5)), np.zeros((2, 5, 1))],
    ],
    ids=["a number", "a shape", "rows that fall", "no multiple", "all alike", "NaN", "other values", "longer",
         "deeper"],
)  # fmt: skip
def test_what_does_not_count_rows_is_not_taken_for_it(tried: list[np.ndarray]) -> None:
    assert find_rows([np.asarray(value) for value in tried], TRIALS, "channels_last") is None


def test_of_one_trial_alone_only_what_the_graph_says_is_taken() -> None:
    """A model that takes five rows and nothing else: five steps look the same."""
    value = [np.zeros((7, 5, 3))]
    assert find_rows(value, (5,), "channels_last") is None
    turned = find_rows(value, (5,), "time_major")
    assert turned is not None
    assert turned.first(value[0]).shape == (5, 7, 3)
    whole = find_rows([np.zeros((5, 7))], (5,), "unknown")
    assert whole is not None
    assert whole.axis == 0


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]], ids=["rows outside", "steps outside"])
def test_a_product_over_rows_and_steps_at_once_gives_the_layer_of_each(
    tmp_path: Path, order: list[int]
) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=order),
        helper.make_node("Reshape", ["t", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "dense.weight"], ["g"]),
        helper.make_node("MatMul", ["x", "dense.weight"], ["y"]),
    ]
    graph = graph_of(
        nodes,
        inputs=[image_input(None, STEPS, WIDTH)],
        outputs=[output("y", 3), output("g", 2)],
        weights=[
            tensor("dense.weight", random_weight((WIDTH, 6))),
            tensor("flat", np.array([-1, WIDTH], np.int64)),
        ],
    )
    path = write(tmp_path / "m.onnx", model_of(graph))
    data = np.random.default_rng(3).normal(size=(40, STEPS, WIDTH)).astype(np.float32)
    merged, plain = saturation(path, data=data, kind="linear", steps="last", batch=16).layers
    rows = activations(path, {"x": data})["y"][:, -1].astype(np.float64)
    assert (merged.features, merged.observations) == (6, 40)
    assert merged.trace == pytest.approx(plain.trace, rel=1e-6)
    assert merged.trace == pytest.approx(np.trace(np.cov(rows.T, bias=True)), rel=1e-5)
    assert cka(path, data=data, kind="linear", batch=20).values[0, 1] == pytest.approx(1, abs=1e-6)
