"""Which layers are chosen, what they are called, and what is said where there are none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import classifier, image_input, output, write
from onnx import helper

from filterdb.errors import UsageError
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe.options import Setup
from filterdb.probe.select import choose
from filterdb.testing import graph_of, model_of, random_weight, tensor


def chain(path: Path, nodes: list[onnx.NodeProto], *weights: onnx.TensorProto) -> Path:
    graph = graph_of(nodes, inputs=[image_input(None, 4)], outputs=[output("y")], weights=weights)
    return write(path, model_of(graph))


def open_layers(path: Path, **options: object) -> None:
    choose(open_inside(path), Setup(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "kind", "hint"),
    [
        (["body.0,head"], None, "--layers body.0 --layers head"),
        (["relu"], "conv", "--kind all"),
        (["zzz"], "conv", "one of its layers: body.0, body.1"),
        (["zzz"], None, "one of its layers: body.0, body.1, head, bn, relu, relu_1, pool, flat"),
    ],
)
def test_what_to_choose_instead_is_said(
    tmp_path: Path, layers: list[str], kind: str | None, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        open_layers(write(tmp_path / "m.onnx", classifier()), layers=tuple(layers), kind=kind)
    assert caught.value.hint == hint


def test_of_very_many_layers_a_dozen_is_named_and_the_others_counted(tmp_path: Path) -> None:
    names = ["x", *(f"v{i}" for i in range(19)), "y"]
    nodes = [helper.make_node("Relu", [a], [b], name=f"act{i}") for i, (a, b) in enumerate(pairwise(names))]
    path = chain(tmp_path / "m.onnx", nodes)
    with pytest.raises(UsageError) as caught:
        open_layers(path, layers=("zzz",))
    assert caught.value.hint == f"one of its layers: {', '.join(f'act{i}' for i in range(12))} and 8 more"
    with pytest.raises(UsageError, match="no layer of the kind conv") as caught:
        open_layers(path, kind="conv")
    assert (caught.value.expected, caught.value.hint) == ("a kind that it has: activation, all", "--kind all")


def test_a_model_without_layers_is_one_message_that_promises_nothing(tmp_path: Path) -> None:
    value = tensor("value", np.ones((1, 4), "f4"))
    path = chain(tmp_path / "m.onnx", [helper.make_node("Constant", [], ["y"], value=value)])
    for kind in (None, "all", "conv"):
        with pytest.raises(UsageError, match="the model has no layers") as caught:
            open_layers(path, kind=kind)
        assert caught.value.hint is None


def test_nodes_that_share_a_weight_are_counted_without_gaps(tmp_path: Path) -> None:
    names = ["x", "a", "b", "c", "y"]
    nodes = [helper.make_node("Gemm", [a, "lin.weight"], [b]) for a, b in pairwise(names)]
    path = chain(tmp_path / "m.onnx", nodes, tensor("lin.weight", random_weight((4, 4))))
    assert [layer.name for layer in open_inside(path).layers] == ["lin", "lin#2", "lin#3", "lin#4"]
