"""Whether rows of data may go through a graph apart: never said where they may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from filterdb.onnxgraph.rowwise import by_row
from filterdb.testing import tensor

ROWS = 5


def graph(
    op: str,
    *constants: Any,
    shape: tuple[int | str, ...] = ("n", 4, 5, 5),
    opset: int = 17,
    **attributes: Any,
) -> onnx.ModelProto:
    """A node of rows and constants; a constant that is a name is another value of the graph."""
    stored = {f"c{place}": value for place, value in enumerate(constants) if not isinstance(value, str)}
    names = [value if isinstance(value, str) else f"c{place}" for place, value in enumerate(constants)]
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("ReduceMax", ["r"], ["pooled"], axes=[2, 3], keepdims=0)
        if len(shape) == 4
        else helper.make_node("Neg", ["r"], ["pooled"]),
        helper.make_node(op, ["r", *names], ["y"], **attributes),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor(name, np.asarray(value)) for name, value in stored.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def f4(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype("f4")


ONES = [np.abs(f4(4)) for _ in range(4)]
DENSE: dict[str, Any] = {"shape": ("n", 6)}
APART = [
    graph("Conv", f4(3, 4, 3, 3)),
    graph("BatchNormalization", *ONES),
    graph("Add", "r"),
    graph("Add", f4(1, 4, 1, 1)),
    graph("Mul", f4(5)),
    graph("PRelu", f4(4, 1, 1)),
    graph("Concat", "x", axis=1),
    graph("Concat", "x", axis=-1),
    graph("Flatten"),
    graph("Softmax", axis=1),
    graph("Softmax", axis=-1),
    graph("ReduceMean", axes=[2, 3]),
    graph("ReduceMean", axes=[-1], keepdims=0),
    graph("Transpose", perm=[0, 2, 3, 1]),
    graph("Reshape", np.array([0, -1])),
    graph("Reshape", np.array([0, 2, 2, 5, 5])),
    graph("Pad", np.array([0, 1, 2, 0, 0, 0, 0, 3])),
    graph("Slice", np.array([1]), np.array([3]), np.array([1])),
    graph("Gemm", f4(6, 3), f4(3), **DENSE),
    graph("Gemm", f4(6, 3), f4(1, 3), **DENSE),
    graph("MatMul", f4(6, 3), **DENSE),
    graph("MatMul", f4(5, 3)),
    graph("Resize", "", np.array([1, 1, 2, 2], "f4"), mode="nearest"),
    graph("MaxPool", kernel_shape=[2, 2]),
]
TOGETHER = [
    graph("BatchNormalization", *ONES, training_mode=1),
    graph("Add", "pooled", shape=("n", 5, 5, 5)),
    graph("Add", f4(5, 4, 1, 1)),
    graph("Add", f4(1, 1, 4, 5, 5)),
    graph("Concat", "x", axis=0),
    graph("Concat", "x", axis=-4),
    graph("Concat", f4(5, 4, 5, 5), axis=1),
    graph("Flatten", axis=0),
    graph("Flatten", axis=2),
    graph("Softmax", axis=0),
    graph("Softmax", axis=-4),
    graph("ReduceMean", axes=[0]),
    graph("ReduceMean", axes=[-4, 2]),
    graph("ReduceMean"),
    graph("Transpose"),
    graph("Transpose", perm=[1, 0, 2, 3]),
    graph("Reshape", np.array([-1, 4, 5, 5])),
    graph("Reshape", np.array([5, -1])),
    graph("Reshape", np.array([0, 1]), allowzero=1),
    graph("Pad", np.array([1, 0, 0, 0, 0, 0, 0, 0])),
    graph("Pad", np.array([0, 0, 0, 0, 1, 0, 0, 0])),
    graph("Slice", np.array([1]), np.array([3]), np.array([0])),
    graph("Slice", np.array([0]), np.array([3])),
    graph("Gemm", f4(5, 3), transA=1, **DENSE),
    graph("Gemm", f4(6, 3), f4(5, 3), **DENSE),
    graph("Gemm", "pooled", transB=1, **DENSE),
    graph("MatMul", "r"),
    graph("Resize", "", np.array([2, 1, 1, 1], "f4"), mode="nearest"),
    graph("Resize", "", "", np.array([5, 4, 9, 9]), mode="nearest"),
    graph("CumSum", np.array(0)),
    graph("Shape"),
    graph("Relu", shape=(ROWS, 4, 5, 5)),
]


def named(model: onnx.ModelProto) -> str:
    return model.graph.node[2].op_type


@pytest.mark.parametrize("model", APART, ids=named)
def test_rows_that_are_apart_give_what_they_give_together(model: onnx.ModelProto) -> None:
    assert by_row(model.graph)
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    data = f4(ROWS, *sizes)
    evaluator = ReferenceEvaluator(model)
    whole = evaluator.run(["y"], {"x": data})[0]
    parts = [
        evaluator.run(["y"], {"x": data[part]})[0] for part in (slice(0, 2), slice(2, 3), slice(3, None))
    ]
    assert [len(part) for part in parts] == [2, 1, 2]
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", TOGETHER, ids=named)
def test_where_rows_meet_or_may_meet_it_says_no(model: onnx.ModelProto) -> None:
    assert not by_row(model.graph)


def test_one_node_that_mixes_rows_is_enough() -> None:
    model = graph("Relu")
    model.graph.node.append(helper.make_node("ReduceMean", ["y"], ["m"], axes=[0]))
    assert not by_row(model.graph)


def test_what_cannot_be_followed_is_not_apart() -> None:
    for change in ("order", "inputs", "domain", "fixed"):
        model = graph("Relu")
        assert by_row(model.graph)
        if change == "order":
            nodes = list(reversed(model.graph.node))
            del model.graph.node[:]
            model.graph.node.extend(nodes)
        elif change == "inputs":
            model.graph.input.add().CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]))
        elif change == "domain":
            model.graph.node[2].domain = "elsewhere"
        else:
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
        assert not by_row(model.graph), change
