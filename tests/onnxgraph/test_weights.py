"""Weights are found wherever they are constant, with the values that onnxruntime uses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_oracle import runtime_weights

from filterdb.onnxgraph import Limits, open_model, read_layers
from filterdb.testing import (
    branch_model,
    conv_model,
    conv_net,
    graph_of,
    model_of,
    random_weight,
    tensor,
    weight_model,
    write_model,
)
from filterdb.types import Kernel

node = helper.make_node
W = random_weight((4, 3, 3, 3), seed=7)


def ints(name: str, *values: int) -> TensorProto:
    return tensor(name, np.array(values, np.int64))


def exact(tmp_path: Path, model: onnx.ModelProto) -> Any:
    """Extract one layer and compare it with onnxruntime, bit by bit."""
    path = write_model(tmp_path / "model.onnx", model)
    record, blocks = read_layers(path)
    assert [s.reason for s in record.skipped] == []
    (expected,) = runtime_weights(path)
    np.testing.assert_array_equal(blocks[0].view(np.uint32), expected.reshape(-1, 9).view(np.uint32))
    return record.layers[0]


def skipped(tmp_path: Path, model: onnx.ModelProto) -> str:
    record, blocks = read_layers(write_model(tmp_path / "model.onnx", model))
    assert not record.layers
    assert not blocks
    (layer,) = record.skipped
    return layer.reason


Case = tuple[str, Callable[[], onnx.ModelProto], str]
CHAINS: list[Case] = [
    ("initializer", lambda: conv_model(W), "initializer"),
    ("Constant", lambda: weight_model([node("Constant", [], ["w"], value=tensor("", W))]), "Constant"),
    (
        "Constant with floats",
        lambda: weight_model(
            [
                node("Constant", [], ["f"], value_floats=W.reshape(-1).tolist()),
                node("Constant", [], ["s"], value_ints=[4, 3, 3, 3]),
                node("Reshape", ["f", "s"], ["w"]),
            ]
        ),
        "Reshape < Constant",
    ),
    (
        "Identity",
        lambda: weight_model([node("Identity", ["a"], ["w"])], [tensor("a", W)]),
        "Identity < initializer",
    ),
    (
        "Transpose of Identity of Constant",
        lambda: weight_model(
            [
                node("Constant", [], ["a"], value=tensor("", W.transpose(1, 0, 2, 3).copy())),
                node("Identity", ["a"], ["b"]),
                node("Transpose", ["b"], ["w"], perm=[1, 0, 2, 3]),
            ]
        ),
        "Transpose < Identity < Constant",
    ),
    (
        "Transpose that reverses",
        lambda: weight_model(
            [node("Transpose", ["a"], ["w"])], [tensor("a", random_weight((3, 3, 3, 4), seed=1))]
        ),
        "Transpose < initializer",
    ),
    (
        "Reshape with a zero and a minus one",
        lambda: weight_model(
            [node("Reshape", ["a", "s"], ["w"])], [tensor("a", W.reshape(4, 27)), ints("s", 0, -1, 3, 3)]
        ),
        "Reshape < initializer",
    ),
    (
        "Squeeze and Unsqueeze by input",
        lambda: weight_model(
            [node("Squeeze", ["a", "s"], ["b"]), node("Unsqueeze", ["b", "u"], ["w"])],
            [tensor("a", W[:, 0].copy().reshape(1, 4, 3, 3)), ints("s", 0), ints("u", 1)],
        ),
        "Unsqueeze < Squeeze < initializer",
    ),
    (
        "Squeeze and Unsqueeze by attribute",
        lambda: weight_model(
            [node("Squeeze", ["a"], ["b"], axes=[0]), node("Unsqueeze", ["b"], ["w"], axes=[1])],
            [tensor("a", W[:, 0].copy().reshape(1, 4, 3, 3))],
            opset=11,
        ),
        "Unsqueeze < Squeeze < initializer",
    ),
    (
        "Flatten",
        lambda: weight_model(
            [node("Flatten", ["a"], ["b"], axis=2), node("Reshape", ["b", "s"], ["w"])],
            [tensor("a", W), ints("s", 4, 3, 3, 3)],
        ),
        "Reshape < Flatten < initializer",
    ),
    (
        "Concat",
        lambda: weight_model(
            [node("Concat", ["a", "b"], ["w"], axis=0)], [tensor("a", W[:1]), tensor("b", W[1:])]
        ),
        "Concat < initializer",
    ),
    (
        "Slice with a negative step",
        lambda: weight_model(
            [node("Slice", ["a", "s", "e", "x", "t"], ["w"])],
            [tensor("a", W), ints("s", -1, 0), ints("e", -100, 2), ints("x", 3, 1), ints("t", -1, 1)],
        ),
        "Slice < initializer",
    ),
    (
        "Slice by attribute",
        lambda: weight_model(
            [node("Slice", ["a"], ["w"], starts=[1], ends=[3], axes=[0])], [tensor("a", W)], opset=9
        ),
        "Slice < initializer",
    ),
    (
        "the second half of a Split",
        lambda: weight_model([node("Split", ["a"], ["first", "w"], axis=0)], [tensor("a", W)], opset=13),
        "Split < initializer",
    ),
    (
        "a Split into given sizes",
        lambda: weight_model(
            [node("Split", ["a", "s"], ["w", "rest"], axis=0)], [tensor("a", W), ints("s", 1, 3)]
        ),
        "Split < initializer",
    ),
    (
        "Gather",
        lambda: weight_model([node("Gather", ["a", "i"], ["w"], axis=1)], [tensor("a", W), ints("i", 2, -3)]),
        "Gather < initializer",
    ),
    (
        "Tile and Expand",
        lambda: weight_model(
            [node("Tile", ["a", "t"], ["b"]), node("Expand", ["b", "s"], ["w"])],
            [tensor("a", W[:, :1].copy()), ints("t", 2, 1, 1, 1), ints("s", 1, 3, 1, 1)],
        ),
        "Expand < Tile < initializer",
    ),
    (
        "Pad, by the reference",
        lambda: weight_model(
            [node("Pad", ["a", "p"], ["w"])],
            [tensor("a", W[:, :, :2, :2].copy()), ints("p", 0, 0, 1, 0, 0, 0, 0, 1)],
        ),
        "Pad < initializer",
    ),
    (
        "Flip by DepthToSpace, by the reference",
        lambda: weight_model(
            [node("DepthToSpace", ["a"], ["w"], blocksize=3)],
            [tensor("a", random_weight((2, 18, 1, 1), seed=3))],
        ),
        "DepthToSpace < initializer",
    ),
    *(
        (
            f"{op} of two weights",
            lambda op=op: weight_model(  # type: ignore[misc]
                [node(op, ["a", "b"], ["w"])],
                [tensor("a", W), tensor("b", random_weight((4, 1, 1, 1), seed=9) + 1)],
            ),
            f"{op} < initializer",
        )
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")
    ),
    (
        "a square, a root and a scale",
        lambda: weight_model(
            [
                node("Pow", ["a", "two"], ["b"]),
                node("Add", ["b", "eps"], ["c"]),
                node("Sqrt", ["c"], ["d"]),
                node("Div", ["a", "d"], ["w"]),
            ],
            [tensor("a", W), tensor("two", np.float32(2)), tensor("eps", np.float32(1e-5))],
        ),
        "Div < initializer",
    ),
    *(
        (
            f"{op} by value",
            lambda op=op: weight_model([node(op, ["a"], ["w"])], [tensor("a", W)]),  # type: ignore[misc]
            f"{op} < initializer",
        )
        for op in ("Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Relu")
    ),
    (
        "Clip between inputs",
        lambda: weight_model(
            [node("Clip", ["a", "low", "high"], ["w"])],
            [tensor("a", W), tensor("low", np.float32(-0.05)), tensor("high", np.float32(0.05))],
        ),
        "Clip < initializer",
    ),
    (
        "Where",
        lambda: weight_model(
            [node("Where", ["m", "a", "zero"], ["w"])],
            [tensor("a", W), tensor("m", W > 0), tensor("zero", np.float32(0))],
        ),
        "Where < initializer",
    ),
    (
        "the largest values",
        lambda: weight_model(
            [node("ReduceMax", ["a"], ["m"], axes=[1, 2, 3]), node("Div", ["a", "m"], ["w"])],
            [tensor("a", W)],
        ),
        "Div < initializer",
    ),
    (
        "Cast from double",
        lambda: weight_model(
            [node("Cast", ["a"], ["w"], to=TensorProto.FLOAT)], [tensor("a", W.astype(np.float64) / 3)]
        ),
        "Cast < initializer",
    ),
    (
        "CastLike from half",
        lambda: weight_model(
            [node("CastLike", ["a", "like"], ["w"])],
            [tensor("a", W.astype(np.float16)), tensor("like", np.zeros(1, np.float32))],
        ),
        "CastLike < initializer",
    ),
    (
        "Cast to half and back",
        lambda: weight_model(
            [
                node("Cast", ["a"], ["b"], to=TensorProto.FLOAT16),
                node("Cast", ["b"], ["w"], to=TensorProto.FLOAT),
            ],
            [tensor("a", W)],
        ),
        "Cast x2 < initializer",
    ),
    (
        "Cast to bfloat16 and back",
        lambda: weight_model(
            [
                node("Cast", ["a"], ["b"], to=TensorProto.BFLOAT16),
                node("Cast", ["b"], ["w"], to=TensorProto.FLOAT),
            ],
            [tensor("a", W)],
        ),
        "Cast x2 < initializer",
    ),
    (
        "Cast to float8 and back, with values beyond its range",
        lambda: weight_model(
            [
                node("Cast", ["a"], ["b"], to=TensorProto.FLOAT8E4M3FN),
                node("Cast", ["b"], ["w"], to=TensorProto.FLOAT),
            ],
            [tensor("a", W * 20_000)],
            opset=19,
        ),
        "Cast x2 < initializer",
    ),
]


@pytest.mark.parametrize(("make", "source"), [case[1:] for case in CHAINS], ids=[case[0] for case in CHAINS])
def test_a_computed_weight_is_exactly_what_onnxruntime_computes(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], source: str
) -> None:
    assert exact(tmp_path, make()).weight_source == source


WHOLE = ["INT8", "UINT8", "INT32", "INT64", "DOUBLE", "INT4", "UINT4", "FLOAT8E5M2", "FLOAT8E4M3FNUZ"]


@pytest.mark.parametrize("code", WHOLE)
def test_a_cast_there_and_back_rounds_as_onnxruntime_does(tmp_path: Path, code: str) -> None:
    values = random_weight((6, 4, 3, 3), scale=3.0)
    values[0, 0] = np.array([[-2.5, -1.5, -0.5], [0.5, 1.5, 2.5], [3.5, 0.49, -0.51]])
    nodes = [
        node("Cast", ["a"], ["b"], to=getattr(TensorProto, code)),
        node("Cast", ["b"], ["w"], to=TensorProto.FLOAT),
    ]
    values = np.abs(values) if code.startswith("U") else values
    exact(tmp_path, weight_model(nodes, [tensor("a", values)], opset=21))


REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd", "ReduceMax"]


def normed(op: str, axes: list[int], shape: tuple[int, ...], seed: int = 0) -> onnx.ModelProto:
    """Return a weight as weight normalization stores it: a direction over its norm, times a length."""
    by_input = op == "ReduceSum"
    reduce = node(op, ["v", "axes"] if by_input else ["v"], ["n"], **({} if by_input else {"axes": axes}))
    stored = [tensor("v", random_weight(shape, seed=seed)), tensor("g", random_weight((shape[0], 1, 1, 1)))]
    return weight_model(
        [reduce, node("Div", ["v", "n"], ["d"]), node("Mul", ["d", "g"], ["w"])],
        [*stored, *([ints("axes", *axes)] if by_input else [])],
    )


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("axes", [[1, 2, 3], [0, 1, 2, 3], [2, 3], [3], [0]], ids=str)
@pytest.mark.parametrize("shape", [(5, 7, 3, 3), (16, 64, 3, 3), (3, 1, 3, 3), (1, 5, 3, 3)], ids=str)
def test_a_weight_norm_is_added_in_the_order_of_onnxruntime(
    tmp_path: Path, op: str, axes: list[int], shape: tuple[int, ...]
) -> None:
    assert exact(tmp_path, normed(op, axes, shape)).weight_source == "Mul < Div < initializer"


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceL2"])
def test_a_norm_in_half_precision_is_added_in_single_precision(tmp_path: Path, op: str) -> None:
    # onnxruntime also leaves out the rounding between the two operators, which the model asks for.
    model = weight_model(
        [
            node(op, ["v"], ["n"], axes=[1, 2, 3]),
            node("Div", ["v", "n"], ["d"]),
            node("Cast", ["d"], ["w"], to=TensorProto.FLOAT),
        ],
        [tensor("v", (random_weight((4, 30, 3, 3)) + 1).astype(np.float16))],
    )
    path = write_model(tmp_path / "m.onnx", model)
    record, (block,) = read_layers(path)
    np.testing.assert_allclose(block, runtime_weights(path)[0].reshape(-1, 9), rtol=2e-3)
    assert record.layers[0].weight_dtype == "float16"


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceL2"])
@pytest.mark.parametrize("axes", [[0, 2, 3], [1], [1, 2], [0, 3]], ids=str)
def test_a_norm_over_unusual_axes_agrees_closely(tmp_path: Path, op: str, axes: list[int]) -> None:
    path = write_model(tmp_path / "m.onnx", normed(op, axes, (8, 6, 3, 3), seed=3))
    (block,) = read_layers(path)[1]
    np.testing.assert_allclose(block, runtime_weights(path)[0].reshape(-1, 9), rtol=1e-4)


@pytest.mark.parametrize("op", ["Reciprocal", "Exp", "Log", "Tanh", "Sigmoid", "Softplus", "Erf"])
def test_functions_without_an_exact_answer_agree_with_onnxruntime_closely(tmp_path: Path, op: str) -> None:
    model = weight_model([node(op, ["a"], ["w"])], [tensor("a", np.abs(W) + 0.1)])
    path = write_model(tmp_path / "model.onnx", model)
    _, (block,) = read_layers(path)
    np.testing.assert_allclose(block, runtime_weights(path)[0].reshape(-1, 9), rtol=2e-6)


STORED = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float4_e2m1fn": ml_dtypes.float4_e2m1fn,
}


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("odd", [False, True])
def test_every_stored_float_type_becomes_the_float32_of_the_same_value(
    tmp_path: Path, name: str, odd: bool
) -> None:
    shape = (3, 1, 3, 3) if odd else (4, 1, 3, 3)
    values = (random_weight(shape, seed=5) * 10).astype(STORED[name])
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", conv_model(values)))
    np.testing.assert_array_equal(block, values.astype(np.float32).reshape(-1, 9))
    assert record.layers[0].weight_dtype == name


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (W, "float_data"),
        (W.astype(np.float64), "double_data"),
        (W.astype(np.float16), "int32_data"),
        (W.astype(ml_dtypes.bfloat16), "int32_data"),
        (np.arange(108).reshape(4, 3, 3, 3).astype(np.int64), "int64_data"),
    ],
    ids=["float", "double", "half", "bfloat16", "int64"],
)
def test_values_in_typed_fields_are_read_like_raw_ones(tmp_path: Path, values: Any, field: str) -> None:
    code = helper.np_dtype_to_tensor_dtype(values.dtype)
    stored = helper.make_tensor("w", code, values.shape, values.astype(np.float64).reshape(-1), raw=False)
    assert len(getattr(stored, field)) == values.size
    _record, (block,) = read_layers(write_model(tmp_path / "m.onnx", weight_model([], [stored])))
    np.testing.assert_array_equal(block, values.astype(np.float32).reshape(-1, 9))


def test_a_large_weight_in_float_data_is_read_like_a_raw_one(tmp_path: Path) -> None:
    values = random_weight((32, 16, 3, 3))
    stored = helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.reshape(-1), raw=False)
    exact(tmp_path, weight_model([], [stored]))


@pytest.mark.parametrize("linear", [True, False])
def test_a_sparse_initializer_is_filled_up_with_zeros(tmp_path: Path, linear: bool) -> None:
    dense = np.where(np.abs(W) > 0.1, W, 0)
    places = np.flatnonzero(dense) if linear else np.argwhere(dense)
    values = tensor("w", dense[dense != 0])
    model = weight_model([])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, tensor("", places.astype(np.int64)), dense.shape)
    )
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, dense.reshape(-1, 9))
    assert record.layers[0].weight_source == "sparse initializer"


def test_a_sparse_constant_is_read_as_well(tmp_path: Path) -> None:
    dense = np.where(np.abs(W) > 0.1, W, 0)
    sparse = helper.make_sparse_tensor(
        tensor("", dense[dense != 0]), tensor("", np.flatnonzero(dense).astype(np.int64)), dense.shape
    )
    model = weight_model([node("Constant", [], ["w"], sparse_value=sparse)])
    _, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, dense.reshape(-1, 9))


@pytest.mark.parametrize("places", [[[0, 0, 0, 9]], [[-1, 0, 0, 0]], [999], [-1]])
def test_a_sparse_initializer_that_points_outside_costs_its_layer(tmp_path: Path, places: Any) -> None:
    model = weight_model([])
    sparse = helper.make_sparse_tensor(
        tensor("w", np.ones(1, np.float32)), tensor("", np.array(places, np.int64)), (4, 3, 3, 3)
    )
    model.graph.sparse_initializer.append(sparse)
    assert "do not fit" in skipped(tmp_path, model)


def test_an_initializer_that_is_also_a_graph_input_is_a_weight(tmp_path: Path) -> None:
    model = conv_model(W)
    model.graph.input.append(helper.make_tensor_value_info("conv.weight", TensorProto.FLOAT, W.shape))
    assert exact(tmp_path, model).weight_source == "initializer"


def test_a_weight_in_a_branch_is_an_initializer_of_its_own(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", branch_model(W, W * 2))
    record, blocks = read_layers(path)
    assert sorted(layer.name for layer in record.layers) == ["else", "then"]
    for block, expected in zip(blocks, runtime_weights(path), strict=True):
        np.testing.assert_array_equal(block, expected.reshape(-1, 9))


def test_a_weight_from_an_outer_scope_is_called_captured(tmp_path: Path) -> None:
    model = branch_model(W, W)
    for attribute in model.graph.node[0].attribute:
        del attribute.g.initializer[:]
        attribute.g.node[0].input[1] = "shared.weight" if attribute.name == "then_branch" else "half"
    model.graph.initializer.append(tensor("shared.weight", W))
    model.graph.initializer.append(tensor("h", W.astype(np.float16)))
    model.graph.node.insert(0, node("Cast", ["h"], ["half"], to=TensorProto.FLOAT))
    path = write_model(tmp_path / "m.onnx", model)
    record, _ = read_layers(path)
    assert {layer.name: layer.weight_source for layer in record.layers} == {
        "shared": "captured initializer",
        "else_conv": "captured Cast < initializer",
    }


@pytest.mark.parametrize("op", ["Loop", "Scan"])
def test_a_weight_inside_a_loop_or_scan_is_found(tmp_path: Path, op: str) -> None:
    conv = node("Conv", ["state", "w"], ["state_out"], name="inner")
    if op == "Loop":
        boolean = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
        number = helper.make_tensor_value_info("i", TensorProto.INT64, [])
        out = helper.make_tensor_value_info("go_out", TensorProto.BOOL, [])
        body = graph_of(
            [node("Identity", ["go"], ["go_out"]), conv],
            inputs=[number, boolean, "state"],
            outputs=[out, "state_out"],
            weights=[tensor("w", W)],
        )
        holder = node("Loop", ["", "", "x"], ["y"], body=body)
    else:
        body = graph_of([conv], inputs=["state"], outputs=["state_out"], weights=[tensor("w", W)])
        holder = node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model_of(graph_of([holder]))))
    np.testing.assert_array_equal(block, W.reshape(-1, 9))
    assert record.layers[0].name == "inner"


def test_the_state_of_a_loop_is_no_weight(tmp_path: Path) -> None:
    boolean = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    number = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    out = helper.make_tensor_value_info("go_out", TensorProto.BOOL, [])
    body = graph_of(
        [
            node("Identity", ["go"], ["go_out"]),
            node("Conv", ["x", "kernel"], ["r"]),
            node("Identity", ["kernel"], ["k"]),
        ],
        inputs=[number, boolean, "kernel"],
        outputs=[out, "k", "r"],
    )
    holder = node("Loop", ["", "", "w"], ["last", "y"], body=body)
    reason = skipped(tmp_path, model_of(graph_of([holder], weights=[tensor("w", W)])))
    assert reason == "the weight depends on 'kernel', which is a state of the body it is in"


@pytest.mark.parametrize("chosen", [True, False])
def test_a_constant_condition_chooses_the_weight(tmp_path: Path, chosen: bool) -> None:
    bodies = {
        f"{name}_branch": graph_of(
            [node("Mul", [f"{name}.a", "two"], [f"{name}_w"])],
            inputs=[],
            outputs=[f"{name}_w"],
            weights=[tensor(f"{name}.a", weight)],
        )
        for name, weight in (("then", W), ("else", -W))
    }
    model = weight_model(
        [node("If", ["c"], ["w"], **bodies)],
        [tensor("c", np.array(chosen)), tensor("two", np.float32(2))],
    )
    _record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, (W if chosen else -W).reshape(-1, 9) * 2)


def function(name: str, inputs: list[str], outputs: list[str], nodes: Any, **options: Any) -> Any:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, inputs, outputs, nodes, imports, **options)


def test_a_weight_given_to_nested_functions_is_followed_to_where_it_is_stored(tmp_path: Path) -> None:
    inner = function("Inner", ["a", "b"], ["c"], [node("Conv", ["a", "b"], ["c"], name="deep")])
    outer = function(
        "Outer",
        ["p", "q"],
        ["r"],
        [
            node("Transpose", ["q"], ["t"], perm=[1, 0, 2, 3]),
            node("Inner", ["p", "t"], ["r"], domain="local"),
        ],
    )
    calls = [
        node("Outer", ["x", "block.conv.weight"], ["m"], domain="local"),
        node("Outer", ["m", "other.weight"], ["y"], domain="local"),
    ]
    stored = [
        tensor("block.conv.weight", W.transpose(1, 0, 2, 3).copy()),
        tensor("other.weight", random_weight((4, 4, 3, 3))),
    ]
    model = model_of(graph_of(calls, weights=stored), domains=["local"], functions=[outer, inner])
    path = write_model(tmp_path / "m.onnx", model)
    record, blocks = read_layers(path)
    assert [layer.name for layer in record.layers] == ["block.conv", "other"]
    assert {layer.weight_source for layer in record.layers} == {"Transpose < initializer"}
    for block, expected in zip(blocks, runtime_weights(path), strict=True):
        np.testing.assert_array_equal(block, expected.reshape(-1, 9))


def test_a_function_gives_attributes_to_its_nodes_by_reference(tmp_path: Path) -> None:
    conv = node("Conv", ["a", "w"], ["c"])
    for name, refers in (("strides", "step"), ("group", "parts"), ("dilations", "absent")):
        kind = onnx.AttributeProto.INT if name == "group" else onnx.AttributeProto.INTS
        conv.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=refers, type=kind))
    stored = onnx.AttributeProto(name="value", ref_attr_name="kernel", type=onnx.AttributeProto.TENSOR)
    constant = node("Constant", [], ["w"])
    constant.attribute.append(stored)
    block = function(
        "Block",
        ["a"],
        ["c"],
        [constant, conv],
        attributes=["step", "kernel", "absent"],
        attribute_protos=[helper.make_attribute("parts", 2)],
    )
    call = node("Block", ["x"], ["y"], domain="local", step=[2, 2], kernel=tensor("", W))
    model = model_of(graph_of([call]), domains=["local"], functions=[block])
    record, (filters,) = read_layers(write_model(tmp_path / "m.onnx", model))
    (layer,) = record.layers
    np.testing.assert_array_equal(filters, W.reshape(-1, 9))
    assert (layer.strides, layer.group, layer.dilations) == ((2, 2), 2, (1, 1))


def test_the_result_of_a_function_is_a_weight(tmp_path: Path) -> None:
    make = function("Make", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    model = weight_model(
        [node("Make", ["a"], ["w"], domain="local")],
        [tensor("a", W)],
        domains=["local"],
        functions=[make],
    )
    assert exact(tmp_path, model).weight_source == "Neg < initializer"


def test_a_weight_shared_by_two_convolutions_gives_two_records(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w.weight"], ["a"]), node("Conv", ["a", "w.weight"], ["y"])]
    shared = tensor("w.weight", random_weight((3, 3, 3, 3)))
    record, blocks = read_layers(
        write_model(tmp_path / "m.onnx", model_of(graph_of(nodes, weights=[shared])))
    )
    assert [layer.name for layer in record.layers] == ["w", "w#2"]
    assert record.layers[0].weights_sha256 == record.layers[1].weights_sha256
    np.testing.assert_array_equal(*blocks)
    assert record.kernels == {"(3, 3)": 18}


def test_values_that_are_not_finite_are_kept_and_counted(tmp_path: Path) -> None:
    values = W.copy()
    values[0, 0, 0], values[1, 1, 1, 1], values[2, 0, 2, 2] = np.nan, np.inf, -np.inf
    layer = exact(tmp_path, conv_model(values))
    assert layer.nonfinite == 5


def test_a_layer_of_zeros_and_a_layer_of_one_filter_are_layers(tmp_path: Path) -> None:
    record, blocks = read_layers(
        write_model(tmp_path / "m.onnx", conv_net([np.zeros((2, 1, 3, 3), np.float32), (1, 2, 3, 3)]))
    )
    assert [layer.n_filters for layer in record.layers] == [2, 2]
    assert not blocks[0].any()
    record, blocks = read_layers(write_model(tmp_path / "one.onnx", conv_model((1, 1, 3, 3))))
    assert blocks[0].shape == (1, 9)


def test_a_long_chain_of_identities_is_followed_without_recursion(tmp_path: Path) -> None:
    names = ["a", *(f"i{place}" for place in range(9_999)), "w"]
    nodes = [node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", weight_model(nodes, [tensor("a", W)])))
    np.testing.assert_array_equal(block, W.reshape(-1, 9))
    assert record.layers[0].weight_source == "Identity x10000 < initializer"


def test_a_weight_that_uses_itself_over_and_over_is_computed_in_linear_time(tmp_path: Path) -> None:
    names = ["a", *(f"s{place}" for place in range(300)), "w"]
    nodes = [node("Add", [a, a], [b]) for a, b in itertools.pairwise(names)]
    nodes += [node("Mul", ["w", "tiny"], ["w2"])]
    model = weight_model(nodes, [tensor("a", W), tensor("tiny", np.float32(1e-30))])
    _record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    assert block.shape == (12, 9)


REFUSED: list[tuple[str, Callable[[], onnx.ModelProto], str]] = [
    (
        "graph input",
        lambda: weight_model([], inputs=["x", "w"]),
        "the weight is the graph input 'w', which has no value",
    ),
    (
        "computed from a graph input",
        lambda: weight_model([node("Mul", ["a", "s"], ["w"])], [tensor("a", W)], inputs=["x", "s"]),
        "the weight is computed from the graph input 's', which has no value",
    ),
    (
        "missing",
        lambda: weight_model([]),
        "the weight is 'w', which is not defined in the file",
    ),
    (
        "random",
        lambda: weight_model([node("RandomNormal", [], ["w"], shape=[4, 3, 3, 3])]),
        "the weight is random (RandomNormal)",
    ),
    (
        "generated",
        lambda: weight_model([node("ConstantOfShape", ["s"], ["w"])], [ints("s", 4, 3, 3, 3)]),
        "generated by ConstantOfShape, not a trained weight",
    ),
    (
        "generated, behind other operators",
        lambda: weight_model(
            [
                node("ConstantOfShape", ["s"], ["a"]),
                node("Reshape", ["a", "t"], ["b"]),
                node("Identity", ["b"], ["w"]),
            ],
            [ints("s", 12, 9), ints("t", 4, 3, 3, 3)],
        ),
        "generated by ConstantOfShape, not a trained weight",
    ),
    (
        "unknown operator",
        lambda: weight_model(
            [node("Mystery", ["a"], ["w"], domain="acme")], [tensor("a", W)], domains=["acme"]
        ),
        "the weight is computed by acme::Mystery, which is not known here",
    ),
    (
        "1-D",
        lambda: conv_model((4, 3, 3)),
        "a 1-D convolution",
    ),
    (
        "3-D",
        lambda: conv_model((4, 3, 3, 3, 3)),
        "a 3-D convolution",
    ),
    (
        "matrix",
        lambda: conv_model((4, 3)),
        "the weight has 2 dimensions, expected 4",
    ),
    (
        "empty",
        lambda: conv_model((0, 3, 3, 3)),
        "the weight is empty: its shape is [0, 3, 3, 3]",
    ),
    (
        "other kernel",
        lambda: conv_model((4, 3, 3, 5)),
        "the kernel is 3x5, not 3x3",
    ),
    (
        "text",
        lambda: weight_model([node("Constant", [], ["w"], value_string=b"weights")]),
        "Constant holds no numbers",
    ),
    (
        "an index outside",
        lambda: weight_model([node("Gather", ["a", "i"], ["w"])], [tensor("a", W), ints("i", 99)]),
        "Gather cannot be computed: index 99 is out of bounds for axis 0 with size 4",
    ),
]


@pytest.mark.parametrize(
    ("make", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_layer_without_a_trained_weight_is_skipped_with_the_reason(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], reason: str
) -> None:
    assert skipped(tmp_path, make()) == reason


def test_the_trouble_of_one_layer_never_costs_another(tmp_path: Path) -> None:
    model = conv_net([(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)])
    model.graph.initializer[1].dims[0] = 10**12
    model.graph.initializer[1].dims[1] = 10**12
    record, _blocks = read_layers(write_model(tmp_path / "m.onnx", model))
    assert [layer.name for layer in record.layers] == ["layer0", "layer2"]
    assert "needs" in record.skipped[0].reason
    # The pads tell that the lost layer is a 2-D convolution too.
    assert [layer.conv_depth for layer in record.layers] == [0, 2]


BOMBS: list[tuple[str, Callable[[], onnx.ModelProto]]] = [
    (
        "Expand",
        lambda: weight_model(
            [node("Expand", ["a", "s"], ["w"])], [tensor("a", W[:1, :1]), ints("s", 10**6, 10**6, 3, 3)]
        ),
    ),
    (
        "Tile",
        lambda: weight_model(
            [node("Tile", ["a", "s"], ["w"])], [tensor("a", W), ints("s", 10**6, 10**6, 1, 1)]
        ),
    ),
    (
        "Pad",
        lambda: weight_model(
            [node("Pad", ["a", "p"], ["w"])], [tensor("a", W), ints("p", 10**9, 0, 0, 0, 0, 0, 0, 0)]
        ),
    ),
    (
        "ConstantOfShape times a weight",
        lambda: weight_model(
            [node("ConstantOfShape", ["s"], ["c"]), node("Mul", ["a", "c"], ["w"])],
            [tensor("a", W), ints("s", 10**6, 10**6, 3, 3)],
        ),
    ),
    (
        "Add that broadcasts",
        lambda: weight_model(
            [
                node("Expand", ["a", "s"], ["b"]),
                node("Expand", ["a", "t"], ["c"]),
                node("Add", ["b", "c"], ["w"]),
            ],
            [tensor("a", W[:1, :1]), ints("s", 10**5, 1, 3, 3), ints("t", 1, 10**5, 3, 3)],
        ),
    ),
    (
        "Gather of the same rows over and over",
        lambda: weight_model(
            [
                node("Expand", ["i", "s"], ["n"]),
                node("Gather", ["a", "n"], ["w"], axis=0),
            ],
            [tensor("a", W), ints("i", 0), ints("s", 10**8)],
        ),
    ),
    (
        "MatMul of a column and a row",
        lambda: weight_model(
            [
                node("Expand", ["a", "s"], ["b"]),
                node("Expand", ["a", "t"], ["c"]),
                node("MatMul", ["b", "c"], ["w"]),
            ],
            [tensor("a", np.ones((1, 1), np.float32)), ints("s", 10**6, 1), ints("t", 1, 10**6)],
        ),
    ),
    (
        "Resize",
        lambda: weight_model(
            [node("Resize", ["a", "", "s"], ["w"])],
            [tensor("a", W), tensor("s", np.array([1, 1, 1e6, 1e6], np.float32))],
        ),
    ),
    (
        "Range",
        lambda: weight_model(
            [
                node("Range", ["zero", "many", "one"], ["r"]),
                node("Mul", ["a", "r"], ["w"]),
            ],
            [
                tensor("a", W),
                tensor("zero", np.float32(0)),
                tensor("many", np.float32(1e12)),
                tensor("one", np.float32(1)),
            ],
        ),
    ),
]


@pytest.mark.parametrize("make", [case[1] for case in BOMBS], ids=[case[0] for case in BOMBS])
def test_an_operator_that_asks_for_terabytes_is_refused_before_it_gets_them(
    tmp_path: Path, make: Callable[[], onnx.ModelProto]
) -> None:
    path = write_model(tmp_path / "m.onnx", make())
    with open_model(path, limits=Limits(constant_bytes=1 << 28)) as model:
        record = model.extract(Kernel(3, 3), lambda *_: pytest.fail("there is nothing to extract"))
    (layer,) = record.skipped
    assert any(word in layer.reason for word in ("limit", "would take", "size of its result")), layer.reason


def test_the_work_for_one_weight_is_bounded(tmp_path: Path) -> None:
    names = ["a", *(f"s{place}" for place in range(100)), "w"]
    nodes = [node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    path = write_model(tmp_path / "m.onnx", weight_model(nodes, [tensor("a", W)]))
    with open_model(path, limits=Limits(fold_bytes=W.nbytes * 50)) as model:
        record = model.extract(Kernel(3, 3), lambda *_: None)
    assert "takes more than" in record.skipped[0].reason


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    perms=st.lists(st.permutations(range(4)), max_size=4),
    seed=st.integers(0, 2**16),
)
def test_any_chain_of_transposes_gives_what_onnxruntime_gives(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], perms: list[list[int]], seed: int
) -> None:
    final = (*shape, 3, 3)
    for perm in reversed(perms):
        final = tuple(final[perm.index(axis)] for axis in range(4))
    values = random_weight(final, seed=seed)
    names = ["a", *(f"t{place}" for place in range(len(perms)))]
    nodes = [node("Transpose", [a], [b], perm=p) for a, b, p in zip(names, names[1:], perms, strict=False)]
    nodes.append(node("Identity", [names[-1]], ["w"]))
    path = write_model(
        tmp_path_factory.mktemp("transposed") / "m.onnx", weight_model(nodes, [tensor("a", values)])
    )
    (block,) = read_layers(path)[1]
    expected = numpy_helper.to_array(tensor("a", values))
    for perm in perms:
        expected = expected.transpose(perm)
    np.testing.assert_array_equal(block, expected.reshape(-1, 9))
