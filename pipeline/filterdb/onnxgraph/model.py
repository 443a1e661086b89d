"""One model file, opened: its identity and what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from filterdb.errors import ModelError
from filterdb.onnxgraph.check import complaint
from filterdb.onnxgraph.files import identity
from filterdb.onnxgraph.fold import Folder
from filterdb.onnxgraph.graph import STANDARD, Node, unfold
from filterdb.onnxgraph.layers import LayerReader
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.load import Loaded, load
from filterdb.onnxgraph.tensors import external_locations
from filterdb.onnxgraph.text import as_text, clean
from filterdb.onnxgraph.topology import measure
from filterdb.types import (
    ConvLayer,
    Filters,
    Kernel,
    ModelRecord,
    Origin,
    SkippedLayer,
    Stamps,
    WeightArray,
)

_RELEASE = 1 << 20

Sink = Callable[[Filters, Origin | None], None]
"""What takes a layer's filters, and where they lie in a file just so, if they do."""

WeightSink = Callable[[WeightArray], None]
"""What takes a layer's weight."""


class OpenModel:
    """An ONNX file that was found to be one; a context manager, because it keeps the file mapped.

    Made by :func:`open_model`.

    Parameters
    ----------
    path
        Where the file is.
    loaded
        The parsed file.
    limits
        What the model may ask for.
    """

    def __init__(self, path: Path, loaded: Loaded, limits: Limits) -> None:
        self._path = path
        self._loaded: Loaded | None = loaded
        self._limits = limits
        self._known: tuple[str, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded = None

    @property
    def sha256(self) -> str:
        """Hash of the file, and of every file that it keeps weights in."""
        return self._identity()[0]

    @property
    def size(self) -> int:
        """Bytes of the file and of its external data."""
        return self._identity()[1]

    @property
    def stamps(self) -> Stamps:
        """The state of each file of the model when it was opened; the model file's own location is empty."""
        loaded = self._open()
        return (("", loaded.file.stamp), *sorted(loaded.tensors.external.stamps()))

    def extract(self, kernel: Kernel, sink: Sink) -> ModelRecord:
        """Read every convolution of the model.

        Parameters
        ----------
        kernel
            Height and width of the kernels to extract.
        sink
            Called once for each record, in the order of the records, with its filters and, where these lie
            in a file just so, with where. The filters are good until it returns.

        Raises
        ------
        ModelError
            If the model as a whole cannot be used. A layer that cannot be is among the skipped ones.
        """
        with _model_errors(self._path):
            return self._extract(self._open(), kernel, sink)

    def read_weights(
        self, sink: WeightSink, kernel: Kernel | None = None
    ) -> tuple[list[ConvLayer], list[SkippedLayer]]:
        """Read the 2-D convolutions of the model; return them, and all others with the reason.

        Parameters
        ----------
        sink
            Called once for each layer, in order, with its weight, which is good until it returns.
        kernel
            Height and width of the kernels to read; all where none is given.

        Raises
        ------
        ModelError
            If the model as a whole cannot be used.
        """
        with _model_errors(self._path):
            loaded = self._open()
            graph = unfold(loaded.model, self._limits)
            measure(graph)
            reader = LayerReader(graph, Folder(loaded.tensors, self._limits), kernel)
            return reader.read(_releasing(sink, loaded))

    def _extract(self, loaded: Loaded, kernel: Kernel, sink: Sink) -> ModelRecord:
        graph = unfold(loaded.model, self._limits)
        topology = measure(graph)
        reader = LayerReader(graph, Folder(loaded.tensors, self._limits), kernel)
        layers, skipped = reader.read(_releasing(_flat(sink, kernel, loaded), loaded))
        ops, others = _count(graph.nodes)
        model = loaded.model
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        return ModelRecord(
            sha256=self.sha256,
            size=self.size,
            producer=clean(f"{as_text(model.producer_name)} {as_text(model.producer_version)}".strip()),
            ir_version=model.ir_version,
            op_set=opsets.get(STANDARD, opsets.get("ai.onnx", 0)),
            depth=topology.depth,
            layers=tuple(layers),
            skipped=tuple(skipped),
            ops=ops,
            other_ops=others,
            kernels=dict(sorted(reader.kernels.items())),
            notes=(*self._advice(loaded, ops), *reader.notes),
        )

    def _advice(self, loaded: Loaded, ops: Mapping[str, int]) -> list[str]:
        if len(loaded.message) > self._limits.check_bytes:
            return []
        advice = complaint(loaded.message, loaded.tensors.blobs, ops)
        return [] if advice is None else [clean(advice)]

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise ValueError("the model is closed")
        return self._loaded

    def _identity(self) -> tuple[str, int]:
        if self._known is None:
            loaded = self._open()
            with _model_errors(self._path):
                # Nearly every model keeps its weights inside; then there is nothing to search for.
                inside = b"location" not in loaded.message
                locations = [] if inside else external_locations(loaded.model)
                self._known = identity(loaded.file, loaded.tensors.external, locations)
        return self._known


def open_model(path: Path | str, *, root: Path | None = None, limits: Limits | None = None) -> OpenModel:
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
    path, limits = Path(path), limits or Limits()
    with _model_errors(path):
        return OpenModel(path, load(path, root=root, limits=limits), limits)


def read_model(path: Path | str, *, kernel: Kernel | None = None, sink: Sink | None = None) -> ModelRecord:
    """Open a file, extract its 3x3 kernels or others, close it."""
    with open_model(path) as model:
        return model.extract(kernel or Kernel(3, 3), sink or (lambda _filters, _origin: None))


def read_layers(path: Path | str, *, kernel: Kernel | None = None) -> tuple[ModelRecord, list[Filters]]:
    """Return a small model's record and all its filters."""
    blocks: list[Filters] = []
    record = read_model(path, kernel=kernel, sink=lambda filters, _origin: blocks.append(filters.copy()))
    return record, blocks


@contextmanager
def _model_errors(path: Path) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except ModelError as error:
        error.where = error.where or str(path)
        raise


def _flat(sink: Sink, kernel: Kernel, loaded: Loaded) -> WeightSink:
    """Give a sink the rows of a weight, and where they lie."""
    return lambda weight: sink(weight.reshape(-1, kernel.size), loaded.tensors.origin_of(weight))


def _releasing(sink: WeightSink, loaded: Loaded) -> WeightSink:
    """Let pages of the file go that are done with."""

    def pass_on(weight: WeightArray) -> None:
        sink(weight)
        if weight.nbytes >= _RELEASE:
            loaded.tensors.release()

    return pass_on


def _count(nodes: list[Node]) -> tuple[dict[str, int], dict[str, int]]:
    ops = Counter(clean(node.op, 100) for node in nodes if node.domain == STANDARD)
    others = Counter(clean(f"{node.domain}::{node.op}", 200) for node in nodes if node.domain != STANDARD)
    return dict(sorted(ops.items())), dict(sorted(others.items()))
