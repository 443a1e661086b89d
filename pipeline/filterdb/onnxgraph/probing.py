"""What a model computes inside: its nodes as layers, and copies of it that give out chosen tensors too."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import onnx
from onnx import TensorProto, inliner

from filterdb.errors import ModelError, WeightError
from filterdb.onnxgraph.axes import PRODUCTS, RECURRENT, Axes, axes_of
from filterdb.onnxgraph.blocks import ACTIVATION, NORM, end_of_block, is_final, written_out
from filterdb.onnxgraph.convolutions import classify
from filterdb.onnxgraph.fold import Folder
from filterdb.onnxgraph.graph import Graph, Node, Value, unfold
from filterdb.onnxgraph.layers import LayerReader, name_of
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.load import Loaded, load
from filterdb.onnxgraph.tensors import all_tensors
from filterdb.onnxgraph.text import clean
from filterdb.onnxgraph.topology import measure
from filterdb.types import Kernel

Kind: TypeAlias = Literal["conv", "linear", "recurrent", "norm", "activation", "other"]

_HOLDER_NOISE: Final = 60


@dataclass(frozen=True, slots=True)
class InnerLayer:
    """A node whose result can be looked at.

    Parameters
    ----------
    name
        Unique within the model; of a convolution, the ``layer_name`` of a data set.
    op_type
        The operator.
    kind
        What sort of layer it is.
    tensor
        The name of its result in the graph; empty where it has none that can be given out.
    axes
        Where the result has its channels.
    block
        The name of the result after the normalization and the activation that follow, and nothing else does.
    final
        It gives a result of the model, or nothing but an activation lies between.
    reason
        Why its result cannot be given out; empty where it can.
    """

    name: str
    op_type: str
    kind: Kind
    tensor: str
    axes: Axes
    block: str
    final: bool = False
    reason: str = ""


class InnerModel:
    """A model with its layers, in the order of execution; made by :func:`open_inside`.

    Parameters
    ----------
    path
        The model file, which is never changed.
    folder
        Where its external data lies.
    loaded
        The parsed file.
    layers
        Its nodes.
    outputs
        The names of its results.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        loaded: Loaded,
        layers: tuple[InnerLayer, ...],
        outputs: frozenset[str],
    ) -> None:
        self.path, self.folder, self.layers, self.outputs = path, folder, layers, outputs
        self._loaded = loaded

    @property
    def size(self) -> int:
        """Bytes of the model file."""
        return self._loaded.file.size

    def with_outputs(self, tensors: Iterable[str]) -> bytes:
        """Return a copy of the model that gives out these tensors too; external data stays where it is.

        Parameters
        ----------
        tensors
            Names of results of nodes.
        """
        extra = onnx.ModelProto()
        for name in dict.fromkeys(tensors):
            if name not in self.outputs:
                extra.graph.output.add(name=name)
        # Protobuf merges what follows into what came before: the file itself need not be understood for it.
        return self._content() + bytes(extra.SerializeToString())

    def _content(self) -> bytes:
        content = bytes(self._loaded.file.view)
        self._loaded.file.release()
        if not self._loaded.model.functions:
            return content
        whole = onnx.ModelProto()
        whole.ParseFromString(content)
        return bytes(inliner.inline_local_functions(whole).SerializeToString())


def open_inside(path: str | os.PathLike[str], *, limits: Limits | None = None) -> InnerModel:
    """Read a model's layers, and make sure that all it refers to is there.

    Parameters
    ----------
    path
        The model file.
    limits
        What the model may ask for.

    Raises
    ------
    ModelError
        If the file is no model, or refers to files that are missing or that no honest model names.
    """
    path, limits = Path(path), limits or Limits()
    try:
        loaded = load(path, root=None, limits=limits)
        _require_external(loaded)
        if loaded.model.functions:
            # onnx puts functions in place of their calls without any bound: see first that they have one.
            unfold(loaded.model, limits)
        model = _inlined(loaded.model)
        graph = unfold(model, limits)
        measure(graph)
        layers = _Reader(graph, loaded, limits).layers()
    except ModelError as error:
        error.where = error.where or str(path)
        raise
    outputs = frozenset(info.name for info in model.graph.output)
    return InnerModel(path, path.parent.absolute(), loaded, layers, outputs)


