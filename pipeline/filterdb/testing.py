"""ONNX models of a few lines, which the tests and benchmarks of all rooms share.

Everything is decided by the arguments, so that a test can say what comes out. Values are random by seed.
"""

from __future__ import annotations

import itertools
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
    """Return a graph; inputs and outputs given by name are float images of unknown size."""
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


def weight_model(
    nodes: Sequence[onnx.NodeProto],
    weights: Iterable[TensorProto] = (),
    *,
    opset: int = 17,
    inputs: Iterable[str | onnx.ValueInfoProto] = ("x",),
    **options: Any,
) -> onnx.ModelProto:
    """Return one convolution whose weight ``w`` the given nodes compute.

    Parameters
    ----------
    nodes
        Nodes, of which one gives ``w``.
    weights
        Initializers that the nodes use.
    opset
        Version of the default operator set.
    inputs
        Graph inputs.
    **options
        Passed on to :func:`model_of`.
    """
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    return model_of(graph_of([*nodes, conv], weights=weights, inputs=inputs), opset=opset, **options)


def chain_model(length: int, op: str = "Relu") -> onnx.ModelProto:
    """Return a chain of nodes without weights."""
    names = ["x", *(f"v{place}" for place in range(length))]
    nodes = [helper.make_node(op, [a], [b]) for a, b in itertools.pairwise(names)]
    return model_of(graph_of(nodes, outputs=names[-1:]))


def dense_model(layers: int, shape: Sequence[int] = (1, 1, 3, 3)) -> onnx.ModelProto:
    """Return convolutions each of which reads the sum of all results before it.

    Paths through it double with every layer, so that only a search of linear time ends.
    """
    nodes: list[onnx.NodeProto] = []
    stored: list[TensorProto] = []
    for place in range(layers):
        stored.append(tensor(f"dense{place}.weight", random_weight(shape, seed=place)))
        total = "x"
        if place:
            total = f"sum{place}"
            nodes.append(helper.make_node("Sum", ["x", *(f"c{i}" for i in range(place))], [total]))
        nodes.append(helper.make_node("Conv", [total, f"dense{place}.weight"], [f"c{place}"]))
    return model_of(graph_of(nodes, outputs=[f"c{layers - 1}"], weights=stored))


def branch_model(then_weight: Weights, else_weight: Weights) -> onnx.ModelProto:
    """Return an ``If`` with a convolution in each branch, whose weights lie in the branches."""
    bodies = []
    for place, (name, weight) in enumerate((("then", then_weight), ("else", else_weight))):
        conv = helper.make_node("Conv", ["x", f"{name}.weight"], [f"{name}_y"], name=f"{name}_conv")
        stored = tensor(f"{name}.weight", _values(weight, place))
        bodies.append(graph_of([conv], inputs=[], outputs=[f"{name}_y"], weights=[stored], name=name))
    node = helper.make_node("If", ["condition"], ["y"], then_branch=bodies[0], else_branch=bodies[1])
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [])
    return model_of(graph_of([node], inputs=["x", condition]))


def move_outside(model: onnx.ModelProto, folder: Path, location: str = "weights.bin") -> None:
    """Move the raw bytes of every initializer into a file beside the model."""
    data = bytearray()
    for stored in model.graph.initializer:
        raw = stored.raw_data
        stored.ClearField("raw_data")
        point_outside(stored, location, offset=len(data), length=len(raw))
        data += raw
    target = folder / location
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(bytes(data))


def point_outside(
    stored: TensorProto, location: str, *, offset: int | None = None, length: int | None = None
) -> None:
    """Make a tensor refer to a file, whether or not that is a good idea."""
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    del stored.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            stored.external_data.add(key=key, value=str(value))


def _values(weight: Weights, seed: int) -> Array:
    if isinstance(weight, np.ndarray):
        return weight
    return random_weight([int(size) for size in weight], seed=seed)


def _info(value: str | onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    if isinstance(value, str):
        return helper.make_tensor_value_info(value, TensorProto.FLOAT, [None] * 4)
    return value
