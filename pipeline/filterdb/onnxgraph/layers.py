"""From the nodes of a graph to the records of a model."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from filterdb.errors import FilterDBError
from filterdb.onnxgraph.convolutions import Convolution, classify
from filterdb.onnxgraph.fold import Folder
from filterdb.onnxgraph.graph import Graph, Node
from filterdb.onnxgraph.resolve import Weight, WeightFinder
from filterdb.onnxgraph.text import clean
from filterdb.types import ConvLayer, Kernel, SkippedLayer, WeightArray

_DOTTED = re.compile(r"(?!onnx::)[^\W\d][\w/-]*(\.[\w/-]+)+")
_WEIGHT_SUFFIX = re.compile(r"\.weight(_quantized)?$")
_ALIGNED = 1 << 18
_NOTES = 20
# Attributes that tell a 2-D convolution by how many numbers they have.
_PLANAR = (("kernel_shape", 2), ("strides", 2), ("dilations", 2), ("pads", 4))
_KNOWN_RANKS = {3: "a 1-D convolution", 5: "a 3-D convolution"}


@dataclass(slots=True)
class Candidate:
    """A convolution on its way to a record.

    Parameters
    ----------
    node
        Where it is in the graph.
    kind
        How its operator is read.
    weight
        What is known of its weight.
    reason
        Why it gives no record, where it gives none.
    name
        Its name in the record.
    """

    node: Node
    kind: Convolution
    weight: Weight | None = None
    reason: str | None = None
    name: str = ""

    @property
    def planar(self) -> bool:
        """Whether it is known to be a 2-D convolution."""
        if not self.kind.planar:
            return False
        if self.weight is not None:
            return len(self.weight.shape) == 4
        if any(len(self.node.numbers(name)) == size for name, size in _PLANAR):
            return True
        return any(value is not None and len(value.shape or ()) == 4 for value in self.node.inputs)

    @property
    def kernel(self) -> str:
        """The kernel's shape as text."""
        shape = self.node.numbers("kernel_shape") if self.weight is None else self.weight.shape[2:]
        if not shape and self.kind.weight < len(self.node.inputs):
            value = self.node.inputs[self.kind.weight]
            declared = () if value is None else value.shape or ()
            shape = () if 0 in declared else declared[2:]
        return "x".join(map(str, shape)) if 0 < len(shape) <= 8 else "?"


class LayerReader:
    """Reads every convolution of a graph.

    Parameters
    ----------
    graph
        The graph, with its depths measured.
    folder
        Computes its constants.
    kernel
        Which kernels to extract; all 2-D ones where none is given.
    """

    def __init__(self, graph: Graph, folder: Folder, kernel: Kernel | None) -> None:
        self._finder = WeightFinder(folder)
        self._kernel = kernel
        self.kernels: Counter[str] = Counter()
        self.notes: list[str] = []
        nodes = sorted(graph.nodes, key=lambda node: (node.depth, node.index))
        self._candidates = [Candidate(node, kind) for node in nodes if (kind := classify(node)) is not None]
        for candidate in self._candidates:
            self._examine(candidate)
        _give_names(self._candidates)
        depths = sorted({item.node.depth for item in self._candidates if item.planar})
        self._places = {depth: place for place, depth in enumerate(depths)}

    @property
    def names(self) -> dict[int, str]:
        """The name of every convolution, by the place of its node in the graph."""
        return {item.node.index: item.name for item in self._candidates}

    def read(self, sink: Callable[[WeightArray], None]) -> tuple[list[ConvLayer], list[SkippedLayer]]:
        """Return the layers in order, after passing the weight of each to the sink."""
        layers: list[ConvLayer] = []
        skipped: list[SkippedLayer] = []
        for item in self._candidates:
            weight = item.weight
            values = None if weight is None or item.reason is not None else self._values(item, weight)
            if weight is None or values is None:
                op, reason = clean(item.node.op, 100), clean(item.reason or "unknown", 600)
                skipped.append(SkippedLayer(item.name, op, item.kernel, reason))
            else:
                layers.append(self._record(item, weight, values))
                sink(values)
        return layers, skipped

    def _examine(self, item: Candidate) -> None:
        try:
            item.weight = self._finder.find(item.node, item.kind)
            item.reason = item.kind.refused or self._misfit(item, item.weight.shape)
        except MemoryError:
            # Not the layer's trouble but the machine's: another run may have more, and find the weight.
            raise
        except Exception as error:  # noqa: BLE001 - one layer's trouble never costs the others
            item.reason = item.kind.refused or _reason(error)

    def _misfit(self, item: Candidate, shape: tuple[int, ...]) -> str | None:
        if len(shape) != 4:
            return _KNOWN_RANKS.get(len(shape), f"the weight has {len(shape)} dimensions, expected 4")
        if 0 in shape:
            return f"the weight is empty: its shape is {list(shape)}"
        declared = item.node.numbers("kernel_shape")
        if declared and declared != shape[2:]:
            name = item.node.name or item.node.op
            text = f"{name}: kernel_shape is {list(declared[:8])}, but the weight has {list(shape[2:])}"
            self._note(clean(text))
        if self._kernel is None or shape[2:] == self._kernel.shape:
            return None
        self.kernels[str(shape[2:])] += shape[0] * shape[1]
        return f"the kernel is {shape[2]}x{shape[3]}, not {self._kernel}"

    def _note(self, text: str) -> None:
        if len(self.notes) < _NOTES:
            self.notes.append(text)
        elif len(self.notes) == _NOTES:
            self.notes.append("and more of the same")

    def _values(self, item: Candidate, weight: Weight) -> WeightArray | None:
        try:
            return self._finder.read(item.node, item.kind, weight)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - one layer's trouble never costs the others
            item.reason = _reason(error)
            return None

    def _record(self, item: Candidate, weight: Weight, values: WeightArray) -> ConvLayer:
        node, (out, inner) = item.node, weight.shape[:2]
        group = max(node.number("group", 1), 1)
        place, last = self._places[node.depth], len(self._places) - 1
        nonfinite, digest = _examine(values)
        layer = ConvLayer(
            name=item.name,
            op_type=node.op,
            conv_depth=place,
            conv_depth_norm=place / last if last else 0.0,
            out_channels=out,
            in_channels=inner,
            group=group,
            depthwise=group > 1 and inner == 1,
            strides=_pair(node, "strides"),
            dilations=_pair(node, "dilations"),
            weight_dtype=weight.dtype,
            weight_source=weight.source,
            bn_follows=_bn_follows(node),
            nonfinite=nonfinite,
            weights_sha256=digest,
        )
        self.kernels[str(weight.shape[2:])] += layer.n_filters
        return layer


