"""Small files that ask for exponential or quadratic work, or for all memory, are refused in words."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from filterdb.errors import NotAModelError, UnsafeModelError
from filterdb.onnxgraph import Limits, open_model, read_layers
from filterdb.onnxgraph.graph import unfold
from filterdb.testing import (
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
ONE = tensor("one", np.ones((1, 1, 1, 1), np.float32))
FLAT = tensor("flat", np.ones((1, 1), np.int32))


def ints(name: str, *values: int) -> TensorProto:
    return tensor(name, np.array(values, np.int64))


def reasons(tmp_path: Path, model: onnx.ModelProto, **limits: int) -> list[str]:
    """Return why each convolution gives no record."""
    with open_model(write_model(tmp_path / "m.onnx", model), limits=Limits(**limits)) as opened:
        return [layer.reason for layer in opened.extract(Kernel(3, 3), lambda *_: None).skipped]


def test_many_marks_of_comments_in_one_line_are_looked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"# " * 2000)
    # Trying every way to part them would not end in the life of the machine.
    with pytest.raises(NotAModelError, match="no protobuf message"):
        open_model(path)
    path.write_bytes(b"\n# a: 1\n\n  # b\n \ngraph {\n}\n")
    with pytest.raises(NotAModelError, match="text, perhaps a model"):
        open_model(path)


def test_an_operator_of_a_very_long_name_takes_no_square_of_it(tmp_path: Path) -> None:
    model = conv_model(W)
    model.graph.node[0].op_type = "Conv" * 100_000
    start = time.monotonic()
    (layer,) = read_layers(write_model(tmp_path / "m.onnx", model))[0].skipped
    assert layer.reason.startswith("ConvConv")
    assert len(layer.reason) < 1_000
    assert time.monotonic() - start < 20  # minutes, where each "Conv" is followed to the end


@pytest.mark.parametrize("sparse", [False, True])
def test_more_dimensions_than_an_array_can_have_are_not_multiplied(tmp_path: Path, sparse: bool) -> None:
    model = conv_net([(4, 1, 3, 3), (4, 4, 3, 3)])
    dims = [2**62 + 1] * 10_000
    bad = model.graph.initializer[0]
    if sparse:
        entry = model.graph.sparse_initializer.add(dims=dims)
        entry.values.CopyFrom(tensor(bad.name, np.ones(1, np.float32)))
        entry.indices.CopyFrom(tensor("", np.zeros(1, np.int64)))
        del model.graph.initializer[0]
    else:
        del bad.dims[:]
        bad.dims.extend(dims)
    assert reasons(tmp_path, model) == ["a tensor has 10000 dimensions, more than 64"]


def calling(function: onnx.FunctionProto, count: int) -> onnx.ModelProto:
    calls = [node(function.name, ["x"], [f"o{place}"], domain="local") for place in range(count)]
    return model_of(graph_of(calls, outputs=["o0"]), domains=["local"], functions=[function])


def function(inputs: list[str], nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    return helper.make_function("local", "F", inputs, ["b"], nodes, [helper.make_opsetid("", 17)])


def body(**lists: Any) -> onnx.NodeProto:
    graph = onnx.GraphProto(name="body")
    for name, entries in lists.items():
        getattr(graph, name).extend(entries)
    return node("If", ["a"], ["b"], then_branch=graph)


REPEATED: list[tuple[str, Callable[[], onnx.FunctionProto]]] = [
    ("inputs", lambda: function(["a", *map(str, range(1000))], [node("Relu", ["a"], ["b"])])),
    ("inputs of a node", lambda: function(["a"], [node("Sum", ["a"] * 1000, ["b"])])),
    ("outputs of a node", lambda: function(["a"], [node("Split", ["a"], ["b", *map(str, range(1000))])])),
    ("attributes", lambda: function(["a"], [node("N", ["a"], ["b"], **{f"k{i}": i for i in range(1000)})])),
    ("initializers", lambda: function(["a"], [body(initializer=[ints(str(i)) for i in range(1000)])])),
    (
        "results of a body",
        lambda: function(["a"], [body(output=[onnx.ValueInfoProto(name=str(i)) for i in range(1000)])]),
    ),
    ("a long name", lambda: function(["a"], [node("N" * 128_000, ["a"], ["b"])])),
    ("a long output", lambda: function(["a"], [node("Relu", ["a"], ["b", "n" * 128_000])])),
]


@pytest.mark.parametrize("make", [case[1] for case in REPEATED], ids=[case[0] for case in REPEATED])
def test_what_a_call_brings_along_counts_as_often_as_it_is_called(
    make: Callable[[], onnx.FunctionProto],
) -> None:
    limits = Limits(names=25_000)
    assert len(unfold(calling(make(), 10), limits).nodes) == 20
    with pytest.raises(UnsafeModelError, match="more than 25000 names"):
        unfold(calling(make(), 30), limits)


def test_bodies_without_anything_in_them_count() -> None:
    bodies = node("N", ["x"], ["y"], bodies=[onnx.GraphProto(name="empty")] * 1000)
    with pytest.raises(UnsafeModelError, match="more than 5000 names"):
        unfold(model_of(graph_of([bodies])), Limits(names=5000))


def test_a_model_may_store_as_many_tensors_as_its_file_holds() -> None:
    weights = [ints(f"w{place}") for place in range(1000)]
    model = model_of(graph_of([node("Relu", ["x"], ["y"])], weights=weights))
    assert len(unfold(model, Limits(names=100)).nodes) == 1


SIZES = [ints("s", 1 << 12, 1, 3, 3), ints("t", 1, 1 << 12, 3, 3)]
# Each result fits the limit of 2**28 bytes if it is counted as its first input is, and not as it is made.
WIDE: list[tuple[str, Callable[[], onnx.ModelProto]]] = [
    (
        "Clip that broadcasts",
        lambda: weight_model(
            [node("Expand", ["one", "s"], ["b"]), node("Expand", ["one", "t"], ["c"]),
             node("Clip", ["b", "c"], ["w"])],
            [ONE, *SIZES],
        ),
    ),
    *(
        (
            f"{op} of bytes",
            lambda op=op: weight_model(
                [node("Expand", ["a", "s"], ["b"]), node(op, ["b"], ["w"])],
                [tensor("a", np.ones((1, 1, 1, 1), np.uint8)), ints("s", 1 << 12, 1 << 12, 3, 3)],
            ),
        )
        for op in ("Exp", "Log", "Tanh", "Sqrt", "Reciprocal")
    ),
    (
        "Pow of bytes",
        lambda: weight_model(
            [node("Expand", ["a", "s"], ["b"]), node("Pow", ["b", "b"], ["w"])],
            [tensor("a", np.ones((1, 1, 1, 1), np.uint8)), ints("s", 1 << 12, 1 << 12, 3, 3)],
        ),
    ),
    (
        "QuantizeLinear",
        lambda: weight_model(
            [node("Expand", ["a", "s"], ["b"]), node("QuantizeLinear", ["b", "q"], ["w"])],
            [tensor("a", W[:1, :1]), tensor("q", np.float32(1)), ints("s", 1 << 11, 1 << 11, 3, 3)],
        ),
    ),
    (
        "Range of bytes",
        lambda: weight_model(
            [node("Cast", ["big"], ["l"], to=TensorProto.FLOAT16), node("Cast", ["zero"], ["z"], to=10),
             node("Cast", ["step"], ["d"], to=10), node("Range", ["z", "l", "d"], ["r"]),
             node("Reshape", ["r", "shape"], ["m"]), node("Add", ["a", "m"], ["w"])],
            [tensor("a", W[:1, :1]), tensor("big", np.float32(60000)), tensor("zero", np.float32(0)),
             tensor("step", np.float32(0.001)), ints("shape", -1, 1, 1, 1)],
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize("make", [case[1] for case in WIDE], ids=[case[0] for case in WIDE])
def test_a_result_counts_with_the_bytes_it_is_computed_in(
    tmp_path: Path, make: Callable[[], onnx.ModelProto]
) -> None:
    (reason,) = reasons(tmp_path, make(), constant_bytes=1 << 28)
    assert "more than the limit of 268435456 bytes" in reason


def test_the_work_for_all_weights_together_is_bounded(tmp_path: Path) -> None:
    # Every convolution has the same weight, which is too large to be remembered.
    nodes = [
        node("Tile", ["a", "r"], ["t"]),
        node("Exp", ["t"], ["w"]),
        *(node("Conv", ["x", "w"], [f"y{place}"]) for place in range(50)),
    ]
    weights = [tensor("a", W), ints("r", 1, 1000, 1, 1)]
    model = model_of(graph_of(nodes, weights=weights, outputs=["y0"]))
    found = reasons(tmp_path, model, model_bytes=20_000_000)
    assert set(found) == {"computing the weights of the model takes more than 20000000 bytes"}
    assert reasons(tmp_path, model) == []


def test_a_long_way_to_a_weight_is_not_walked_for_every_convolution(tmp_path: Path) -> None:
    names = ["a", *(f"i{place}" for place in range(20_000))]
    chain = [node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    convs = [node("Conv", ["x", names[-1]], [f"y{place}"]) for place in range(20_000)]
    model = model_of(graph_of([*chain, *convs], weights=[tensor("a", W)], outputs=["y0"]))
    # Twenty thousand times as many steps take half an hour.
    found = reasons(tmp_path, model, model_bytes=1 << 31)
    assert len(found) > 19_900
    assert set(found) == {"computing the weights of the model takes more than 2147483648 bytes"}


def test_what_a_weight_needs_at_the_same_time_is_bounded(tmp_path: Path) -> None:
    parts = [f"t{place}" for place in range(8)]
    nodes = [*(node("Tile", ["a", "r"], [part]) for part in parts), node("Sum", parts, ["w"])]
    model = weight_model(nodes, [tensor("a", W), ints("r", 1, 1000, 1, 1)])
    (reason,) = reasons(tmp_path, model, constant_bytes=500_000)
    assert re.fullmatch(r"computing the weight holds 17\d{5} bytes at a time", reason)
    assert reasons(tmp_path, model) == []


def costly(op: str, first: onnx.TensorProto, *sizes: list[int], **options: Any) -> onnx.ModelProto:
    """Return a convolution whose weight is made by an operator from inputs of these sizes."""
    shapes = [ints(f"s{place}", *size) for place, size in enumerate(sizes)]
    inputs = [f"e{place}" for place in range(len(sizes))]
    nodes = [node("Expand", [first.name, f"s{place}"], [f"e{place}"]) for place in range(len(sizes))]
    nodes += [node(op, inputs, ["m"], **options), node("Reshape", ["m", "r"], ["w"])]
    return weight_model(nodes, [first, *shapes, ints("r", -1, 1, 3, 3)])


COSTLY: list[tuple[str, Callable[[], onnx.ModelProto]]] = [
    ("MatMul of integers", lambda: costly("MatMul", FLAT, [2400, 2400], [2400, 2400])),
    ("Gemm of integers", lambda: costly("Gemm", FLAT, [2400, 2400], [2400, 2400], transA=1)),
    ("Conv", lambda: costly("Conv", ONE, [1, 1, 599, 599], [1, 1, 300, 300])),
    ("ConvTranspose", lambda: costly("ConvTranspose", ONE, [1, 1, 300, 300], [1, 1, 301, 301])),
    ("MaxPool", lambda: costly("MaxPool", ONE, [1, 1, 1199, 1199], kernel_shape=[600, 600])),
    ("MaxPool of single values", lambda: costly("MaxPool", ONE, [1, 1, 1200, 1200], kernel_shape=[1, 1])),
    ("LRN", lambda: costly("LRN", ONE, [1, 900_000, 1, 1], size=900_001)),
    ("Einsum", lambda: costly("Einsum", FLAT, *[[90, 90]] * 4, equation="ab,cd,ef,gh->a")),
]


@pytest.mark.parametrize("make", [case[1] for case in COSTLY], ids=[case[0] for case in COSTLY])
def test_an_operator_whose_work_is_far_more_than_its_values_is_refused_before_it_runs(
    tmp_path: Path, make: Callable[[], onnx.ModelProto]
) -> None:
    reason = reasons(tmp_path, make())[-1]  # a Conv that makes the weight is listed itself
    assert "is not computed: it would take" in reason
    assert reason.endswith("multiplications")


USUAL: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    ("MatMul", [(640, 16), (16, 576)], {}),
    ("Einsum", [(64, 32), (32, 9)], {"equation": "ab, bc->ac"}),
    ("Einsum", [(8, 4, 3, 3), (2, 4, 3, 3)], {"equation": "o...,i...->oi..."}),
    ("Conv", [(64, 3, 5, 5), (16, 3, 3, 3)], {}),
    ("MaxPool", [(64, 3, 8, 8)], {"kernel_shape": [3, 3]}),
]


@pytest.mark.parametrize(("op", "sizes", "options"), USUAL)
def test_products_and_sums_of_usual_sizes_are_computed(
    tmp_path: Path, op: str, sizes: list[tuple[int, ...]], options: dict[str, Any]
) -> None:
    inputs = [tensor(f"e{place}", random_weight(size, seed=place)) for place, size in enumerate(sizes)]
    nodes = [
        node(op, [item.name for item in inputs], ["m"], **options),
        node("Reshape", ["m", "r"], ["w"]),
    ]
    model = weight_model(nodes, [*inputs, ints("r", -1, 1, 3, 3)])
    record, _blocks = read_layers(write_model(tmp_path / "m.onnx", model))
    assert "conv" in {layer.name for layer in record.layers}, record.skipped
