"""Write networks as ONNX files, with the habits of different exporters."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from .catalogue import LATENT, Model
from .tasks import corrupt, pool_of

TOLERANCE = {"float16": 2e-2, "int8": 2e-1}
BROKEN = "broken.onnx"


def sample_inputs(model: Model, count: int) -> torch.Tensor:
    """Inputs as the network sees them on held-out data."""
    rng = torch.Generator().manual_seed(5)
    if model.task == "GAN-Generator":
        return torch.randn(count, LATENT, generator=rng)
    return corrupt(model.task, pool_of(model, held=True).images[:count], rng)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, which print progress and deprecations."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _torchscript(model: Model, net: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """Graph by the TorchScript exporter, which folds batch norm unless it is told to preserve it."""
    habit, buffer = model.habit, io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if habit.folded else torch.onnx.TrainingMode.PRESERVE
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if habit.dynamic else None
    torch.onnx.export(
        net,
        (example,),
        buffer,
        dynamo=False,
        opset_version=habit.opset,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes=axes,
        training=mode,
        do_constant_folding=habit.folded,
    )
    return onnx.load_from_string(buffer.getvalue())


def _dynamo(model: Model, net: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """Graph by the dynamo exporter, whose optimiser folds batch norm."""
    habit = model.habit
    shapes = ({0: torch.export.Dim("batch")},) if habit.dynamic else None
    program = torch.onnx.export(
        net,
        (example,),
        dynamo=True,
        opset_version=habit.opset,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=shapes,
        optimize=habit.folded,
        verbose=False,
    )
    assert program is not None
    return onnx.load_from_string(program.model_proto.SerializeToString())


def _forget(parts: Iterable[Any]) -> None:
    """Drop documentation and metadata, where exporters leave stack traces with file paths."""
    for part in parts:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]


def strip_traces(proto: onnx.ModelProto) -> None:
    """Remove everything from a model that could name the machine it was made on."""
    graph = proto.graph
    _forget([proto, graph, *proto.functions])
    for parts in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        _forget(parts)
    for function in proto.functions:
        _forget(function.node)
    # Shapes in between can be inferred again and only take space.
    del graph.value_info[:]


def _to_constants(proto: onnx.ModelProto) -> None:
    """Move the initializers into Constant nodes, as some converters write them."""
    graph = proto.graph
    constants = [
        helper.make_node("Constant", [], [t.name], name=f"const/{t.name}", value=t) for t in graph.initializer
    ]
    rest = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.node.extend([*constants, *rest])


def _to_half(proto: onnx.ModelProto) -> None:
    """Store and compute in float16 between two casts; inputs and outputs stay float32."""
    graph = proto.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    given, result = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.input[:] = ["input_half" if name == given else name for name in node.input]
        node.output[:] = ["output_half" if name == result else name for name in node.output]
    first = helper.make_node("Cast", [given], ["input_half"], name="cast_in", to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", ["output_half"], [result], name="cast_out", to=TensorProto.FLOAT)
    middle = list(graph.node)
    del graph.node[:]
    graph.node.extend([first, *middle, last])


class _Calibration(CalibrationDataReader):
    """Feeds the quantiser with batches of held-out inputs.

    Parameters
    ----------
    inputs : Tensor
        Inputs of the network.
    """

    def __init__(self, inputs: torch.Tensor) -> None:
        self.parts = iter([{"input": part.numpy()} for part in inputs.split(16)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None at the end."""
        return next(self.parts, None)


def _to_int8(model: Model, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise to int8 with one scale per output channel, in QDQ form."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        quantize_static(
            source,
            target,
            _Calibration(sample_inputs(model, 128)),
            per_channel=True,
            quant_format=QuantFormat.QDQ,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8,
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        return onnx.load(target)


def _drop_unused(proto: onnx.ModelProto) -> None:
    """Remove initializers that no node reads (batch counters of training)."""
    used = {name for node in proto.graph.node for name in node.input}
    used |= {result.name for result in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def write(model: Model, net: nn.Module, target: Path) -> None:
    """Export a network and write its file.

    Parameters
    ----------
    model : Model
        The entry with its habit.
    net : Module
        The network with the weights to export.
    target : Path
        The file; external data goes next to it.
    """
    net.eval()
    example = sample_inputs(model, 2 if model.habit.dynamic else 1)
    with _quiet():
        make = _torchscript if model.habit.exporter == "torchscript" else _dynamo
        proto = make(model, net, example)
        if model.habit.post == "int8":
            proto = _to_int8(model, proto)
    _drop_unused(proto)
    if model.habit.post == "constants":
        _to_constants(proto)
    elif model.habit.post == "float16":
        _to_half(proto)
    strip_traces(proto)
    proto.graph.name = target.stem
    onnx.checker.check_model(proto)
    data_file = target.with_name(target.name + ".data")
    # Saving appends to an existing data file.
    data_file.unlink(missing_ok=True)
    if model.habit.post == "external":
        onnx.save_model(
            proto,
            target,
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=data_file.name,
            size_threshold=256,
        )
        # It is written for the owner alone.
        data_file.chmod(0o644)
    else:
        onnx.save_model(proto, target)


@torch.no_grad()
def difference(model: Model, net: nn.Module, path: Path) -> float:
    """Largest difference between ONNX Runtime and torch, relative to the spread of the output.

    Parameters
    ----------
    model : Model
        The entry.
    net : Module
        The network that was exported.
    path : Path
        The exported file.

    Returns
    -------
    float
        The difference; compare it with `allowed`.
    """
    net.eval()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = sample_inputs(model, 6)
    parts = inputs.split(3 if model.habit.dynamic else 1)
    name = session.get_inputs()[0].name
    ours = np.concatenate([session.run(None, {name: part.numpy()})[0] for part in parts])
    theirs = net(inputs).numpy()
    return float(np.abs(ours - theirs).max() / max(float(theirs.std()), 1e-2))


def allowed(model: Model) -> float:
    """Tolerated difference of an export."""
    return TOLERANCE.get(model.habit.post, 1e-3)


def write_broken(source: Path, folder: Path) -> None:
    """Write a damaged file: the first part of a good one."""
    content = source.read_bytes()
    (folder / BROKEN).write_bytes(content[: len(content) * 2 // 5])
