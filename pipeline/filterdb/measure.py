"""The quality of any model's layers without a data set: of ONNX files, PyTorch modules, weights, arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np

from filterdb.errors import UsageError, WeightError
from filterdb.types import Filters, Kernel, SkippedLayer, WeightArray

if TYPE_CHECKING:
    import pandas as pd

    from filterdb.quality import Thresholds
    from filterdb.stats import Read, RecordStats
    from filterdb.weights import Entry, Found, ModuleLike, TensorLike

KERNEL_VALUES: Final = 1024
"""Most values of a kernel that is measured: memory and work grow with their square. 32x32 has as many."""

ANY: Final = "any"
"""Stands for kernels of all sizes."""

Observe = Callable[[Filters, "RecordStats"], Any]
"""Looks at a layer: its filters, one a row, and their statistics."""


class LayerQuality(dict[str, float]):
    """The metrics of one layer, by torchconvquality's names and in its order, and what is known of the layer.

    Parameters
    ----------
    metrics
        Values by name; NaN where a metric is not defined.
    shape
        Shape of the weight: out x in x kernel height x kernel width.
    labels
        Whether it is ``random``, of ``low_diversity``, ``degenerate``; empty where the kernel is of another
        size than 3x3, for which the thresholds are not known.
    reason
        Why metrics are undefined or degenerate; empty where none is.
    nonfinite
        How many filters hold NaN or an infinity; they are left out of every metric but ``n``.
    op_type, group, dtype
        Kind of layer, number of groups and stored type of the values, where they are known.
    """

    def __init__(
        self,
        metrics: Mapping[str, float],
        *,
        shape: tuple[int, ...],
        labels: Mapping[str, bool],
        reason: str = "",
        nonfinite: int = 0,
        op_type: str = "",
        group: int | None = None,
        dtype: str = "",
    ) -> None:
        super().__init__(metrics)
        self.shape, self.labels, self.reason, self.nonfinite = shape, dict(labels), reason, nonfinite
        self.op_type, self.group, self.dtype = op_type, group, dtype

    def row(self) -> dict[str, Any]:
        """Return everything that is known of the layer as one flat row."""
        from filterdb.quality import LABELS

        out, inner, height, width = self.shape
        return {
            "op_type": self.op_type,
            "out_channels": out,
            "in_channels": inner,
            "kernel": f"{height}x{width}",
            "group": self.group,
            "dtype": self.dtype,
            "nonfinite_filters": self.nonfinite,
            **self,
            **{name: self.labels.get(name) for name in LABELS},
            "reason": self.reason,
        }


class ModelQuality(dict[str, LayerQuality]):
    """The metrics of every measured layer by the layer's name, in the order of the model.

    Parameters
    ----------
    layers
        The measured layers.
    skipped
        Convolutions that were not measured, and why.
    """

    def __init__(self, layers: Mapping[str, LayerQuality], skipped: Iterable[SkippedLayer] = ()) -> None:
        super().__init__(layers)
        self.skipped = tuple(skipped)

    def to_frame(self) -> pd.DataFrame:
        """Return a table of the layers: metrics, labels, reasons, and what is known of each."""
        import pandas as pd

        rows = [layer.row() for layer in self.values()]
        return pd.DataFrame(rows, index=pd.Index(list(self), name="layer", dtype="str"))


@overload
def measure_quality(
    model: str | os.PathLike[str] | ModuleLike | Mapping[str, Any],
    *,
    kernel: str = "3x3",
    sparsity_eps: float = 0.01,
) -> ModelQuality: ...
@overload
def measure_quality(
    model: TensorLike, *, kernel: str = "3x3", sparsity_eps: float = 0.01
) -> LayerQuality: ...
def measure_quality(
    model: str | os.PathLike[str] | ModuleLike | Mapping[str, Any] | TensorLike,
    *,
    kernel: str = "3x3",
    sparsity_eps: float = 0.01,
) -> ModelQuality | LayerQuality:
    """Return the quality metrics of a model's convolution layers, by the names of the layers.

    Takes the place of torchconvquality's function of this name: the layers, their names and their order, and
    the keys and values of each are the same for a PyTorch module.

    Parameters
    ----------
    model
        The path of an ONNX, ``.safetensors``, ``.npy`` or ``.npz`` file, a PyTorch module, a state dict (a
        mapping of names to tensors or arrays), or one weight: a tensor or array of the shape (out, in,
        height, width), whose metrics are returned without a name around them.
    kernel
        Which kernels to measure: ``"3x3"``, another size, or ``"any"``. A single array always is.
    sparsity_eps
        A filter is sparse if all its magnitudes are below this share of its layer's largest.

    Raises
    ------
    UsageError
        If ``model`` is nothing that has weights, or an option has a value that it cannot have.
    ModelError
        If a file cannot be used. A layer that cannot be is among ``skipped``, with the reason.
    """
    if not 0 < sparsity_eps <= 1:
        raise UsageError(f"sparsity_eps is {sparsity_eps!r}", expected="a number above 0 and up to 1")
    found = measure_layers(model, _wanted(kernel), eps=sparsity_eps)
    if found.bare:
        return found.layers[0].quality()
    return ModelQuality({layer.name: layer.quality() for layer in found.layers}, found.skipped)


def _wanted(kernel: str) -> Kernel | None:
    try:
        return None if kernel == ANY else Kernel.parse(kernel)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"the kernel is {kernel!r}", expected="a size such as 3x3, or any") from error


@dataclass(frozen=True, slots=True)
class MeasuredLayer:
    """What was found of one layer.

    Parameters
    ----------
    name
        Its name; empty for an array that is measured alone.
    stats
        The statistics of its filters.
    shape
        Shape of its weight.
    observed
        What the observer returned.
    depth
        Where it lies, from 0 to 1: in the graph where there is one, else in the order of the layers.
        NaN for an array that is measured alone.
    op_type, group, dtype
        As :class:`LayerQuality` has them.
    """

    name: str
    stats: RecordStats
    shape: tuple[int, ...]
    observed: Any
    depth: float = math.nan
    op_type: str = ""
    group: int | None = None
    dtype: str = ""

    def quality(self, thresholds: Thresholds | None = None) -> LayerQuality:
        """Return the metrics and labels that follow.

        Parameters
        ----------
        thresholds
            Where labels begin.
        """
        from filterdb import quality

        metrics = quality.record_quality(self.stats)
        reason = str(metrics.pop("reason"))
        numbers = {name: float(value) if name != "n" else int(value) for name, value in metrics.items()}
        known = math.prod(self.shape[2:]) == quality.FITTED_VALUES
        entropy, sparsity = numbers["variance_entropy"], numbers["sparsity"]
        limits = thresholds or quality.Thresholds()
        return LayerQuality(
            numbers,
            shape=self.shape,
            labels=quality.label(self.stats.finite, entropy, sparsity, limits) if known else {},
            reason=reason,
            nonfinite=self.stats.n - self.stats.finite,
            op_type=self.op_type,
            group=self.group,
            dtype=self.dtype,
        )


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What was found of one model.

    Parameters
    ----------
    layers, skipped
        Its layers, measured and not.
    graph
        The depths of its layers are those of a graph.
    bare
        It is a single array, without a name.
    """

    layers: list[MeasuredLayer]
    skipped: list[SkippedLayer]
    graph: bool = False
    bare: bool = False


