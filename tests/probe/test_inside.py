"""Layers of a model as a probe sees them, and copies of the model that give out more."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import activations, classifier, image_input, images, output, write
from onnx import TensorProto, helper

from filterdb.errors import ModelError, UsageError
from filterdb.onnxgraph import Limits, read_model
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe import saturation
from filterdb.probe.engine import Activations, batches
from filterdb.probe.options import Setup
from filterdb.testing import branch_model, graph_of, model_of, move_outside, random_weight, tensor


def collected(path: Path, data: object = None, **options: object) -> dict[str, np.ndarray]:
    setup = Setup.of((), options)  # type: ignore[arg-type]
    found = Activations(open_inside(path), data, setup)  # type: ignore[arg-type]
    values: dict[str, list[np.ndarray]] = {}
    for group in found.passes(setup.batch):
        reader = found.open(group)
        for rows in batches(found.rows, setup.batch):
            for tap, value in reader.read(rows):
                values.setdefault(tap.layer.name, []).append(value)
    return {name: np.concatenate(parts) for name, parts in values.items()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", classifier())


def test_activations_of_every_layer_are_those_of_the_graph_as_written(model: Path) -> None:
    data = images(10)
    expected = activations(model, {"x": data})
    found = collected(model, data, kind="all", batch=4)
    results = dict(zip(found, ("c0", "n0", "r0", "c1", "r1", "p", "f", "y"), strict=True))
    for name, value in found.items():
        assert value == pytest.approx(expected[results[name]], abs=1e-5), name


def test_kinds_say_which_layers(model: Path) -> None:
    names = {
        "weighted": ["body.0", "body.1", "head"],
        "block": ["body.0", "body.1", "head"],
        "conv": ["body.0", "body.1"],
        "linear": ["head"],
        "norm": ["bn"],
        "activation": ["relu", "relu_1"],
        "all": ["body.0", "bn", "relu", "body.1", "relu_1", "pool", "flat", "head"],
    }
    data = images(4)
    assert {kind: list(collected(model, data, kind=kind)) for kind in names} == names
    expected = activations(model, {"x": data})
    assert collected(model, data, kind="block")["body.0"] == pytest.approx(expected["r0"], abs=1e-5)
    with pytest.raises(UsageError, match="no layer of the kind recurrent"):
        collected(model, data, kind="recurrent")


def test_layers_are_chosen_by_name_and_pattern_in_the_order_of_execution(model: Path) -> None:
    found = saturation(model, data=images(8), layers=("head", "relu*"))
    assert [layer.layer for layer in found.layers] == ["relu", "relu_1", "head"]
    with pytest.raises(UsageError, match="no layer is called bdy") as caught:
        saturation(model, data=images(8), layers=["bdy.0"])
    assert caught.value.hint == "--layers body.0"


def test_convolutions_are_called_as_in_a_data_set() -> None:
    from filterdb.config import demo_folder
    from filterdb.types import Kernel

    for path in sorted((demo_folder() / "zoo").glob("*-fit.onnx")):
        record = read_model(path, kernel=Kernel(3, 3))
        names = {layer.name for layer in record.layers} | {layer.name for layer in record.skipped}
        found = {layer.name for layer in open_inside(path).layers if layer.kind == "conv"}
        assert found == names


def test_the_file_is_never_changed_and_the_copy_is_a_valid_model(model: Path) -> None:
    before = hashlib.sha256(model.read_bytes()).digest(), model.stat().st_mtime_ns
    inside = open_inside(model)
    copy = onnx.load_from_string(inside.with_outputs(["c0", "c0", "y"]))
    assert [info.name for info in copy.graph.output] == ["y", "c0"]
    assert copy.graph.node == onnx.load(model).graph.node
    assert inside.with_outputs([]) == model.read_bytes()
    collected(model, images(4))
    assert (hashlib.sha256(model.read_bytes()).digest(), model.stat().st_mtime_ns) == before
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_external_data_stays_where_it_is(tmp_path: Path) -> None:
    data = images(4)
    inner = write(tmp_path / "inner.onnx", classifier())
    outside = classifier()
    (tmp_path / "away").mkdir()
    move_outside(outside, tmp_path / "away")
    path = write(tmp_path / "away" / "outer.onnx", outside)
    ours, theirs = collected(path, data), collected(inner, data)
    assert {name: (ours[name] == theirs[name]).all() for name in theirs} == dict.fromkeys(theirs, True)
    (tmp_path / "away" / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin' is missing"):
        collected(path, data)


def test_external_data_elsewhere_is_refused_before_the_runtime_sees_it(tmp_path: Path) -> None:
    outside = classifier()
    (tmp_path / "away").mkdir()
    move_outside(outside, tmp_path / "away")
    for stored in outside.graph.initializer:
        for entry in stored.external_data:
            if entry.key == "location":
                entry.value = "../away/weights.bin"
    path = write(tmp_path / "away" / "outer.onnx", outside)
    with pytest.raises(ModelError, match="leads out of the model's folder"):
        collected(path, images(4))


def test_nodes_in_bodies_are_refused_by_name_and_cost_no_other_layer(tmp_path: Path) -> None:
    weight = random_weight((2, 1, 3, 3))
    path = write(tmp_path / "m.onnx", branch_model(weight, weight))
    feeds = {"x": images(4), "condition": np.asarray(True)}
    with pytest.raises(UsageError, match=r"(then|else): it lies in a body of If"):
        collected(path, feeds)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Conv", ["y", "w2.weight"], ["z"], name="outer"))
    model.graph.initializer.append(tensor("w2.weight", random_weight((3, 2, 3, 3))))
    model.graph.output.append(output("z", 4))
    write(path, model)
    found = saturation(path, data=feeds)
    assert [layer.layer for layer in found.layers] == ["w2"]
    assert {layer.name for layer in found.skipped} == {"then", "else"}


def test_layers_inside_functions_are_reached(tmp_path: Path) -> None:
    body = [
        helper.make_node("Conv", ["a", "w"], ["c"], name="inner"),
        helper.make_node("Relu", ["c"], ["b"], name="act"),
    ]
    imports = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Block", ["a", "w"], ["b"], body, imports)
    nodes = [
        helper.make_node("Block", ["x", "one.weight"], ["v"], domain="local", name="first"),
        helper.make_node("Block", ["v", "two.weight"], ["y"], domain="local", name="second"),
    ]
    weights = {"one.weight": random_weight((3, 1, 3, 3)), "two.weight": random_weight((4, 3, 3, 3), seed=1)}
    graph = graph_of(
        nodes,
        inputs=[image_input(None, 1, 8, 8)],
        outputs=[output("y", 4)],
        weights=[tensor(name, weight) for name, weight in weights.items()],
    )
    path = write(tmp_path / "m.onnx", model_of(graph, domains=["local"], functions=[function]))
    found = collected(path, images(4))
    assert {name: value.shape for name, value in found.items()} == {"one": (4, 3, 6, 6), "two": (4, 4, 4, 4)}


@pytest.mark.parametrize("fixed", [1, 3])
def test_a_model_of_a_fixed_batch_gives_what_one_of_any_batch_gives(tmp_path: Path, fixed: int) -> None:
    data = images(8)
    free = collected(write(tmp_path / "free.onnx", classifier()), data)
    tied = collected(write(tmp_path / "tied.onnx", classifier(rows=fixed)), data, batch=5)
    assert {name: value.shape for name, value in tied.items()} == {n: v.shape for n, v in free.items()}
    for name, value in tied.items():
        assert value == pytest.approx(free[name], abs=1e-6)


def test_passes_fit_the_memory_and_a_layer_alone_may_exceed_it(model: Path) -> None:
    setup = Setup(batch=10, memory=10 * 4 * (6 * 64 + 8 * 9))
    found = Activations(open_inside(model), images(20), setup)
    assert [[tap.layer.name for tap in group] for group in found.passes(10)] == [
        ["body.0", "body.1"],
        ["head"],
    ]
    assert [len(group) for group in found.passes(20)] == [1, 2]
    whole = collected(model, images(20))
    for memory in (1, 1000, 20_000):
        parts = collected(model, images(20), memory=memory)
        assert all((parts[name] == whole[name]).all() for name in whole)


def test_results_that_are_no_rows_or_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["c"], name="c"),
        helper.make_node("ReduceMean", ["c"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Transpose", ["c"], ["turned"], name="turned", perm=[1, 0, 2, 3]),
        helper.make_node("Shape", ["c"], ["shape"], name="shape"),
        helper.make_node("SequenceConstruct", ["c"], ["list"], name="list"),
        helper.make_node("Greater", ["c", "mean"], ["y"], name="greater"),
    ]
    graph = graph_of(
        nodes,
        inputs=[image_input(None, 1, 8, 8)],
        outputs=[output("y", 4, TensorProto.BOOL)],
        weights=[tensor("c.weight", random_weight((3, 1, 3, 3)))],
    )
    path = write(tmp_path / "m.onnx", model_of(graph))
    found = saturation(path, data=images(6), kind="all")
    assert [layer.layer for layer in found.layers] == ["c", "greater"]
    assert {layer.name: layer.reason for layer in found.skipped} == {
        "mean": "its result is a single number for 3 rows of data",
        "turned": "nothing says which axis of its result [3, 3, 6, 6] has the channels;"
        " pooling flatten needs none",
        "shape": "its result is of the shape [4] for 3 rows of data",
        "list": "its result is of the type seq(tensor(float))",
    }


def test_what_the_runtime_cannot_run_is_refused_with_its_words(tmp_path: Path) -> None:
    graph = graph_of([helper.make_node("Strange", ["x"], ["y"], domain="elsewhere")])
    path = write(tmp_path / "m.onnx", model_of(graph, domains=["elsewhere"]))
    with pytest.raises(ModelError, match="elsewhere:Strange") as caught:
        collected(path, images(4), kind="all")
    assert caught.value.where == str(path)


def test_several_inputs_are_fed_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["c"], name="c"),
        helper.make_node("Mul", ["c", "gain"], ["g"], name="g"),
        helper.make_node("Add", ["g", "offset"], ["y"], name="y"),
    ]
    gain = helper.make_tensor_value_info("gain", TensorProto.FLOAT, [])
    inputs = [image_input(None, 1, 8, 8), gain, image_input(None, 3, 1, 1, name="offset")]
    graph = graph_of(
        nodes,
        inputs=inputs,
        outputs=[output("y", 4)],
        weights=[tensor("c.weight", random_weight((3, 1, 3, 3)))],
    )
    path = write(tmp_path / "m.onnx", model_of(graph))
    feeds = {"x": images(5), "gain": np.float32(3), "offset": np.ones((5, 3, 1, 1), "f4")}
    expected = activations(path, {name: np.asarray(value) for name, value in feeds.items()})["y"]
    assert collected(path, feeds, kind="all", batch=2)["y"] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UsageError, match="there is no array for the input 'offset'"):
        collected(path, {"x": images(5), "gain": np.float32(3)}, kind="all")
    with pytest.raises(UsageError, match="the inputs have no rows in common: 'x' has 5, 'offset' has 4"):
        collected(path, {**feeds, "offset": feeds["offset"][:4]}, kind="all")
    with pytest.raises(UsageError, match="does not take images"):
        collected(path)


def test_a_shared_layer_is_counted_once_for_each_place(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "same.weight"], ["a"], name="one", pads=[1] * 4),
        helper.make_node("Conv", ["a", "same.weight"], ["y"], name="two", pads=[1] * 4),
    ]
    graph = graph_of(
        nodes,
        inputs=[image_input(None, 2, 8, 8)],
        outputs=[output("y", 4)],
        weights=[tensor("same.weight", random_weight((2, 2, 3, 3)))],
    )
    path = write(tmp_path / "m.onnx", model_of(graph))
    data = images(6, channels=2)
    found = collected(path, data)
    expected = activations(path, {"x": data})
    assert list(found) == ["same", "same#2"]
    assert found["same"] == pytest.approx(expected["a"], abs=1e-5)
    assert found["same#2"] == pytest.approx(expected["y"], abs=1e-5)


def test_a_file_that_lists_its_nodes_out_of_order_is_ordered(tmp_path: Path) -> None:
    model = classifier()
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    inside = open_inside(write(tmp_path / "m.onnx", model))
    assert [layer.name for layer in inside.layers] == [
        "body.0", "bn", "relu", "body.1", "relu_1", "pool", "flat", "head",
    ]  # fmt: skip


def test_functions_that_double_at_every_level_are_refused_before_they_are_inlined(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function("local", "F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports)
    ]
    for level in range(1, 40):
        calls = [
            helper.make_node(f"F{level - 1}", [a], [b], domain="local") for a, b in (("a", "t"), ("t", "b"))
        ]
        functions.append(helper.make_function("local", f"F{level}", ["a"], ["b"], calls, imports))
    graph = graph_of([helper.make_node("F39", ["x"], ["y"], domain="local")])
    path = write(tmp_path / "m.onnx", model_of(graph, domains=["local"], functions=functions))
    with pytest.raises(ModelError, match="more than 20000 nodes"):
        open_inside(path, limits=Limits(nodes=20_000))
