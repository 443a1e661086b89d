"""Standard operators that are rare on the way to a weight, by ONNX's reference evaluator.

A result's size is inferred before anything is computed, because an operator of a few bytes can ask for
terabytes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper, shape_inference

from filterdb.errors import WeightError
from filterdb.onnxgraph.call import Call
from filterdb.onnxgraph.graph import STANDARD
from filterdb.onnxgraph.tensors import Array

_MOST_BYTES = 1 << 27
_SHAPE_BYTES = 1 << 13
# Multiplications of one node: a few seconds. Fast ones go through BLAS, as only products of floats do.
_MOST_WORK, _MOST_FAST_WORK = 1 << 32, 1 << 36
# What a value costs where the evaluator runs through the values of a result in Python.
_IN_PYTHON = 1 << 12
_PRODUCTS = {"MatMul", "MatMulInteger", "QLinearMatMul", "Gemm"}
# Which input is the kernel, and which of its axes is that of the results: one value takes all the others.
_CONVOLUTIONS = {
    "Conv": (1, 0), "ConvInteger": (1, 0), "ConvTranspose": (1, 1), "DeformConv": (1, 0),
    "QLinearConv": (3, 0),
}  # fmt: skip
_POOLS = {"MaxPool", "AveragePool", "LpPool"}
_SLOW = _POOLS | {
    "Attention", "CausalConvWithState", "Col2Im", "DeformConv", "GRU", "GridSample", "LSTM",
    "LinearAttention", "MaxRoiPool", "MaxUnpool", "RNN", "Resize", "ReverseSequence", "RoiAlign", "STFT",
    "Upsample",
}  # fmt: skip
# Not the same every time, or not arithmetic.
_REFUSED = {"Dropout", "ImageDecoder", "RegexFullMatch"}
_PLAIN = {
    AttributeProto.INT,
    AttributeProto.INTS,
    AttributeProto.FLOAT,
    AttributeProto.FLOATS,
    AttributeProto.STRING,
    AttributeProto.STRINGS,
}


def by_reference(call: Call) -> Sequence[Array]:
    """Compute a node with ONNX's reference evaluator.

    Raises
    ------
    WeightError
        If the operator is not one that it can compute, or the result is too large or of unknown size.
    """
    from onnx.reference import ReferenceEvaluator

    model = _model(call)
    _check_size(call, model)
    feeds = {info.name: array for info, array in zip(model.graph.input, _given(call), strict=True)}
    try:
        made = ReferenceEvaluator(model).run(None, feeds)
    except MemoryError:
        raise
    except Exception as error:  # whatever a reference implementation raises, the layer cannot be had
        raise WeightError(f"{call.name} cannot be computed: {type(error).__name__}: {error}") from error
    return [np.asarray(array) for array in made]


def _given(call: Call) -> list[Array]:
    return [array for array in call.inputs if array is not None]


def _model(call: Call) -> onnx.ModelProto:
    if call.node.op in _REFUSED:
        raise WeightError(f"{call.name} is not computed")
    node = onnx.NodeProto(op_type=call.node.op)
    for name, bound in call.node.attributes().items():
        if bound.proto.type not in _PLAIN:
            raise WeightError(f"{call.name} with the attribute {name!r} is not computed")
        node.attribute.add().CopyFrom(bound.proto)
        node.attribute[-1].name = name
    node.input.extend("" if array is None else f"i{i}" for i, array in enumerate(call.inputs))
    node.output.extend(f"o{i}" for i in range(len(call.node.outputs)))
    version = max(call.node.frame.opsets.get(STANDARD, 1), 1)
    if not onnx.defs.has(call.node.op, version, ""):
        raise WeightError(f"{call.name} is no operator of the standard")
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip((n for n in node.input if n), _given(call), strict=True)
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = helper.make_graph([node], "one", infos, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])


def _check_size(call: Call, model: onnx.ModelProto) -> None:
    # Shapes can depend on small inputs, such as those of Resize or OneHot: let inference see them.
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for info, array in zip(model.graph.input, _given(call), strict=True):
        if array.nbytes <= _SHAPE_BYTES:
            probe.graph.initializer.append(numpy_helper.from_array(np.array(array, order="C"), info.name))
    try:
        inferred = shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
    except MemoryError:
        raise
    except Exception as error:
        raise WeightError(f"{call.name} does not fit its inputs: {error}") from error
    total = sum(array.nbytes for array in _given(call))
    made = 0
    for output in inferred.graph.output:
        dims = output.type.tensor_type.shape.dim
        known = output.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
        if not known:
            raise WeightError(f"{call.name} is not computed: the size of its result is not known beforehand")
        made += math.prod(dim.dim_value for dim in dims)
    total += 8 * made
    if total > min(_MOST_BYTES, call.limit):
        raise WeightError(f"{call.name} is not computed: it would take {total} bytes")
    work, fast = _work(call, made)
    if work > (_MOST_FAST_WORK if fast else _MOST_WORK):
        raise WeightError(f"{call.name} is not computed: it would take {work} multiplications")
    # BLAS takes about a sixteenth of the time, and less.
    call.pay(work // 16 if fast else work)


def _work(call: Call, made: int) -> tuple[int, bool]:
    """Return how many multiplications a node takes to make so many values, and whether they are fast."""
    op, shapes = call.node.op, [() if array is None else array.shape for array in call.inputs]
    if op in _PRODUCTS and shapes[0]:
        transposed = op == "Gemm" and call.node.number("transA", 0)
        inner = shapes[0][0 if transposed else -1]
        return made * inner, call.array(0).dtype.kind == "f" and call.array(0).itemsize > 2
    each = 1
    if op in _CONVOLUTIONS:
        place, axis = _CONVOLUTIONS[op]
        kernel = shapes[place] if place < len(shapes) else ()
        each = math.prod((*kernel[:axis], *kernel[axis + 1 :]))
    elif op in _POOLS:
        each = math.prod(call.node.numbers("kernel_shape"))
    elif op == "LRN":
        each = call.node.number("size", 1)
    elif op == "Einsum":
        return _einsum_work(call.node.text("equation"), shapes), False
    elif op in ("Attention", "LinearAttention"):
        each = max((math.prod(shape) for shape in shapes), default=1)
    return made * (each + (_IN_PYTHON if op in _SLOW else 0)), False


def _einsum_work(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Return how many combinations of indices a sum runs through, each letter counted once."""
    sizes: defaultdict[str, int] = defaultdict(lambda: 1)
    for term, shape in zip(equation.split("->")[0].split(","), shapes, strict=False):
        letters = term.replace(" ", "")
        before, dots, after = letters.partition("...")
        named = [*before, *["."] * (len(shape) - len(before) - len(after) if dots else 0), *after]
        around = 1
        for letter, size in zip(named, shape, strict=False):
            if letter == ".":
                around *= size
            else:
                sizes[letter] = max(sizes[letter], size)
        sizes["."] = max(sizes["."], around)
    return math.prod(sizes.values())
