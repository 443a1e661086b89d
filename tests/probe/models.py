"""Models of a few layers for the probes, and their activations as ONNX's own reference computes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from filterdb.testing import graph_of, model_of, random_weight, tensor, write_model


def image_input(*sizes: int | None, name: str = "x", kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["N" if s is None else s for s in sizes])


def output(name: str, rank: int = 2, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None] * rank)


def classifier(
    *, channels: int = 1, size: int = 8, rows: int | None = None, seed: int = 0, scale: float = 0.4
) -> onnx.ModelProto:
    """Two convolutions with normalization and ReLU, and a dense layer."""
    nodes = [
        helper.make_node("Conv", ["x", "body.0.weight"], ["c0"], name="first", pads=[1] * 4),
        helper.make_node(
            "BatchNormalization", ["c0", "bn.weight", "bn.b", "bn.m", "bn.v"], ["n0"], name="bn"
        ),
        helper.make_node("Relu", ["n0"], ["r0"], name="relu"),
        helper.make_node("Conv", ["r0", "body.1.weight"], ["c1"], name="second", strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu_1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["y"], name="dense"),
    ]
    ones = np.ones(6, "f4")
    weights = [
        tensor("body.0.weight", random_weight((6, channels, 3, 3), seed=seed, scale=scale)),
        tensor("bn.weight", ones), tensor("bn.b", ones * np.float32(0.1)),
        tensor("bn.m", ones * np.float32(0.2)), tensor("bn.v", ones),
        tensor("body.1.weight", random_weight((8, 6, 3, 3), seed=seed + 1, scale=scale)),
        tensor("head.weight", random_weight((8, 10), seed=seed + 2, scale=scale)),
        tensor("head.bias", random_weight((10,), seed=seed + 3)),
    ]  # fmt: skip
    graph = graph_of(
        nodes, inputs=[image_input(rows, channels, size, size)], outputs=[output("y")], weights=weights
    )
    return model_of(graph)


LAYERS = {"body.0": "c0", "body.1": "c1", "head": "y"}
"""The layers of :func:`classifier` and the names of their results."""


def write(path: Path, model: onnx.ModelProto) -> Path:
    return write_model(path, model)


def activations(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every value of a model, by ONNX's reference evaluator."""
    evaluator = ReferenceEvaluator(onnx.load(path))
    return dict(evaluator.run(None, feeds, intermediate=True))


def images(rows: int, channels: int = 1, size: int = 8, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, channels, size, size)).astype(np.float32)


def one_layer(
    node: onnx.NodeProto, weights: Sequence[TensorProto], *sizes: int | None, rank: int
) -> onnx.ModelProto:
    graph = graph_of([node], inputs=[image_input(*sizes)], outputs=[output("y", rank)], weights=weights)
    return model_of(graph)
