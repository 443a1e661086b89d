"""The graph of a model as one flat list of nodes, with bodies and function calls unfolded.

Names are resolved here, once: after this, a value is an object that knows its producer and its users.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import onnx
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto

from filterdb.errors import UnsafeModelError
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.text import as_text

Kind: TypeAlias = Literal["input", "tensor", "node", "state", "missing"]
STANDARD = ""
# A file of the first version of the format has attributes without a type, which may hold anything.
_BODYLESS = frozenset(AttributeProto.AttributeType.values()) - {
    AttributeProto.UNDEFINED,
    AttributeProto.GRAPH,
    AttributeProto.GRAPHS,
}
_MOST_AXES = 64
# What a longer name or a body costs, in short names.
_LONG_NAME = 128
_BODY = 8


class Value:
    """Something that a name stands for in one place of the unfolded graph.

    ``kind`` says where it comes from: a graph input, a stored tensor, a node, the state of a loop or scan
    (an input of its body), or nowhere.
    """

    __slots__ = (
        "alias",
        "constant",
        "escapes",
        "exports",
        "frame",
        "kind",
        "name",
        "node",
        "shape",
        "tensor",
        "users",
    )

    def __init__(self, name: str, frame: Frame, kind: Kind) -> None:
        self.name = as_text(name)
        self.frame = frame
        self.kind = kind
        self.node: Node | None = None
        self.tensor: TensorProto | SparseTensorProto | None = None
        self.shape: tuple[int, ...] | None = None
        """What a graph input is declared to be; 0 for a size that is not said."""
        self.alias: Value | None = None
        """Inside a function, what a result of its call really is."""
        self.users: list[Node] = []
        self.exports: list[Value] = []
        self.escapes = False
        self.constant = kind == "tensor"

    def origin(self) -> Value:
        """Follow results of function calls to the values inside."""
        value = self
        while value.alias is not None:
            value = value.alias
        return value

    def consumers(self) -> list[Node] | None:
        """Return the nodes that use the value, or None where it is also a result of the graph."""
        found: list[Node] = []
        stack = [self]
        while stack:
            value = stack.pop()
            if value.escapes:
                return None
            found += value.users
            stack += value.exports
        return found


class Frame:
    """One graph, body or function call with the names that are known in it."""

    __slots__ = (
        "arguments",
        "call",
        "floor",
        "function",
        "holder",
        "level",
        "opsets",
        "outputs",
        "parent",
        "scope",
    )

    def __init__(
        self, parent: Frame | None, holder: Node | None, opsets: Mapping[str, int], level: int
    ) -> None:
        self.parent = parent
        self.holder = holder
        self.opsets = opsets
        self.level = level
        self.function: onnx.FunctionProto | None = None
        self.arguments: Mapping[str, Bound] = {}
        self.call: Frame = self if parent is None else parent.call
        """The frame of the function call, or of the model, that this one is a body in."""
        self.scope: dict[str, Value | None] = {}
        self.outputs: list[Value | None] = []
        self.floor = 0

    def find(self, name: str) -> Value | None:
        """Return what a name stands for, here or in the frames around."""
        if not name:
            return None
        frame: Frame | None = self
        while frame is not None:
            if name in frame.scope:
                return frame.scope[name]
            frame = frame.parent
        missing = Value(name, self, "missing")
        self.scope[name] = missing
        return missing


@dataclass(frozen=True, slots=True)
class Bound:
    """An attribute and the frame it was written in, which is where the names of a body are looked up."""

    proto: AttributeProto
    frame: Frame


class Node:
    """One node in one place of the unfolded graph."""

    __slots__ = (
        "_attributes",
        "bodies",
        "called",
        "depth",
        "domain",
        "frame",
        "index",
        "inputs",
        "name",
        "op",
        "outputs",
        "proto",
    )

    def __init__(self, proto: NodeProto, frame: Frame, index: int) -> None:
        self.proto = proto
        self.frame = frame
        self.index = index
        self.op = as_text(proto.op_type)
        self.domain = _domain(as_text(proto.domain))
        self.name = as_text(proto.name)
        self.inputs: list[Value | None] = [frame.find(name) for name in proto.input]
        self.outputs: list[Value | None] = []
        self.bodies: list[Frame] = []
        self.called = False
        self._attributes: dict[str, Bound] | None = None
        self.depth = 0

    def attributes(self) -> dict[str, Bound]:
        """Return the attributes by name, with references to a function's attributes resolved."""
        if self._attributes is not None:
            return self._attributes
        found: dict[str, Bound] = {}
        for attribute in self.proto.attribute:
            if attribute.ref_attr_name:
                argument = self.frame.call.arguments.get(attribute.ref_attr_name)
                if argument is not None:
                    found[attribute.name] = argument
            else:
                found[attribute.name] = Bound(attribute, self.frame)
        self._attributes = found
        return found

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return a list attribute, empty where there is none."""
        bound = self.attributes().get(name)
        return () if bound is None else tuple(bound.proto.ints)

    def number(self, name: str, default: int) -> int:
        """Return a number attribute."""
        bound = self.attributes().get(name)
        return default if bound is None else int(bound.proto.i)

    def text(self, name: str, default: str = "") -> str:
        """Return a text attribute."""
        bound = self.attributes().get(name)
        return default if bound is None else bound.proto.s.decode("utf-8", "replace")


@dataclass(slots=True)
class Graph:
    """All nodes of a model, in the order of the file with bodies after the node that holds them."""

    nodes: list[Node] = field(default_factory=list)


def unfold(model: onnx.ModelProto, limits: Limits) -> Graph:
    """Unfold a model into one flat graph.

    Raises
    ------
    UnsafeModelError
        If function calls or bodies unfold to more than the limits allow.
    """
    return _Unfolder(model, limits).run()


class _Unfolder:
    def __init__(self, model: onnx.ModelProto, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self.graph = Graph()
        self.names = 0
        self.functions = {
            (_domain(f.domain), f.name, getattr(f, "overload", "")): f for f in reversed(model.functions)
        }

    def run(self) -> Graph:
        top = Frame(None, None, _opsets(self.model.opset_import), 0)
        self._declare(top, self.model.graph, "input")
        for output in top.outputs:
            if output is not None:
                output.escapes = True
        work: list[tuple[Frame, Iterator[NodeProto]]] = [(top, iter(self.model.graph.node))]
        while work:
            frame, protos = work[-1]
            proto = next(protos, None)
            if proto is None:
                work.pop()
                continue
            node = self._add(proto, frame)
            # Reversed, because the last one pushed comes first.
            work += reversed(self._open(node))
        return self.graph

    def _add(self, proto: NodeProto, frame: Frame) -> Node:
        nodes = self.graph.nodes
        if len(nodes) >= self.limits.nodes:
            raise UnsafeModelError(
                f"the model unfolds to more than {self.limits.nodes} nodes",
                expected="functions that do not call each other over and over",
            )
        self._charge(proto.input, len(proto.attribute))
        node = Node(proto, frame, len(nodes))
        self._charge((), (len(node.op) + len(node.domain) + len(node.name)) // _LONG_NAME)
        nodes.append(node)
        for name in proto.output:
            value = frame.scope.get(name) if name else None
            if value is not None and value.kind == "node" and value.node is None:
                value.node = node
                node.outputs.append(value)
            else:
                node.outputs.append(None)
        return node

    def _open(self, node: Node) -> list[tuple[Frame, Iterator[NodeProto]]]:
        function = self.functions.get((node.domain, node.op, getattr(node.proto, "overload", "")))
        if function is not None:
            return [self._call(node, function)]
        for value in node.inputs:
            if value is not None:
                value.users.append(node)
        opened: list[tuple[Frame, Iterator[NodeProto]]] = []
        if all(attribute.type in _BODYLESS for attribute in node.proto.attribute):
            return opened
        for bound in node.attributes().values():
            for body in _graphs(bound.proto):
                frame = Frame(bound.frame, node, node.frame.opsets, node.frame.level + 1)
                self._check_nesting(frame)
                self._charge((), _BODY)
                self._declare(frame, body, "state")
                for output in frame.outputs:
                    if output is not None:
                        output.escapes = True
                node.bodies.append(frame)
                opened.append((frame, iter(body.node)))
        return opened

    def _call(self, node: Node, function: onnx.FunctionProto) -> tuple[Frame, Iterator[NodeProto]]:
        node.called = True
        frame = Frame(None, node, _opsets(function.opset_import), node.frame.level + 1)
        frame.function = function
        self._charge(function.input, len(function.attribute_proto) + len(function.opset_import))
        self._charge(function.output)
        defaults = {a.name: Bound(a, frame) for a in function.attribute_proto}
        frame.arguments = {**defaults, **node.attributes()}
        self._check_nesting(frame)
        for place, name in enumerate(function.input):
            frame.scope[name] = node.inputs[place] if place < len(node.inputs) else None
        self._declare_nodes(frame, function.node)
        frame.outputs = [frame.find(name) for name in function.output]
        for outer, inner in zip(node.outputs, frame.outputs, strict=False):
            if outer is not None and inner is not None:
                outer.alias = inner
                inner.exports.append(outer)
        node.bodies.append(frame)
        return frame, iter(function.node)

    def _check_nesting(self, frame: Frame) -> None:
        if frame.level > self.limits.nesting:
            raise UnsafeModelError(
                f"bodies and function calls are nested more than {self.limits.nesting} deep",
                expected="functions that do not call themselves",
            )

    def _charge(self, names: Iterable[str], count: int = 0) -> None:
        """Count names before they are made into anything: a short call may bring many, and long ones."""
        self.names += count + sum(1 + len(name) // _LONG_NAME for name in names)
        if self.names > self.limits.names:
            raise UnsafeModelError(
                f"the model unfolds to more than {self.limits.names} names of values",
                expected="functions and bodies that are small, or not repeated over and over",
            )

    def _declare(self, frame: Frame, graph: onnx.GraphProto, kind: Kind) -> None:
        if frame.level:  # what the model itself declares is no larger than its file
            self._charge(info.name for info in graph.input)
            self._charge(info.name for info in graph.output)
            self._charge((tensor.name for tensor in graph.initializer), len(graph.initializer))
            self._charge(sparse.values.name for sparse in graph.sparse_initializer)
        for info in graph.input:
            value = frame.scope[info.name] = Value(info.name, frame, kind)
            shape = info.type.tensor_type.shape
            if info.type.tensor_type.HasField("shape") and len(shape.dim) <= _MOST_AXES:
                value.shape = tuple(dim.dim_value for dim in shape.dim)
        for tensor in graph.initializer:
            _store(frame, tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            _store(frame, sparse.values.name, sparse)
        self._declare_nodes(frame, graph.node)
        frame.outputs = [frame.find(info.name) for info in graph.output]

    def _declare_nodes(self, frame: Frame, nodes: Sequence[NodeProto]) -> None:
        for node in nodes:
            if frame.level:
                self._charge(node.output)
            for name in node.output:
                if name and name not in frame.scope:
                    frame.scope[name] = Value(name, frame, "node")


def _store(frame: Frame, name: str, tensor: TensorProto | SparseTensorProto) -> None:
    value = Value(name, frame, "tensor")
    value.tensor = tensor
    frame.scope[name] = value


def _graphs(attribute: AttributeProto) -> list[onnx.GraphProto]:
    if attribute.HasField("g"):
        return [attribute.g]
    return list(attribute.graphs)


def _opsets(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {_domain(entry.domain): int(entry.version) for entry in imports}


def _domain(domain: str) -> str:
    return STANDARD if domain == "ai.onnx" else domain
