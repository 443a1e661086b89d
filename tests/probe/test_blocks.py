"""Where blocks end: activations and normalizations that exporters write as several nodes are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import image_input, output, write
from onnx import helper

from filterdb.onnxgraph.probing import InnerLayer, open_inside
from filterdb.testing import graph_of, model_of, random_weight, tensor

Step = tuple[str, list[str], str, dict[str, object]]

CONSTANTS = {
    "half": 0.5, "one": 1.0, "three": 3.0, "six": 6.0, "zero": 0.0, "two": 2.0, "root": 1.4142135,
    "epsilon": 1e-5,
}  # fmt: skip

ACTIVATIONS: dict[str, list[Step]] = {
    "relu": [("Relu", ["c"], "y", {})],
    "silu": [("Sigmoid", ["c"], "s", {}), ("Mul", ["c", "s"], "y", {})],
    "silu, the other way round": [("Sigmoid", ["c"], "s", {}), ("Mul", ["s", "c"], "y", {})],
    "mish": [
        ("Softplus", ["c"], "p", {}),
        ("Tanh", ["p"], "t", {}),
        ("Mul", ["c", "t"], "y", {}),
    ],
    "gelu": [
        ("Div", ["c", "root"], "d", {}),
        ("Erf", ["d"], "e", {}),
        ("Add", ["e", "one"], "a", {}),
        ("Mul", ["c", "a"], "m", {}),
        ("Mul", ["m", "half"], "y", {}),
    ],
    "gelu, halved first": [
        ("Mul", ["c", "half"], "h", {}),
        ("Div", ["c", "root"], "d", {}),
        ("Erf", ["d"], "e", {}),
        ("Add", ["e", "one"], "a", {}),
        ("Mul", ["h", "a"], "y", {}),
    ],
    "gelu by tanh": [
        ("Pow", ["c", "three"], "q", {}),
        ("Mul", ["q", "half"], "r", {}),
        ("Add", ["c", "r"], "s", {}),
        ("Mul", ["s", "half"], "u", {}),
        ("Tanh", ["u"], "t", {}),
        ("Add", ["t", "one"], "a", {}),
        ("Mul", ["c", "half"], "h", {}),
        ("Mul", ["h", "a"], "y", {}),
    ],
    "hard swish": [
        ("Add", ["c", "three"], "a", {}),
        ("Clip", ["a", "zero", "six"], "b", {}),
        ("Mul", ["c", "b"], "m", {}),
        ("Div", ["m", "six"], "y", {}),
    ],
    "leaky relu": [("Mul", ["c", "half"], "h", {}), ("Max", ["c", "h"], "y", {})],
}

NORMALIZATIONS: dict[str, list[Step]] = {
    "batch": [("BatchNormalization", ["c", "g", "g", "g", "g"], "n", {})],
    "group": [
        ("Shape", ["c"], "shape", {}),
        ("Reshape", ["c", "grouped"], "r", {}),
        ("InstanceNormalization", ["r", "pair", "pair"], "i", {}),
        ("Reshape", ["i", "shape"], "b", {}),
        ("Mul", ["b", "scale"], "m", {}),
        ("Add", ["m", "scale"], "n", {}),
    ],
    "layer": [
        ("ReduceMean", ["c"], "mean", {"axes": [1]}),
        ("Sub", ["c", "mean"], "d", {}),
        ("Pow", ["d", "two"], "q", {}),
        ("ReduceMean", ["q"], "v", {"axes": [1]}),
        ("Add", ["v", "epsilon"], "w", {}),
        ("Sqrt", ["w"], "root_of", {}),
        ("Div", ["d", "root_of"], "z", {}),
        ("Mul", ["z", "scale"], "m", {}),
        ("Add", ["m", "scale"], "n", {}),
    ],
}


def layers(path: Path, steps: list[Step], *, more: list[Step] | None = None) -> dict[str, InnerLayer]:
    steps = [("Conv", ["x", "conv.weight"], "c", {}), *steps, *(more or [])]
    nodes = [helper.make_node(op, inputs, [name], name=name, **fields) for op, inputs, name, fields in steps]
    weights = [tensor(name, np.array(value, np.float32)) for name, value in CONSTANTS.items()]
    weights += [
        tensor("conv.weight", random_weight((4, 1, 3, 3))),
        tensor("g", np.ones(4, "f4")),
        tensor("pair", np.ones(2, "f4")),
        tensor("scale", np.ones((4, 1, 1), "f4")),
        tensor("grouped", np.array([0, 2, -1], np.int64)),
    ]
    graph = graph_of(nodes, inputs=[image_input(None, 1, 8, 8)], outputs=[output("last", 4)], weights=weights)
    return {layer.name: layer for layer in open_inside(write(path, model_of(graph, opset=13))).layers}


def behind(value: str, steps: list[Step]) -> list[Step]:
    """The same nodes, but after another value than the convolution's, and with names of their own."""
    names = {result: f"{result}_" for _, _, result, _ in steps if result != "y"} | {"c": value}
    return [
        (op, [names.get(name, name) for name in inputs], names.get(result, result), fields)
        for op, inputs, result, fields in steps
    ]


END: list[Step] = [("Neg", ["y"], "last", {})]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_block_ends_behind_an_activation_however_it_is_written(tmp_path: Path, name: str) -> None:
    found = layers(tmp_path / "m.onnx", ACTIVATIONS[name], more=END)
    assert found["conv"].block == "y"
    assert [layer.name for layer in found.values() if layer.kind == "activation"] == ["y"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", NORMALIZATIONS)
def test_a_block_ends_behind_a_normalization_and_an_activation(
    tmp_path: Path, norm: str, activation: str
) -> None:
    steps = [*NORMALIZATIONS[norm], *behind("n", ACTIVATIONS[activation])]
    found = layers(tmp_path / "m.onnx", steps, more=END)
    assert found["conv"].block == "y"
    kinds = {layer.kind: layer.tensor for layer in found.values() if layer.kind in ("norm", "activation")}
    assert kinds == {"norm": "n", "activation": "y"}


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "relu"])
def test_a_value_that_somebody_else_uses_too_is_the_end(tmp_path: Path, name: str) -> None:
    """A shortcut goes around: then the result of the layer is one of its own."""
    more: list[Step] = [("Add", ["y", "c"], "last", {})]
    found = layers(tmp_path / "m.onnx", ACTIVATIONS[name], more=more)
    assert found["conv"].block == "c"


def test_a_part_that_somebody_else_uses_makes_no_activation(tmp_path: Path) -> None:
    steps: list[Step] = [*ACTIVATIONS["silu"], ("Concat", ["y", "s"], "last", {"axis": 1})]
    found = layers(tmp_path / "m.onnx", steps)
    assert found["conv"].block == "c"
    assert found["s"].kind == "activation"


def test_a_gate_of_other_values_is_no_activation(tmp_path: Path) -> None:
    """Squeeze and excitation multiplies with a sigmoid of a mean."""
    steps: list[Step] = [
        ("GlobalAveragePool", ["c"], "pool", {}),
        ("Sigmoid", ["pool"], "s", {}),
        ("Mul", ["c", "s"], "last", {}),
    ]
    assert layers(tmp_path / "m.onnx", steps)["conv"].block == "c"


def test_many_users_of_a_value_take_no_time(tmp_path: Path) -> None:
    steps: list[Step] = [("Sigmoid", ["c"], f"s{place}", {}) for place in range(3_000)]
    found = layers(tmp_path / "m.onnx", steps, more=[("Neg", ["c"], "last", {})])
    assert found["conv"].block == "c"
    assert len(found) == 3_002