def _examine(weight: WeightArray) -> tuple[int, str]:
    """Count NaN and Inf, and hash the values as a data set stores them, in one pass."""
    # A sum of squares tells at memory speed that there is no NaN or Inf, as nearly always. In a mapped file
    # numbers lie at any address, and arithmetic on those is slow.
    data = np.ascontiguousarray(weight, dtype="<f4").reshape(-1).view(np.uint8)
    aligned = np.empty(min(data.size, _ALIGNED), np.uint8)
    digest, found = hashlib.sha256(), 0
    for start in range(0, data.size, _ALIGNED):
        part = aligned[: min(data.size - start, _ALIGNED)]
        part[:] = data[start : start + _ALIGNED]
        digest.update(part.data)
        values = part.view(np.float32)
        with np.errstate(all="ignore"):
            if not np.isfinite(np.dot(values, values)):
                found += int(values.size - np.count_nonzero(np.isfinite(values)))
    return found, digest.hexdigest()


def _give_names(candidates: list[Candidate]) -> None:
    taken: set[str] = set()
    copies: Counter[str] = Counter()
    for item in candidates:
        base = name = _base_name(item)
        copies[base] += 1
        while name in taken:
            name = f"{base}#{copies[base]}"
            copies[base] += name in taken
        taken.add(name)
        item.name = name


def _base_name(item: Candidate) -> str:
    return name_of(item.node, item.weight.name if item.weight is not None else "")


def name_of(node: Node, stored: str) -> str:
    """Return what a layer is called: by its weight, else by its node, else by its place.

    Parameters
    ----------
    node
        The layer's node.
    stored
        The name of its weight's tensor, or nothing.
    """
    name = _WEIGHT_SUFFIX.sub("", stored)
    # Exporters number what has no name: "x.11" and "onnx::Conv_123" name nothing that a person would know.
    if _DOTTED.fullmatch(stored) and (name != stored or not name.rpartition(".")[2].isdigit()):
        return clean(name)
    return clean(node.name) or clean(f"{node.op}_{node.index}")


def _pair(node: Node, name: str) -> tuple[int, ...]:
    values = node.numbers(name)
    return values if len(values) == 2 else (1, 1)


def _bn_follows(node: Node) -> bool:
    result = node.outputs[0] if node.outputs else None
    users = None if result is None else result.consumers()
    return users is not None and [user.op for user in users] == ["BatchNormalization"]


def _reason(error: Exception) -> str:
    if isinstance(error, FilterDBError):
        return error.reason
    return f"unexpected {type(error).__name__}: {error}"
