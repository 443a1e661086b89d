"""ONNX models of a few lines, which the tests and benchmarks of all rooms share.

Everything is decided by the arguments, so that a test can say what comes out. Values are random by seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = NDArray[Any]
Weights: TypeAlias = Array | Sequence[int]
"""A weight, or the shape of a random one."""

IR_VERSION = 10


def random_weight(shape: Sequence[int], *, seed: int = 0, scale: float = 0.1) -> NDArray[np.float32]:
    """Return normal values, float32, the same for the same seed."""
    return np.random.default_rng(seed).normal(0.0, scale, tuple(shape)).astype(np.float32)


def write_model(path: Path, model: onnx.ModelProto) -> Path:
    """Write the model, making its folder where needed, and return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def tensor(name: str, values: Array, data_type: int | None = None) -> TensorProto:
    """Return an initializer that keeps its values as raw bytes."""
    if data_type is not None:
        values = values.astype(helper.tensor_dtype_to_np_dtype(data_type))
    return numpy_helper.from_array(values, name)


def graph_of(
    nodes: Iterable[onnx.NodeProto],
    *,
    inputs: Iterable[str | onnx.ValueInfoProto] = ("x",),
    outputs: Iterable[str | onnx.ValueInfoProto] = ("y",),
    weights: Iterable[TensorProto] = (),
    name: str = "graph",
) -> onnx.GraphProto:
    """Return a graph; inputs and outputs given by name are float tensors of unknown shape."""
    return helper.make_graph(
        list(nodes), name, [_info(v) for v in inputs], [_info(v) for v in outputs], list(weights)
    )


def model_of(
    graph: onnx.GraphProto,
    *,
    opset: int = 17,
    domains: Iterable[str] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    producer: str = "filterdb.testing",
) -> onnx.ModelProto:
    """Wrap a graph as a model."""
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=IR_VERSION, functions=functions, producer_name=producer
    )


def conv_model(
    weight: Weights, *, name: str = "conv.weight", opset: int = 17, seed: int = 0, **attributes: Any
) -> onnx.ModelProto:
    """Return one convolution whose weight is an initializer.

    Parameters
    ----------
    weight
        Its values, or the shape of random ones.
    name
        The initializer's name.
    opset, seed
        Version of the default operator set; seed of random values.
    **attributes
        Attributes of the node, such as ``group`` or ``strides``.
    """
    node = helper.make_node("Conv", ["x", name], ["y"], name="conv", **attributes)
    return model_of(graph_of([node], weights=[tensor(name, _values(weight, seed))]), opset=opset)


def conv_net(
    weights: Sequence[Weights], *, seed: int = 0, opset: int = 17, names: Sequence[str] | None = None
) -> onnx.ModelProto:
    """Return a chain of convolutions with a ReLU after each.

    Parameters
    ----------
    weights
        One entry a layer: the weight, or the shape of a random one. Groups are derived from the shapes
        where they can be: a layer with one input channel after many is depthwise.
    seed
        Of the random weights.
    opset
        Version of the default operator set.
    names
        Names of the weights; ``layer0.weight`` and so on by default.
    """
    arrays = [_values(weight, seed + place) for place, weight in enumerate(weights)]
    names = names or [f"layer{place}.weight" for place in range(len(arrays))]
    nodes: list[onnx.NodeProto] = []
    value, channels = "x", arrays[0].shape[1] if arrays else 1
    for place, (array, name) in enumerate(zip(arrays, names, strict=True)):
        group = channels // array.shape[1] if channels % array.shape[1] == 0 else 1
        pads = [size // 2 for size in array.shape[2:]] * 2
        nodes.append(
            helper.make_node(
                "Conv", [value, name], [f"conv{place}"], name=f"conv_{place}", group=max(group, 1), pads=pads
            )
        )
        nodes.append(helper.make_node("Relu", [f"conv{place}"], [f"relu{place}"], name=f"relu_{place}"))
        value, channels = f"relu{place}", array.shape[0]
    graph = graph_of(
        nodes, outputs=[value], weights=[tensor(n, a) for n, a in zip(names, arrays, strict=True)]
    )
    return model_of(graph, opset=opset)


def _values(weight: Weights, seed: int) -> Array:
    if isinstance(weight, np.ndarray):
        return weight
    return random_weight([int(size) for size in weight], seed=seed)


def _info(value: str | onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    if isinstance(value, str):
        return helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
    return value
