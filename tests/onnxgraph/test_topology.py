"""Depths, counts and order, against graphs whose answers are written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions

from filterdb.errors import ModelError, NotAModelError, UnsafeModelError
from filterdb.onnxgraph import Limits, open_model, read_layers
from filterdb.onnxgraph.graph import unfold
from filterdb.onnxgraph.topology import measure
from filterdb.testing import (
    branch_model,
    chain_model,
    conv_model,
    conv_net,
    dense_model,
    graph_of,
    model_of,
    random_weight,
    tensor,
    write_model,
)
from filterdb.types import Kernel

node = helper.make_node
W = tensor("w", random_weight((1, 1, 3, 3)))


def depths(model: onnx.ModelProto) -> dict[str, int]:
    """Return the depth of every node by its name, or its operator."""
    graph = unfold(model, Limits())
    measure(graph)
    return {n.proto.name or n.op: n.depth for n in graph.nodes}


def record_of(tmp_path: Path, model: onnx.ModelProto) -> Any:
    return read_layers(write_model(tmp_path / "m.onnx", model))[0]


def named(name: str, op: str, inputs: list[str], outputs: list[str], **options: Any) -> onnx.NodeProto:
    return node(op, inputs, outputs, name=name, **options)


def test_the_depth_of_a_node_is_the_longest_path_before_it() -> None:
    nodes = [
        named("a", "Relu", ["x"], ["a"]),
        named("b", "Relu", ["a"], ["b"]),
        named("c", "Add", ["b", "x"], ["c"]),
        named("short", "Add", ["x", "x"], ["s"]),
        named("end", "Add", ["s", "c"], ["y"]),
    ]
    assert depths(model_of(graph_of(nodes))) == {"a": 0, "b": 1, "c": 2, "short": 0, "end": 3}


def test_constants_add_no_depth() -> None:
    nodes = [
        named("constant", "Constant", [], ["k"], value_float=1.0),
        named("cast", "Cast", ["k"], ["k2"], to=TensorProto.FLOAT),
        named("neg", "Neg", ["w"], ["w2"]),
        named("conv", "Conv", ["x", "w2"], ["c"]),
        named("add", "Add", ["c", "k2"], ["y"]),
    ]
    expected = {"constant": 0, "cast": 0, "neg": 0, "conv": 0, "add": 1}
    assert depths(model_of(graph_of(nodes, weights=[W]))) == expected


def test_random_values_are_no_constants() -> None:
    nodes = [
        named("noise", "RandomNormal", [], ["z"], shape=[1, 1, 8, 8]),
        named("conv", "Conv", ["z", "w"], ["c"]),
        named("relu", "Relu", ["c"], ["y"]),
    ]
    assert depths(model_of(graph_of(nodes, inputs=[], weights=[W]))) == {"noise": 0, "conv": 1, "relu": 2}


def test_a_model_of_constants_alone_has_depth_one(tmp_path: Path) -> None:
    nodes = [named("a", "Constant", [], ["k"], value_float=1.0), named("b", "Neg", ["k"], ["y"])]
    record = record_of(tmp_path, model_of(graph_of(nodes, inputs=[])))
    assert (record.depth, record.ops) == (1, {"Constant": 1, "Neg": 1})


def test_an_empty_graph_has_depth_zero(tmp_path: Path) -> None:
    record = record_of(tmp_path, model_of(graph_of([])))
    assert (record.depth, record.layers, record.ops, record.total_filters) == (0, (), {}, 0)


def test_bodies_continue_from_the_node_that_holds_them() -> None:
    model = branch_model((1, 1, 3, 3), (1, 1, 3, 3))
    outer = model.graph.node[0]
    for attribute in outer.attribute:
        attribute.g.node[0].input[0] = "early" if attribute.name == "else_branch" else "late"
    model.graph.node.insert(0, named("early", "Relu", ["x"], ["early"]))
    model.graph.node.insert(1, named("late", "Relu", ["early"], ["late"]))
    model.graph.node.insert(2, named("later", "Relu", ["late"], ["later"]))
    model.graph.node.insert(3, named("test", "ReduceMax", ["early"], ["t"]))
    outer.input[0] = "t"
    outer.name = "if"
    model.graph.node[4].CopyFrom(outer)
    model.graph.node.append(named("end", "Add", ["y", "later"], ["z"]))
    assert depths(model) == {
        "early": 0,
        "late": 1,
        "later": 2,
        "test": 1,
        "if": 2,
        "then_conv": 2,  # reads "late" of depth 1
        "else_conv": 2,  # its input alone would allow 1, but its holder has 2
        "end": 3,
    }


def test_what_follows_a_body_lies_after_its_deepest_result() -> None:
    model = branch_model((1, 1, 3, 3), (1, 1, 3, 3))
    body = next(a.g for a in model.graph.node[0].attribute if a.name == "then_branch")
    body.node.append(named("more", "Relu", ["then_y"], ["m"]))
    body.node.append(named("most", "Relu", ["m"], ["deep"]))
    body.node.append(named("unused", "Relu", ["deep"], ["nobody"]))
    body.output[0].name = "deep"
    model.graph.node.append(named("end", "Relu", ["y"], ["z"]))
    expected = {"If": 0, "then_conv": 0, "more": 1, "most": 2, "unused": 3, "else_conv": 0, "end": 3}
    assert depths(model) == expected


def test_a_scan_body_starts_at_the_depth_of_the_scan() -> None:
    body = graph_of(
        [named("first", "Relu", ["s"], ["a"]), named("second", "Add", ["a", "outer"], ["out"])],
        inputs=["s"],
        outputs=["out"],
    )
    nodes = [
        named("outer", "Relu", ["x"], ["outer"]),
        named("scan", "Scan", ["outer"], ["r"], body=body, num_scan_inputs=1),
        named("end", "Relu", ["r"], ["y"]),
    ]
    assert depths(model_of(graph_of(nodes))) == {"outer": 0, "scan": 1, "first": 1, "second": 2, "end": 3}


def function(name: str, nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["p"], ["q"], nodes, imports)


def test_a_called_function_counts_as_if_it_were_written_out(tmp_path: Path) -> None:
    twice = function("Twice", [node("Relu", ["p"], ["m"]), node("Relu", ["m"], ["q"])])
    nest = function("Nest", [node("Twice", ["p"], ["m"], domain="local"), node("Neg", ["m"], ["q"])])
    calls = [
        node("Nest", ["x"], ["a"], domain="local"),
        node("Conv", ["a", "w"], ["b"]),
        node("Nest", ["b"], ["y"], domain="local"),
    ]
    model = model_of(graph_of(calls, weights=[W]), domains=["local"], functions=[nest, twice])
    record = record_of(tmp_path, model)
    # Nest at 0 holds Twice at 0 with Relus at 0 and 1, then Neg at 2; Conv 3; the same again from 4.
    assert record.depth == 7
    assert record.ops == {"Conv": 1, "Neg": 2, "Relu": 4}
    assert record.other_ops == {"local::Nest": 2, "local::Twice": 2}


@pytest.mark.parametrize("count", [1, 2, 50])
def test_functions_that_call_themselves_are_refused(tmp_path: Path, count: int) -> None:
    functions = [
        function(f"F{i}", [node(f"F{(i + 1) % count}", ["p"], ["q"], domain="local")]) for i in range(count)
    ]
    model = model_of(graph_of([node("F0", ["x"], ["y"], domain="local")]), functions=functions)
    with pytest.raises(UnsafeModelError, match="nested more than"):
        record_of(tmp_path, model)


def test_functions_that_double_at_every_level_are_refused(tmp_path: Path) -> None:
    functions = [
        function(
            f"F{i}",
            [
                node(f"F{i + 1}", ["p"], ["m"], domain="local"),
                node(f"F{i + 1}", ["m"], ["q"], domain="local"),
            ],
        )
        for i in range(40)
    ]
    functions.append(function("F40", [node("Relu", ["p"], ["q"])]))
    path = write_model(
        tmp_path / "m.onnx",
        model_of(graph_of([node("F0", ["x"], ["y"], domain="local")]), functions=functions),
    )
    with (
        open_model(path, limits=Limits(nodes=20_000)) as model,
        pytest.raises(UnsafeModelError, match="more than 20000 nodes"),
    ):
        model.extract(Kernel(3, 3), lambda *_: None)


def test_a_dense_graph_is_measured_in_linear_time(tmp_path: Path) -> None:
    model = dense_model(200)
    graph = unfold(model, Limits())
    topology = measure(graph)
    edges = sum(len(n.inputs) for n in graph.nodes)
    assert len(graph.nodes) == 399
    assert topology.steps <= len(graph.nodes) + edges
    record = record_of(tmp_path, model)
    assert (record.depth, len(record.layers)) == (399, 200)
    assert [layer.conv_depth for layer in record.layers] == list(range(200))


@pytest.mark.parametrize("length", [50_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_a_long_chain_of_nodes_is_no_problem(length: int) -> None:
    graph = unfold(chain_model(length), Limits())
    assert measure(graph).depth == length


def test_nodes_in_the_wrong_order_are_sorted_first() -> None:
    model = chain_model(50)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    assert measure(unfold(model, Limits())).depth == 50


def test_a_cycle_is_named(tmp_path: Path) -> None:
    nodes = [
        named("before", "Relu", ["x"], ["a"]),
        named("first", "Add", ["a", "c"], ["b"]),
        named("second", "Relu", ["b"], ["c"]),
        named("after", "Relu", ["c"], ["y"]),
    ]
    with pytest.raises(NotAModelError, match=r"cycle through the nodes (first -> second|second -> first)"):
        record_of(tmp_path, model_of(graph_of(nodes)))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Relu", ["y"], ["y"])],
        [node("F", ["y"], ["y"], domain="local")],
        [node("If", ["c"], ["c"], then_branch=graph_of([]), else_branch=graph_of([]))],
    ],
    ids=["node", "call", "if"],
)
def test_a_node_that_reads_its_own_result_is_a_cycle(tmp_path: Path, nodes: list[onnx.NodeProto]) -> None:
    functions = [helper.make_function("local", "F", ["p"], ["p"], [], [helper.make_opsetid("", 17)])]
    with pytest.raises(ModelError, match="cycle"):
        record_of(tmp_path, model_of(graph_of(nodes), functions=functions))


def test_a_body_that_reads_the_result_of_its_holder_is_a_cycle(tmp_path: Path) -> None:
    model = branch_model((1, 1, 3, 3), (1, 1, 3, 3))
    for attribute in model.graph.node[0].attribute:
        attribute.g.node[0].input[0] = "y"
    with pytest.raises(ModelError, match="cycle"):
        record_of(tmp_path, model)


def test_an_undefined_input_is_taken_for_one_from_outside(tmp_path: Path) -> None:
    record = record_of(
        tmp_path, model_of(graph_of([named("a", "Add", ["nowhere", "x"], ["y"])], inputs=["x"]))
    )
    assert (record.depth, record.ops) == (1, {"Add": 1})


def test_conv_depth_counts_the_depths_that_hold_any_2d_convolution(tmp_path: Path) -> None:
    def conv(name: str, source: str, kernel: tuple[int, ...], op: str = "Conv") -> onnx.NodeProto:
        weights.append(tensor(f"{name}.weight", random_weight((1, 1, *kernel))))
        return named(name, op, [source, f"{name}.weight"], [name])

    weights: list[TensorProto] = []
    nodes = [
        conv("a", "x", (3, 3)),  # depth 0, place 0
        conv("b", "x", (3, 3)),  # depth 0, place 0
        conv("c", "a", (1, 1)),  # depth 1, place 1
        named("relu", "Relu", ["c"], ["r"]),  # depth 2, no convolution
        conv("up", "r", (3, 3), "ConvTranspose"),  # depth 3, not counted
        conv("line", "up", (3,)),  # depth 4, not counted
        conv("d", "line", (3, 3)),  # depth 5, place 2
        conv("e", "d", (5, 5)),  # depth 6, place 3
        conv("f", "e", (3, 3)),  # depth 7, place 4
    ]
    record = record_of(tmp_path, model_of(graph_of(nodes, weights=weights)))
    assert [(layer.name, layer.conv_depth, layer.conv_depth_norm) for layer in record.layers] == [
        ("a", 0, 0.0),
        ("b", 0, 0.0),
        ("d", 2, 0.5),
        ("f", 4, 1.0),
    ]
    assert [(s.name, s.kernel, s.reason) for s in record.skipped] == [
        ("c", "1x1", "the kernel is 1x1, not 3x3"),
        ("up", "3x3", "a transposed convolution"),
        ("line", "3", "a 1-D convolution"),
        ("e", "5x5", "the kernel is 5x5, not 3x3"),
    ]
    assert record.kernels == {"(1, 1)": 1, "(3, 3)": 4, "(5, 5)": 1}
    assert (record.n_filters, record.total_filters, record.depth) == (4, 5, 8)


def test_a_skipped_convolution_that_is_known_to_be_2d_holds_its_depth(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "given"], ["a"], kernel_shape=[3, 3]),
        node("Conv", ["a", "w"], ["y"]),
    ]
    record = record_of(tmp_path, model_of(graph_of(nodes, inputs=["x", "given"], weights=[W])))
    assert [(layer.conv_depth, layer.conv_depth_norm) for layer in record.layers] == [(1, 1.0)]
    assert record.skipped[0].kernel == "3x3"


def test_records_come_by_depth_and_then_by_their_place_in_the_graph(tmp_path: Path) -> None:
    nodes = [
        named("deep", "Conv", ["m", "w"], ["y"]),
        named("second", "Conv", ["x", "w"], ["b"]),
        named("third", "Conv", ["x", "w"], ["c"]),
        named("relu", "Relu", ["b"], ["m"]),
    ]
    record = record_of(tmp_path, model_of(graph_of(nodes, weights=[W])))
    assert [layer.name for layer in record.layers] == ["second", "third", "deep"]


def test_a_net_of_one_convolution_has_a_scaled_depth_of_zero(tmp_path: Path) -> None:
    (layer,) = record_of(tmp_path, conv_model((2, 2, 3, 3))).layers
    assert (layer.conv_depth, layer.conv_depth_norm) == (0, 0.0)


def test_a_net_without_3x3_kernels_has_counts_but_no_records(tmp_path: Path) -> None:
    record = record_of(tmp_path, conv_net([(8, 3, 5, 5), (8, 8, 1, 1)]))
    assert (record.layers, record.kernels) == ((), {"(1, 1)": 64, "(5, 5)": 24})
    assert record.total_filters == 24


@settings(max_examples=60)
@given(st.data())
def test_depths_are_those_of_a_plain_recursion(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 25))
    parents = [
        data.draw(st.lists(st.integers(-1, place - 1), min_size=1, max_size=3)) for place in range(count)
    ]
    nodes = [
        named(f"n{place}", "Sum", ["x" if p < 0 else f"v{p}" for p in chosen], [f"v{place}"])
        for place, chosen in enumerate(parents)
    ]

    def expected(place: int) -> int:
        return max((1 + expected(p) for p in parents[place] if p >= 0), default=0)

    shuffled = data.draw(st.permutations(nodes))
    assert depths(model_of(graph_of(shuffled))) == {f"n{p}": expected(p) for p in range(count)}


def test_values_of_sums_do_not_depend_on_names(tmp_path: Path) -> None:
    model = conv_net([(2, 1, 3, 3)], names=["ünïcode.weight"])
    (layer,) = record_of(tmp_path, model).layers
    assert layer.name == "ünïcode"
    assert np.isfinite(layer.conv_depth_norm)


def test_a_function_counts_as_if_its_body_stood_in_its_place(tmp_path: Path) -> None:
    """Its first convolution reads the shallow argument, and does not wait for the deep one."""
    body = [
        helper.make_node("Conv", ["shallow", "inner.weight"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("Add", ["c", "deep"], ["out"]),
    ]
    function = helper.make_function(
        "local", "Block", ["shallow", "deep", "inner.weight"], ["out"], body, [helper.make_opsetid("", 17)]
    )
    nodes = [
        *(helper.make_node("Relu", [f"r{i}" if i else "x"], [f"r{i + 1}"]) for i in range(4)),
        helper.make_node("Conv", ["r4", "outer.weight"], ["d"], kernel_shape=[3, 3]),
        helper.make_node("Block", ["x", "d", "inner.weight"], ["y"], domain="local"),
    ]
    weights = [tensor(name, random_weight((1, 1, 3, 3))) for name in ("inner.weight", "outer.weight")]
    model = model_of(graph_of(nodes, weights=weights), domains=["local"], functions=[function])
    record, _ = read_layers(write_model(tmp_path / "function.onnx", model))
    inlined, _ = read_layers(write_model(tmp_path / "inlined.onnx", inline_local_functions(model)))
    assert [layer.name for layer in record.layers] == ["inner", "outer"]
    assert [layer.conv_depth for layer in record.layers] == [0, 1]
    # Four Relu, the outer convolution and the Add.
    assert record.depth == inlined.depth == 6
    assert [layer.conv_depth for layer in inlined.layers] == [0, 1]


@pytest.mark.parametrize("hint", ["pads", "declared weight", "declared data"])
def test_a_convolution_without_a_weight_still_counts_where_it_is_known_to_be_2d(
    tmp_path: Path, hint: str
) -> None:
    options = {"pads": [1, 1, 1, 1]} if hint == "pads" else {}
    data = helper.make_tensor_value_info("x", 1, [1, 4, 8, 8] if hint == "declared data" else None)
    weight = helper.make_tensor_value_info("a", 1, [4, 4, 3, 3] if hint == "declared weight" else None)
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["v"], **options),
        helper.make_node("Conv", ["v", "b.weight"], ["y"]),
    ]
    graph = graph_of(nodes, inputs=[data, weight], weights=[tensor("b.weight", random_weight((1, 4, 3, 3)))])
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model_of(graph)))
    assert [layer.conv_depth for layer in record.layers] == [1]
    assert record.skipped[0].kernel == ("3x3" if hint == "declared weight" else "?")