def measure_layers(
    model: str | os.PathLike[str] | ModuleLike | Mapping[str, Any] | TensorLike,
    kernel: Kernel | None,
    *,
    eps: float,
    observe: Observe = lambda _filters, _stats: None,
) -> MeasuredModel:
    """Compute the statistics of a model's convolution layers.

    Parameters
    ----------
    model
        What :func:`measure_quality` takes.
    kernel
        Which kernels to measure; all where none is given.
    eps
        Where sparsity begins.
    observe
        Looks at the filters and the statistics of each layer while they are in memory.
    """
    from threadpoolctl import threadpool_limits

    scan = _Scan(kernel, eps, observe)
    # With threads of its own, BLAS sums in another order: the bits would not be those of an analysis.
    with threadpool_limits(1, "blas"):
        if isinstance(model, str | os.PathLike):
            return scan.of_file(Path(model))
        return scan.of_object(model)


@dataclass(frozen=True, slots=True)
class _Scan:
    """How layers are measured."""

    kernel: Kernel | None
    eps: float
    observe: Observe

    def of_file(self, path: Path) -> MeasuredModel:
        from filterdb import weights

        if not weights.is_onnx(path):
            return self._of_found(weights.of_file(path))
        from filterdb.onnxgraph import open_model

        measured: list[tuple[RecordStats, Any] | WeightError] = []
        shapes: list[tuple[int, ...]] = []

        def take(weight: WeightArray) -> None:
            shapes.append(weight.shape)
            measured.append(self._try(weight))

        with open_model(path) as model:
            layers, skipped = model.read_weights(take, self.kernel)
        good: list[MeasuredLayer] = []
        for layer, shape, result in zip(layers, shapes, measured, strict=True):
            if isinstance(result, WeightError):
                skipped.append(SkippedLayer(layer.name, layer.op_type, "?", result.reason))
                continue
            facts = (layer.conv_depth_norm, layer.op_type, layer.group, layer.weight_dtype)
            good.append(MeasuredLayer(layer.name, result[0], shape, result[1], *facts))
        return MeasuredModel(good, skipped, graph=True)

    def of_object(self, model: ModuleLike | Mapping[str, Any] | TensorLike) -> MeasuredModel:
        from filterdb import weights

        if isinstance(model, Mapping):
            return self._of_found(weights.of_mapping(model))
        if isinstance(model, weights.ModuleLike):
            return self._of_found(weights.of_module(model))
        if not isinstance(model, weights.TensorLike):
            raise UsageError(
                f"a {type(model).__name__} has no weights",
                expected="a path, a PyTorch module, a state dict, or an array of shape "
                "(out, in, height, width)",
            )
        entry = weights.of_tensor("", model)
        if len(entry.shape) != 4:
            raise UsageError(
                f"the array has the shape {list(entry.shape)}", expected="four: (out, in, height, width)"
            )
        return MeasuredModel([self._of_entry(entry, math.nan)], [], bare=True)

    def _of_found(self, found: Found) -> MeasuredModel:
        from filterdb.weights import reason_of

        good: dict[str, MeasuredLayer] = {}
        last = max(1, len(found.layers) - 1)
        for place, entry in enumerate(found.layers):
            if self.kernel is not None and entry.shape[2:] != self.kernel.shape and not found.single:
                size = "x".join(map(str, entry.shape[2:]))
                reason = f"the kernel is {size}, not {self.kernel}"
                found.skip(entry.name, reason, shape=entry.shape, op_type=entry.op_type)
                continue
            try:
                good[entry.name] = self._of_entry(entry, math.nan if found.single else place / last)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - one layer's trouble never costs the others
                found.skip(entry.name, reason_of(error), shape=entry.shape, op_type=entry.op_type)
        return MeasuredModel(list(good.values()), found.skipped)

    def _of_entry(self, entry: Entry, depth: float) -> MeasuredLayer:
        _check(entry.shape)
        stats, observed = self._measure(entry.read())
        facts = (depth, entry.op_type, entry.group, entry.dtype)
        return MeasuredLayer(entry.name, stats, entry.shape, observed, *facts)

    def _try(self, weight: WeightArray) -> tuple[RecordStats, Any] | WeightError:
        try:
            _check(weight.shape)
        except WeightError as error:
            return error
        return self._measure(weight)

    def _measure(self, weight: WeightArray) -> tuple[RecordStats, Any]:
        from filterdb.stats import measure_record

        rows = weight.reshape(math.prod(weight.shape[:2]), -1)
        stats = measure_record(reader(rows), n=len(rows), out_channels=len(weight), eps=self.eps)
        return stats, self.observe(rows, stats)


def _check(shape: tuple[int, ...]) -> None:
    """Refuse what cannot be measured before anything of its size is allocated."""
    if 0 in shape:
        raise WeightError(f"the weight is empty: its shape is {list(shape)}")
    if math.prod(shape[2:]) > KERNEL_VALUES:
        raise WeightError(
            f"the kernel is {shape[2]}x{shape[3]}", expected=f"at most {KERNEL_VALUES:,} values"
        )


def reader(filters: Filters) -> Read:
    """Read rows through a buffer: the scans are compiled for plain memory, not for that of a mapped file."""
    buffer = np.empty((0, filters.shape[1]), np.float32)

    def read(start: int, stop: int) -> Filters:
        nonlocal buffer
        if stop - start > len(buffer):
            buffer = np.empty((stop - start, filters.shape[1]), np.float32)
        rows = buffer[: stop - start]
        np.copyto(rows, filters[start:stop])
        return rows

    return read
