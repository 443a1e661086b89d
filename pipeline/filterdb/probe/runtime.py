"""Models as onnxruntime runs them: the only home of ``onnxruntime``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ModelError
from filterdb.onnxgraph.probing import InnerModel
from filterdb.probe.extras import require

Array: TypeAlias = NDArray[Any]

_TYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
_QUIET: Final = 4
# Where in onnxruntime an error arose, which is no help to anybody here.
_PLACE: Final = re.compile(r"^\w+ : (\S+\.(cc|h):\d+ .*?&\) )?")
_NO_MEMORY: Final = re.compile(r"bad_alloc|[Ff]ailed to allocate|out of memory")
CAN_REWRITE: Final = hasattr(os, "memfd_create")
"""A rewritten model passes through memory that has a name, which only Linux has."""

_EXTERNAL: Final = "session.model_external_initializers_file_folder_path"
# All that onnxruntime does to a graph but to fold constants and to lay it out. It fuses nothing that is given
# out, so little of this would do anything; but nodes that some of it adds have made the layout crash.
_LEFT_OUT: Final = (
    "Level1_RuleBasedTransformer", "Level2_RuleBasedTransformer", "AttentionFusion",
    "Avx2WeightS8ToU8Transformer", "BiasDropoutFusion", "BiasGeluFusion", "BiasSkipLayerNormFusion",
    "BiasSoftmaxFusion", "CastChainElimination", "CastElimination", "CastFloat16Transformer",
    "CommonSubexpressionElimination", "ConcatSliceElimination", "ConstantSharing", "ConvActivationFusion",
    "ConvAddActivationFusion", "DQMatMulNBitsFusion", "DoubleQDQPairsRemover",
    "DynamicQuantizeMatMulFusion", "EmbedLayerNormFusion", "EnsureUniqueDQForNodeUnit", "FastGeluFusion",
    "FuseFp16InitializerToFp32NodeTransformer", "GatherSliceToSplitFusion", "GatherToSliceFusion",
    "GeluFusion", "GeluFusionL1", "GeluFusionL2", "GemmActivationFusion", "GqaValueLayoutTransformer",
    "GroupQueryAttentionFusion", "GroupQueryAttentionPreNormFusion", "LayerNormFusion", "LayerNormFusionL1",
    "LayerNormFusionL2", "MatMulActivationFusion", "MatMulAddFusion", "MatMulIntegerToFloatFusion",
    "MatMulNBitsFusion", "MatMulNBitsMlpFusion", "MatMulNBitsQkvFusion", "MatMulScaleFusion",
    "MatmulTransposeFusion", "NhwcTransformer", "PreShapeNodeElimination", "QDQFinalCleanupTransformer",
    "QDQPropagationTransformer", "QDQS8ToU8Transformer", "QDQSelectorActionTransformer", "QuickGeluFusion",
    "RemoveDuplicateCastTransformer", "ReshapeFusion", "SimplifiedLayerNormFusion", "SkipLayerNormFusion",
    "SliceConcatToSpaceToDepthFusion", "TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider",
    "WeightBiasQuantization",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Port:
    """An input of a model.

    Parameters
    ----------
    name
        Its name.
    shape
        Its sizes; None where one is not fixed.
    dtype
        The type of its values as numpy names it, or as onnxruntime does where numpy has none.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def shown(self) -> str:
        """The input as a message shows it."""
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name!r}: {self.dtype} [{sizes}]"


class Graph(Protocol):
    """A graph whose results can be chosen."""

    def with_outputs(self, tensors: Iterable[str]) -> bytes:
        """Return a model that gives out these tensors too."""


class Runtime:
    """A model, ready to run.

    Parameters
    ----------
    model
        The model.
    tensors
        What it gives out.
    graph
        The graph that runs instead of the model's own.
    threads
        Threads; 0 is one a core.
    seed
        Of operators that draw numbers.

    Raises
    ------
    ModelError
        If onnxruntime cannot run it.
    """

    def __init__(
        self,
        model: InnerModel,
        tensors: Sequence[str],
        *,
        graph: Graph | None = None,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        self._path, self._tensors = model.path, list(dict.fromkeys(tensors))
        runtime = require("onnxruntime")
        runtime.set_seed(seed)
        options = _options(model)
        # Fused nodes have no results of their own, and which are fused depends on what is given out: so that
        # the values never depend on the choice of layers, the graph is run as it stands.
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        self._session = _opened(model, graph or model, self._tensors, options)
        self.inputs = tuple(
            Port(port.name, tuple(_size(size) for size in port.shape), _TYPES.get(port.type, port.type))
            for port in self._session.get_inputs()
        )
        kinds = {port.name: str(port.type) for port in self._session.get_outputs()}
        self.unusable = {name: kinds[name] for name in self._tensors if kinds[name] not in _TYPES}
        self._model = model

    def run(self, feeds: Mapping[str, Array], tensors: Sequence[str]) -> list[Array]:
        """Return the values of some of the tensors for some data.

        Parameters
        ----------
        feeds
            Data by the name of the input.
        tensors
            Which tensors.
        """
        # One tensor may be asked for twice; the runtime refuses that.
        names = list(dict.fromkeys(tensors))
        try:
            values = dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise _cannot(self._model, "run", error) from error
        return [np.asarray(values[name]) for name in tensors]


def rewritten(model: InnerModel, tensors: Sequence[str]) -> bytes:
    """Return a model that gives out more, as onnxruntime lays it out for this processor.

    External data stays where it is.

    Parameters
    ----------
    model
        The model.
    tensors
        What it gives out.

    Raises
    ------
    ModelError
        If onnxruntime cannot do it.
    """
    runtime = require("onnxruntime")
    options = _options(model)
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with os.fdopen(os.memfd_create("model"), "rb") as file:
        options.optimized_model_filepath = f"/proc/self/fd/{file.fileno()}"
        _opened(model, model, tensors, options, disabled_optimizers=list(_LEFT_OUT))
        return file.read()


def _options(model: InnerModel) -> Any:
    runtime = require("onnxruntime")
    runtime.set_default_logger_severity(_QUIET)
    options = runtime.SessionOptions()
    options.log_severity_level = _QUIET
    options.use_deterministic_compute = True
    options.inter_op_num_threads = 1
    # A result is given out as soon as it is there, and memory is used again as soon as it is free.
    options.execution_order = runtime.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_EXTERNAL, str(model.folder))
    return options


def _opened(model: InnerModel, graph: Graph, tensors: Sequence[str], options: Any, **more: Any) -> Any:
    runtime = require("onnxruntime")
    try:
        return runtime.InferenceSession(
            graph.with_outputs(tensors), options, providers=["CPUExecutionProvider"], **more
        )
    except Exception as error:
        raise _cannot(model, "load", error) from error


def _size(size: object) -> int | None:
    return size if isinstance(size, int) and size >= 0 else None


def _cannot(model: InnerModel, what: str, error: Exception) -> ModelError:
    text = " ".join(str(error).split()) or type(error).__name__
    text = _PLACE.sub("", text.partition(" : ")[2].partition(" : ")[2] or text)
    return ModelError(
        f"onnxruntime cannot {what} the model: {text[:400]}",
        where=model.path,
        expected="a model and data that onnxruntime runs on a processor",
        hint="a smaller --batch takes less memory" if _NO_MEMORY.search(text) else None,
    )
