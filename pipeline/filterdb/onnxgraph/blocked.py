"""Models that onnxruntime has laid out in blocks of channels, of which results can be chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from filterdb.onnxgraph.rowwise import by_row

_Message = TypeVar("_Message", NodeProto, ValueInfoProto)
_BLOCKED: Final = "com.microsoft.nchwc"
# What they draw depends on their place among the nodes, which moves with what is left out.
_DRAWING: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


class LaidOut:
    """A model in onnxruntime's own layout.

    Parameters
    ----------
    graph
        What onnxruntime has made of the model with every layer as a result; it is taken apart.
    outputs
        The names of the model's own results.
    """

    def __init__(self, graph: ModelProto, outputs: frozenset[str]) -> None:
        self.by_row = by_row(graph.graph)
        # A result that has become a constant cannot be loaded where nothing names it.
        self._outputs = outputs | {tensor.name for tensor in graph.graph.initializer}
        self._nodes = [(name, _own(node)) for name, node in _in_place(graph.graph)]
        self._results = [(info.name, _own(info)) for info in graph.graph.output]
        del graph.graph.node[:], graph.graph.output[:]
        self._rest = bytes(graph.SerializeToString())

    def with_outputs(self, tensors: Iterable[str]) -> bytes:
        """Return the model so that it gives out its own results and these tensors.

        Parameters
        ----------
        tensors
            Names of results of layers.
        """
        wanted = self._outputs | set(tensors)
        chosen = ModelProto()
        chosen.graph.node.extend(node for name, node in self._nodes if name is None or name in wanted)
        chosen.graph.output.extend(info for name, info in self._results if name in wanted)
        # Protobuf merges what follows into what came before.
        return self._rest + bytes(chosen.SerializeToString())


def open_laid_out(content: bytes, outputs: frozenset[str]) -> LaidOut | None:
    """Read what onnxruntime has made of a model; nothing where it has laid no convolution out.

    Parameters
    ----------
    content
        The model that onnxruntime has written, with every layer as a result.
    outputs
        The names of the model's own results.
    """
    graph = onnx.load_model_from_string(content)
    nodes = list(_nodes(graph.graph))
    blocked = any((node.domain, node.op_type) == (_BLOCKED, "Conv") for node in nodes)
    if not blocked or any(node.op_type in _DRAWING for node in nodes):
        return None
    return LaidOut(graph, outputs)


def _in_place(graph: GraphProto) -> list[tuple[str | None, NodeProto]]:
    """Return the nodes in order; each that does nothing but give a result out of its blocks has its name.

    It follows the node whose result it copies, so that the blocks need not be kept for it.
    """
    used = set(_used(graph))
    inner: list[NodeProto] = []
    copies: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        leaves = (node.domain, node.op_type) == (_BLOCKED, "ReorderOutput") and node.output[0] not in used
        (copies[node.input[0]] if leaves else inner).append(node)
    found: list[tuple[str | None, NodeProto]] = []
    for node in inner:
        found.append((None, node))
        found += [(copy.output[0], copy) for name in node.output for copy in copies[name]]
    return found


def _used(graph: GraphProto) -> Iterator[str]:
    """Yield the names that nodes use, those in bodies too."""
    for node in _nodes(graph):
        yield from node.input
        for body in _bodies(node):
            yield from (info.name for info in body.output)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _nodes(body)


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _own(message: _Message) -> _Message:
    found = type(message)()
    found.CopyFrom(message)
    return found
