"""One model file, opened: its identity and the layers it holds."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from filterdb.errors import FilterDBError
from filterdb.onnxgraph.check import complaint
from filterdb.onnxgraph.convolutions import Convolution, classify
from filterdb.onnxgraph.files import identity
from filterdb.onnxgraph.fold import Folder
from filterdb.onnxgraph.graph import STANDARD, Graph, Node, unfold
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.load import Loaded, load
from filterdb.onnxgraph.resolve import Weight, find_weight, read_weight
from filterdb.onnxgraph.tensors import external_locations
from filterdb.onnxgraph.topology import measure
from filterdb.types import ConvLayer, Filters, Kernel, ModelRecord, SkippedLayer

Sink = Callable[[Filters], None]
_RELEASE = 1 << 20
_DOTTED = re.compile(r"(?!onnx::)[^\W\d][\w/-]*(\.[\w/-]+)+")
_WEIGHT_SUFFIX = re.compile(r"\.weight(_quantized)?$")


class OpenModel:
    """An ONNX file that was found to be one.

    Made by :func:`open_model`; a context manager, because it keeps the file mapped.

    Parameters
    ----------
    loaded
        The parsed file.
    limits
        What the model may ask for.
    """

    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self._loaded: Loaded = loaded
        self._limits = limits

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._loaded

    @property
    def sha256(self) -> str:
        """Hash of the file, and of every file that it keeps weights in."""
        return self._identity[0]

    @property
    def size(self) -> int:
        """Bytes of the file and of its external data."""
        return self._identity[1]

    @cached_property
    def _identity(self) -> tuple[str, int]:
        loaded = self._loaded
        # Nearly every model keeps its weights inside; then there is nothing to search for.
        external = b"location" in loaded.message
        locations = external_locations(loaded.model) if external else []
        return identity(loaded.file, loaded.tensors.external, locations)

    def extract(self, kernel: Kernel, sink: Callable[[Filters], None]) -> ModelRecord:
        """Read every convolution of the model.

        Parameters
        ----------
        kernel
            Height and width of the kernels to extract.
        sink
            Called once for each record, in the order of the records, with its filters.

        Raises
        ------
        ModelError
            If the model as a whole cannot be used. A layer that cannot be is among the skipped ones.
        """
        return _Extraction(self, self._loaded, self._limits, kernel, sink).run()


def open_model(path: Path, *, root: Path | None = None, limits: Limits | None = None) -> OpenModel:
    """Open an ONNX file.

    Parameters
    ----------
    path
        The file.
    root
        The folder that external data lies in; the file's own by default.
    limits
        What the model may ask for.

    Raises
    ------
    ModelError
        If the file is none, or may not be read.
    """
    limits = limits or Limits()
    path = Path(path)
    try:
        return OpenModel(load(path, root=root, limits=limits), limits)
    except FilterDBError as error:
        error.where = error.where or str(path)
        raise


def read_model(
    path: Path, *, kernel: Kernel | None = None, sink: Callable[[Filters], None] | None = None
) -> ModelRecord:
    """Open a file, extract it, close it."""
    with open_model(path) as model:
        return model.extract(kernel or Kernel(3, 3), sink or (lambda _: None))


def read_layers(path: Path, *, kernel: Kernel | None = None) -> tuple[ModelRecord, list[Filters]]:
    """Return a small model's record and all its filters."""
    blocks: list[Filters] = []
    return read_model(path, kernel=kernel, sink=blocks.append), blocks


@dataclass(slots=True)
class _Found:
    """A convolution on its way to a record."""

    node: Node
    kind: Convolution
    name: str = ""
    weight: Weight | None = None
    reason: str | None = None

    @property
    def planar(self) -> bool:
        if not self.kind.planar:
            return False
        if self.weight is not None:
            return len(self.weight.shape) == 4
        return any(len(self.node.ints(name)) == 2 for name in ("kernel_shape", "strides", "dilations"))

    @property
    def kernel(self) -> str:
        shape = self.node.ints("kernel_shape") if self.weight is None else self.weight.shape[2:]
        return "x".join(map(str, shape)) or "?"


