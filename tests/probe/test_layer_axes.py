"""Where layers have their channels: features of every layout are those of a plain reading of the values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
from models import activations, image_input, output, write
from onnx import TensorProto, helper

from filterdb.errors import UsageError
from filterdb.probe import cka, saturation, sparsity
from filterdb.probe.data import Arrays
from filterdb.probe.runtime import Runtime
from filterdb.testing import graph_of, model_of, random_weight, tensor
from in_process import call

ROWS, CHANNELS, SIZE = 12, 6, 4
DATA = np.random.default_rng(0).normal(size=(ROWS, 3, SIZE + 2, SIZE + 2)).astype(np.float32)

Step = tuple[str, list[str], str, dict[str, object]]


def ints(name: str, *values: int) -> onnx.TensorProto:
    return tensor(name, np.array(values, np.int64))


CONV: Step = ("Conv", ["x", "conv.weight"], "c", {})
LAST: Step = ("Transpose", ["c"], "last", {"perm": [0, 2, 3, 1]})
"""The result of the convolution, with its channels last."""

WEIGHTS = [
    tensor("conv.weight", random_weight((CHANNELS, 3, 3, 3))),
    tensor("dense.weight", random_weight((CHANNELS, 5), seed=1)),
    tensor("left.weight", random_weight((7, SIZE * SIZE), seed=2)),
    tensor("scale", random_weight((CHANNELS,), seed=3)),
    tensor("places", random_weight((1, SIZE * SIZE, CHANNELS), seed=4)),
    ints("tokens", 0, -1, CHANNELS),
    ints("flat_places", 0, CHANNELS, -1),
    ints("groups", 0, 2, CHANNELS // 2, SIZE, SIZE),
    ints("grouped", 0, 2, -1),
    ints("image", -1, CHANNELS, SIZE, SIZE),
    ints("heads", 0, SIZE * SIZE, 2, CHANNELS // 2),
]


def model(path: Path, *steps: Step) -> Path:
    nodes = [
        helper.make_node(op, inputs, [result], name=result, **fields) for op, inputs, result, fields in steps
    ]
    last = steps[-1][2]
    used = {name for _, inputs, _, _ in steps for name in inputs}
    graph = graph_of(
        nodes,
        inputs=[image_input(None, 3, SIZE + 2, SIZE + 2)],
        outputs=[output(last, 3)],
        weights=[weight for weight in WEIGHTS if weight.name in used],
    )
    del graph.output[0].type.tensor_type.shape.dim[:]
    graph.output[0].type.tensor_type.ClearField("shape")
    return write(path, model_of(graph, opset=13))


def features(values: np.ndarray, channels: int) -> np.ndarray:
    """Rows of features, given the axis of the channels: each place is an observation."""
    return np.moveaxis(values, channels, -1).reshape(-1, values.shape[channels]).astype(np.float64)


CASES: list[tuple[str, list[Step], int]] = [
    ("a dense layer behind channels last", [CONV, LAST, ("MatMul", ["last", "dense.weight"], "y", {})], 3),
    (
        "an activation of it",
        [CONV, LAST, ("MatMul", ["last", "dense.weight"], "d", {}), ("Relu", ["d"], "y", {})],
        3,
    ),
    ("channels last", [CONV, ("Transpose", ["c"], "y", {"perm": [0, 2, 3, 1]})], 3),
    ("and first again", [CONV, LAST, ("Transpose", ["last"], "y", {"perm": [0, 3, 1, 2]})], 1),
    (
        "places in one axis",
        [CONV, ("Reshape", ["c", "flat_places"], "y", {})],
        1,
    ),
    (
        "a shuffle of groups of channels",
        [
            CONV,
            ("Reshape", ["c", "groups"], "g", {}),
            ("Transpose", ["g"], "t", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", ["t", "image"], "s", {}),
            ("Relu", ["s"], "y", {}),
        ],
        1,
    ),
    (
        "a change of shape that comes back to the shape of something known",
        [
            CONV,
            ("Shape", ["c"], "shape", {}),
            ("Reshape", ["c", "grouped"], "g", {}),
            ("Reshape", ["g", "shape"], "s", {}),
            ("Relu", ["s"], "y", {}),
        ],
        1,
    ),
    ("a mean over places", [CONV, ("ReduceMean", ["c"], "y", {"axes": [3]})], 1),
    (
        "what a convolution reads",
        [
            ("Transpose", ["x"], "t", {"perm": [0, 1, 3, 2]}),
            ("Relu", ["t"], "y", {}),
            ("Conv", ["y", "conv.weight"], "c", {}),
        ],
        1,
    ),
]


@pytest.mark.parametrize(("steps", "channels"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_features_are_those_of_the_axis_of_the_channels(
    tmp_path: Path, steps: list[Step], channels: int
) -> None:
    path = model(tmp_path / "m.onnx", *steps)
    found = saturation(path, data=DATA, layers=["y" if steps[-1][0] != "MatMul" else "dense"], kind="all")
    rows = features(activations(path, {"x": DATA})["y"], channels)
    (layer,) = found.layers
    assert (layer.features, layer.observations) == (rows.shape[1], len(rows))
    assert layer.trace == pytest.approx(np.trace(np.cov(rows.T, bias=True)), rel=1e-5)


TOKENS: list[Step] = [
    CONV,
    LAST,
    ("Reshape", ["last", "tokens"], "t", {}),
    ("Add", ["t", "places"], "y", {}),
]


@pytest.mark.parametrize("steps", ["last", "first", "all"])
@pytest.mark.parametrize("turned", [False, True], ids=["rows first", "steps first"])
def test_of_a_sequence_the_steps_that_are_asked_for_count(tmp_path: Path, steps: str, turned: bool) -> None:
    turn: list[Step] = [("Transpose", ["y"], "z", {"perm": [1, 0, 2]})] if turned else []
    path = model(tmp_path / "m.onnx", *TOKENS, *turn)
    name = "z" if turned else "y"
    (layer,) = saturation(path, data=DATA, layers=[name], kind="all", steps=steps).layers
    values = activations(path, {"x": DATA})["y"]
    rows = {"last": values[:, -1], "first": values[:, 0], "all": values.reshape(-1, CHANNELS)}[steps]
    assert (layer.features, layer.observations) == (CHANNELS, len(rows))
    assert layer.trace == pytest.approx(np.trace(np.cov(rows.T.astype(np.float64), bias=True)), rel=1e-5)


def test_rows_that_are_not_the_first_axis_are_found(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", *TOKENS, ("Transpose", ["y"], "z", {"perm": [1, 0, 2]}))
    found = cka(path, data=DATA, layers=["y", "z"], kind="all", batch=ROWS)
    assert found.values[0, 1] == pytest.approx(1, abs=1e-12)


def test_what_nothing_tells_is_refused_where_it_matters(tmp_path: Path) -> None:
    heads: list[Step] = [*TOKENS, ("Reshape", ["y", "heads"], "h", {}), ("Relu", ["h"], "z", {})]
    path = model(tmp_path / "m.onnx", *heads)
    with pytest.raises(UsageError, match="nothing says which axis of its result"):
        saturation(path, data=DATA, layers=["z"], kind="all")
    (layer,) = saturation(path, data=DATA, layers=["z"], kind="all", pooling="flatten").layers
    assert layer.features == SIZE * SIZE * CHANNELS
    assert cka(path, data=DATA, layers=["z"], kind="all", batch=ROWS).values[0, 0] == pytest.approx(1)


def test_a_stored_matrix_on_the_left_has_its_features_before_the_last_axis(tmp_path: Path) -> None:
    reshape: Step = ("Reshape", ["last", "tokens"], "t", {})
    path = model(tmp_path / "m.onnx", CONV, LAST, reshape, ("MatMul", ["left.weight", "t"], "y", {}))
    (layer,) = saturation(path, data=DATA, layers=["left.weight", "left"], kind="linear").layers
    rows = features(activations(path, {"x": DATA})["y"], 1)
    assert (layer.features, layer.observations) == (7, len(rows))


def test_what_counts_something_else_is_not_taken_for_rows(tmp_path: Path) -> None:
    """Also where it has as many entries as there are rows to try with, or in a batch."""
    sizes: list[Step] = [
        CONV,
        ("Shape", ["c"], "shape", {}),
        ("Slice", ["shape", "from", "to"], "two", {}),
        ("Relu", ["c"], "y", {}),
    ]
    path = tmp_path / "m.onnx"
    WEIGHTS.extend([ints("from", 2), ints("to", 4)])
    try:
        model(path, *sizes)
    finally:
        del WEIGHTS[-2:]
    for batch in (2, 4, 64):
        found = saturation(path, data=DATA, kind="all", batch=batch)
        assert [layer.layer for layer in found.layers] == ["conv", "y"]
        assert {layer.name for layer in found.skipped} == {"shape", "two"}


def test_the_operators_of_a_transformer_keep_their_layout(tmp_path: Path) -> None:
    normed: Step = ("LayerNormalization", ["y", "scale"], "n", {})
    path = tmp_path / "m.onnx"
    model(path, *TOKENS, normed, ("MatMul", ["n", "dense.weight"], "z", {}))
    proto = onnx.load(path)
    proto.opset_import[0].version = 17
    onnx.save(proto, path)
    found = saturation(path, data=DATA, kind="all", steps="all")
    assert {layer.layer: layer.features for layer in found.layers} == {
        "conv": CHANNELS, "last": CHANNELS, "t": CHANNELS, "y": CHANNELS, "n": CHANNELS, "dense": 5,
    }  # fmt: skip
    assert not found.skipped


def test_an_embedding_has_its_features_last(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["table.weight", "x"], ["y"])
    graph = graph_of(
        [node],
        inputs=[image_input(None, 5, kind=TensorProto.INT64)],
        outputs=[output("y", 3)],
        weights=[tensor("table.weight", random_weight((9, 4)))],
    )
    path = write(tmp_path / "m.onnx", model_of(graph))
    data = np.random.default_rng(1).integers(0, 9, (20, 5))
    (layer,) = saturation(path, data=data, kind="all", steps="all").layers
    assert (layer.features, layer.observations) == (4, 100)


def test_the_command_and_the_configuration_know_steps(tmp_path: Path) -> None:
    model(tmp_path / "m.onnx", *TOKENS)
    np.save(tmp_path / "rows.npy", DATA)
    command = ["probe", "saturation", "m.onnx", "--data", "rows.npy", "--layers", "y", "--json"]
    done = call(*command, "--steps", "all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["steps"] == "all"
    assert told["layers"][0]["observations"] == ROWS * SIZE * SIZE
    wrong = call(*command, "--steps", "lst", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "steps last" in wrong.stderr


def test_data_of_large_rows_goes_through_in_small_parts(tmp_path: Path) -> None:
    """A row of 3 MiB: two of them at once, though a batch has eight."""
    node = helper.make_node("Conv", ["x", "c.weight"], ["y"], strides=[8, 8])
    graph = graph_of(
        [node],
        inputs=[image_input(None, 3, 512, 512)],
        outputs=[output("y", 4)],
        weights=[tensor("c.weight", random_weight((8, 3, 3, 3)))],
    )
    path = write(tmp_path / "m.onnx", model_of(graph))
    data = np.random.default_rng(2).normal(size=(8, 3, 512, 512)).astype(np.float32)
    seen: list[int] = []
    run = Runtime.run

    def counted(self: Runtime, feeds: dict[str, np.ndarray], tensors: list[str]) -> list[np.ndarray]:
        seen.append(len(feeds["x"]))
        return run(self, feeds, tensors)

    with mock.patch.object(Runtime, "run", counted):
        found = saturation(path, data=data, batch=8)
        alike = cka(path, data=data, batch=8)
    # Three and two rows are tried, twice.
    assert (seen.count(3), max(seen)) == (2, 3)
    rows = features(activations(path, {"x": data})["y"], 1)
    assert found.layers[0].trace == pytest.approx(np.trace(np.cov(rows.T, bias=True)), rel=1e-5)
    assert alike.values[0, 0] == pytest.approx(1)


def test_matrices_that_do_not_fit_are_refused_with_their_size(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", CONV, ("Relu", ["c"], "y", {}))
    data = np.zeros((5_000, 3, SIZE + 2, SIZE + 2), np.float32)
    with pytest.raises(UsageError, match=r"2 layers over batches of 5,000 rows take 0\.4 GB") as caught:
        cka(path, data=data, kind="all", batch=5_000, memory=1 << 20)
    assert "--batch" in str(caught.value)


@pytest.mark.parametrize("layers", ["y", ["y"], ("y",)])
def test_layers_of_the_second_model_may_be_one_name(tmp_path: Path, layers: str | list[str]) -> None:
    path = model(tmp_path / "m.onnx", CONV, ("Relu", ["c"], "y", {}))
    assert cka(path, data=DATA, kind="all", layers_b=layers).b.layers == ("y",)


@pytest.mark.parametrize(
    ("options", "width"),
    [({}, CHANNELS), ({"steps": "first"}, CHANNELS), ({"steps": "all"}, SIZE * SIZE * CHANNELS)],
    ids=str,
)
def test_the_score_takes_the_steps_that_are_asked_for(
    tmp_path: Path, options: dict[str, str], width: int
) -> None:
    path = model(tmp_path / "m.onnx", *TOKENS)
    labels = np.arange(ROWS) % 3
    (layer,) = sparsity(path, data=DATA, labels=labels, layers=["y"], clusters=False, **options).layers
    assert layer.features == width


@pytest.mark.parametrize("probe", [saturation, sparsity, cka])
def test_every_row_is_read_once_after_it_has_been_tried(tmp_path: Path, probe: Callable[..., object]) -> None:
    """To read a row may be to decode an image."""
    path = model(tmp_path / "m.onnx", CONV, ("Relu", ["c"], "y", {}))
    given = {"labels": np.arange(ROWS) % 3} if probe is sparsity else {}
    seen: list[int] = []
    read = Arrays.read

    def counted(self: Arrays, rows: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(len(rows))
        return read(self, rows)

    with mock.patch.object(Arrays, "read", counted):
        probe(path, data=DATA, kind="all", batch=4, **given)
    assert seen == [3, 2, 4, 4, 4]
