"""What onnxruntime uses as the weights of a model's convolutions: the other opinion in these tests.

It shares no code with the package: graphs are walked by name, model-local functions are inlined by ONNX,
and every weight is made an output of a model of its own, which onnxruntime runs without optimizations.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, inliner, numpy_helper

WEIGHT_INPUT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}


@dataclass(frozen=True)
class Found:
    """A convolution and the graphs around it, innermost first."""

    node: onnx.NodeProto
    scopes: tuple[onnx.GraphProto, ...]


def convolutions(model: onnx.ModelProto) -> list[Found]:
    return list(_walk((model.graph,)))


def _walk(scopes: tuple[onnx.GraphProto, ...]) -> Iterator[Found]:
    for node in scopes[0].node:
        if node.op_type in WEIGHT_INPUT:
            yield Found(node, scopes)
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                yield from _walk((body, *scopes))


def value_in_runtime(model: onnx.ModelProto, found: Found, name: str) -> np.ndarray[Any, Any]:
    """Return what onnxruntime computes for a name, as float32."""
    initializers = {t.name: t for scope in reversed(found.scopes) for t in scope.initializer}
    sparse = {t.values.name: t for scope in reversed(found.scopes) for t in scope.sparse_initializer}
    producers = {o: node for scope in found.scopes for node in scope.node for o in node.output}
    wanted, nodes, tensors, seen = [name], [], {}, set()
    while wanted:
        item = wanted.pop()
        if not item or item in seen:
            continue
        seen.add(item)
        if item in initializers:
            tensors[item] = initializers[item]
        elif item in producers:
            node = producers[item]
            if node not in nodes:
                nodes.append(node)
            wanted += node.input
        elif item not in sparse:
            raise KeyError(item)
    order = {id(node): place for scope in reversed(found.scopes) for place, node in enumerate(scope.node)}
    nodes.sort(key=lambda node: order.get(id(node), 0))
    nodes = _sorted(nodes, set(tensors) | set(sparse))
    nodes.append(helper.make_node("Cast", [name], ["oracle_result"], to=TensorProto.FLOAT))
    output = helper.make_tensor_value_info("oracle_result", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "oracle", [], [output], list(tensors.values()))
    graph.sparse_initializer.extend(t for n, t in sparse.items() if n in seen)
    opsets = list(model.opset_import) or [helper.make_opsetid("", 7)]
    single = helper.make_model(graph, opset_imports=opsets, ir_version=min(max(model.ir_version, 4), 11))
    return run(single)[0]


def _sorted(nodes: list[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    ordered, waiting = [], list(nodes)
    while waiting:
        ready = [node for node in waiting if all(not name or name in known for name in node.input)]
        assert ready, "the oracle met a cycle"
        for node in ready:
            ordered.append(node)
            waiting.remove(node)
            known |= set(node.output)
    return ordered


def run(model: onnx.ModelProto) -> list[np.ndarray[Any, Any]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(result) for result in session.run(None, {})]


def runtime_weights(path: Path, kernel: tuple[int, int] = (3, 3)) -> list[np.ndarray[Any, Any]]:
    """Return every weight of a file that has the kernel, in the order of the file."""
    model = onnx.load(path)
    if model.functions:
        model = inliner.inline_local_functions(model)
    weights = []
    for found in convolutions(model):
        try:
            weight = weight_in_runtime(model, found)
        except KeyError:  # a graph input
            continue
        if weight.ndim == 4 and weight.shape[2:] == kernel:
            weights.append(weight)
    return weights


def weight_in_runtime(model: onnx.ModelProto, found: Found) -> np.ndarray[Any, Any]:
    node = found.node
    weight = value_in_runtime(model, found, node.input[WEIGHT_INPUT[node.op_type]])
    if node.op_type == "QLinearConv":
        scale = value_in_runtime(model, found, node.input[4])
        zero = value_in_runtime(model, found, node.input[5])
        return (weight - _column(zero)) * _column(scale)
    if node.op_type == "ConvInteger" and len(node.input) > 3:
        return weight - _column(value_in_runtime(model, found, node.input[3]))
    return weight


def _column(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.reshape(-1, 1, 1, 1) if values.size > 1 else values.reshape(())


def fingerprints(weights: list[np.ndarray[Any, Any]]) -> Counter[str]:
    return Counter(hashlib.sha256(np.ascontiguousarray(w, "<f4").tobytes()).hexdigest() for w in weights)


def quant_by_hand(
    values: np.ndarray[Any, Any], scale: Any, zero: Any, bits: int, *, signed: bool, narrow: bool
) -> np.ndarray[Any, Any]:
    """Compute QONNX's Quant as its specification words it, value by value."""
    low, high = (-(1 << bits - 1) + narrow, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1 - narrow)
    scale, zero = np.broadcast_to(scale, values.shape), np.broadcast_to(zero, values.shape)
    result = np.empty_like(values)
    for place in np.ndindex(values.shape):
        step = np.float32(np.float32(values[place] / scale[place]) + zero[place])
        step = np.float32(round(float(min(max(step, low), high))))
        result[place] = np.float32(step - zero[place]) * scale[place]
    return result


def initializer(model: onnx.ModelProto, name: str) -> np.ndarray[Any, Any]:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))