def _require_external(loaded: Loaded) -> None:
    """Refuse external data before the runtime opens it, by the rules of this package."""
    for tensor in all_tensors(loaded.model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        try:
            loaded.tensors.check(tensor)
        except WeightError as error:
            raise ModelError(error.what, expected=error.expected) from error


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the functions of the model cannot be put in place of their calls: {text}"
        ) from error


class _Reader:
    def __init__(self, graph: Graph, loaded: Loaded, limits: Limits) -> None:
        self._nodes = _in_order(graph.nodes)
        reader = LayerReader(graph, Folder(loaded.tensors, limits), Kernel(1, 1))
        self._convolutions = reader.names
        self._axes = axes_of(self._nodes, loaded.tensors)
        self._written = self._kinds_of_several()

    def layers(self) -> tuple[InnerLayer, ...]:
        found = []
        names = self._names()
        for node in self._nodes:
            if (node.op, node.domain) == ("Constant", "") or _is_constant(node):
                continue
            value = next((value for value in node.outputs if value is not None), None)
            reason = _refused(node, value)
            found.append(
                InnerLayer(
                    name=names[node.index],
                    op_type=clean(node.op, 100),
                    kind=self._written.get(node) or _kind(node),
                    tensor="" if reason or value is None else value.name,
                    axes="unknown" if value is None else self._axes[value],
                    block="" if reason or value is None else end_of_block(value).name,
                    final=value is not None and is_final(value),
                    reason=reason,
                )
            )
        return tuple(found)

    def _names(self) -> Mapping[int, str]:
        taken = set(self._convolutions.values())
        copies: Counter[str] = Counter()
        names = dict(self._convolutions)
        for node in self._nodes:
            if node.index in names:
                continue
            base = name = name_of(node, _stored_name(node))
            copies.setdefault(base, 1)
            while name in taken:
                copies[base] += 1
                name = f"{base}#{copies[base]}"
            taken.add(name)
            names[node.index] = name
        return names

    def _kinds_of_several(self) -> Mapping[Node, Kind]:
        """Say of which kind the last node of several that make a normalization or an activation is."""
        kinds: dict[Node, Kind] = {}
        for node in self._nodes:
            for value in node.outputs:
                several = None if value is None else written_out(value)
                if several is not None and several.end.node is not None:
                    kinds |= dict.fromkeys(several.nodes, "other")
                    kinds[several.end.node] = several.kind
        return kinds


def _in_order(nodes: list[Node]) -> list[Node]:
    """Return the nodes in an order of execution: that of the file, if it is one."""
    for node in nodes:
        for value in node.inputs:
            if value is not None and value.node is not None and value.node.index > node.index:
                return sorted(nodes, key=lambda item: (item.depth, item.index))
    return nodes


def _kind(node: Node) -> Kind:
    if classify(node) is not None:
        return "conv"
    if node.op in PRODUCTS:
        weighted = any(value is not None and value.constant for value in node.inputs[:2])
        return "linear" if weighted or node.op not in ("MatMul", "Gemm") else "other"
    if node.op in RECURRENT:
        return "recurrent"
    if node.op in NORM:
        return "norm"
    return "activation" if node.op in ACTIVATION else "other"


def _is_constant(node: Node) -> bool:
    return bool(node.outputs) and all(value is None or value.constant for value in node.outputs)


def _refused(node: Node, value: Value | None) -> str:
    if node.frame.level:
        holder = node.frame.holder
        what = "another node" if holder is None else f"{holder.op} {clean(holder.name, _HOLDER_NOISE)!r}"
        return f"it lies in a body of {what}, whose values onnxruntime does not give out"
    return "it has no result" if value is None else ""


def _stored_name(node: Node) -> str:
    """Return the name of the tensor that a layer is known by."""
    for value in node.inputs[1:2] if _kind(node) != "linear" else node.inputs[:2]:
        if value is not None and value.constant:
            return _root_name(value)
    return ""


def _root_name(value: Value) -> str:
    """Follow a constant to the stored tensor that it is made of."""
    for _ in range(8):
        if value.node is None or not value.node.inputs or value.node.inputs[0] is None:
            break
        value = value.node.inputs[0]
    return value.name if value.kind == "tensor" else ""