class _Extraction:
    def __init__(self, owner: OpenModel, loaded: Loaded, limits: Limits, kernel: Kernel, sink: Sink) -> None:
        self.owner = owner
        self.loaded = loaded
        self.kernel = kernel
        self.sink = sink
        self.graph: Graph = unfold(loaded.model, limits)
        self.topology = measure(self.graph)
        self.folder = Folder(loaded.tensors, limits)
        self.ops = Counter(node.op for node in self.graph.nodes if node.domain == STANDARD)
        self.kernels: Counter[str] = Counter()
        self.notes: list[str] = []

    def run(self) -> ModelRecord:
        found = [_Found(n, kind) for n in self.graph.nodes if (kind := classify(n)) is not None]
        found.sort(key=lambda item: (item.node.depth, item.node.index))
        for item in found:
            self._find(item)
        _name(found)
        depths = sorted({item.node.depth for item in found if item.planar})
        place = {depth: index for index, depth in enumerate(depths)}
        layers: list[ConvLayer] = []
        skipped: list[SkippedLayer] = []
        for item in found:
            layer = self._layer(item, place) if item.reason is None else None
            if layer is not None:
                layers.append(layer)
            else:
                skipped.append(SkippedLayer(item.name, item.node.op, item.kernel, item.reason or "?"))
        return self._record(tuple(layers), tuple(skipped))

    def _advise(self) -> None:
        message = self.loaded.message
        if len(message) > self.check_bytes:
            return
        advice = complaint(message, self.ops)
        if advice is not None:
            self.notes.insert(0, advice)

    def _find(self, item: _Found) -> None:
        try:
            item.weight = find_weight(item.node, item.kind, self.folder)
            item.reason = item.kind.refused or self._unfit(item, item.weight)
        except Exception as error:  # noqa: BLE001 - one layer's trouble never costs the others
            item.reason = item.kind.refused or _reason(error)

    def _unfit(self, item: _Found, weight: Weight) -> str | None:
        if len(weight.shape) in (3, 5):
            return f"a {len(weight.shape) - 2}-D convolution"
        if len(weight.shape) != 4:
            return f"the weight has {len(weight.shape)} dimensions, expected 4"
        if 0 in weight.shape:
            return f"the weight is empty: its shape is {list(weight.shape)}"
        declared = item.node.ints("kernel_shape")
        if declared and declared != weight.shape[2:]:
            self.notes.append(
                f"{item.node.proto.name or item.node.op}: kernel_shape says {list(declared)}, the weight has"
                f" {list(weight.shape[2:])}"
            )
        if weight.shape[2:] == self.kernel.shape:
            return None
        self.kernels[str(weight.shape[2:])] += weight.shape[0] * weight.shape[1]
        return f"the kernel is {weight.shape[2]}x{weight.shape[3]}, not {self.kernel}"

    def _layer(self, item: _Found, place: dict[int, int]) -> ConvLayer | None:
        node, weight = item.node, item.weight
        if weight is None:
            raise AssertionError("a layer without a reason has a weight")
        try:
            array = read_weight(node, item.kind, weight, self.folder)
        except Exception as error:  # noqa: BLE001 - one layer's trouble never costs the others
            item.reason = _reason(error)
            return None
        filters = np.ascontiguousarray(array).reshape(-1, self.kernel.size)
        out, inner = weight.shape[:2]
        group = max(node.int("group", 1), 1)
        layer = ConvLayer(
            name=item.name,
            op_type=node.op,
            conv_depth=place[node.depth],
            conv_depth_norm=place[node.depth] / (len(place) - 1) if len(place) > 1 else 0.0,
            out_channels=out,
            in_channels=inner,
            group=group,
            depthwise=group > 1 and inner == 1,
            strides=node.ints("strides") or (1, 1),
            dilations=node.ints("dilations") or (1, 1),
            weight_dtype=weight.dtype,
            weight_source=weight.source,
            bn_follows=_bn_follows(node),
            nonfinite=int(filters.size - np.count_nonzero(np.isfinite(filters))),
            weights_sha256=hashlib.sha256(filters.astype("<f4", copy=False).data).hexdigest(),
        )
        self.kernels[str(weight.shape[2:])] += layer.n_filters
        self.sink(filters)
        if filters.nbytes >= _RELEASE:
            self.loaded.tensors.release()
        return layer

    def _record(self, layers: tuple[ConvLayer, ...], skipped: tuple[SkippedLayer, ...]) -> ModelRecord:
        model = self.loaded.model
        others = Counter(f"{n.domain}::{n.op}" for n in self.graph.nodes if n.domain != STANDARD)
        opsets = {entry.domain or STANDARD: entry.version for entry in model.opset_import}
        return ModelRecord(
            sha256=self.owner.sha256,
            size=self.owner.size,
            producer=f"{model.producer_name} {model.producer_version}".strip(),
            ir_version=model.ir_version,
            op_set=int(opsets.get(STANDARD, opsets.get("ai.onnx", 0))),
            depth=self.topology.depth,
            layers=layers,
            skipped=skipped,
            ops=dict(sorted(self.ops.items())),
            other_ops=dict(sorted(others.items())),
            kernels=dict(sorted(self.kernels.items())),
            notes=tuple(self.notes),
        )


def _name(found: list[_Found]) -> None:
    taken: Counter[str] = Counter()
    for item in found:
        base = _base_name(item)
        name = base
        while name in taken:
            taken[base] += 1
            name = f"{base}#{taken[base]}"
        taken[name] += 1
        item.name = name


def _base_name(item: _Found) -> str:
    stored = item.weight.name if item.weight is not None else ""
    name = _WEIGHT_SUFFIX.sub("", stored)
    if _DOTTED.fullmatch(stored) and (name != stored or not name.rpartition(".")[2].isdigit()):
        return name
    return item.node.proto.name or f"{item.node.op}_{item.node.index}"


def _bn_follows(node: Node) -> bool:
    result = node.outputs[0] if node.outputs else None
    users = None if result is None else result.consumers()
    return users is not None and [user.op for user in users] == ["BatchNormalization"]


def _reason(error: Exception) -> str:
    if isinstance(error, FilterDBError):
        return error.reason
    return f"unexpected {type(error).__name__}: {error}"
