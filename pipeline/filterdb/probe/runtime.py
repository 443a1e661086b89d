"""Models as onnxruntime runs them: the only home of ``onnxruntime``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

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
_EXTERNAL: Final = "session.model_external_initializers_file_folder_path"


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


class Runtime:
    """A model, ready to run.

    Parameters
    ----------
    model
        The model.
    tensors
        What it gives out.
    threads
        Threads; 0 is one a core.
    seed
        Of operators that draw numbers.

    Raises
    ------
    ModelError
        If onnxruntime cannot run it.
    """

    def __init__(self, model: InnerModel, tensors: Sequence[str], *, threads: int = 0, seed: int = 0) -> None:
        self._path, self._tensors = model.path, list(dict.fromkeys(tensors))
        runtime = require("onnxruntime")
        runtime.set_seed(seed)
        runtime.set_default_logger_severity(_QUIET)
        options = runtime.SessionOptions()
        # Fused nodes have no results of their own, and which are fused depends on what is given out: so that
        # the values never depend on the choice of layers, the graph is run as it is written.
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.use_deterministic_compute = True
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(_EXTERNAL, str(model.folder))
        try:
            self._session = runtime.InferenceSession(
                model.with_outputs(self._tensors), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _cannot(model, "load", error) from error
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


def _size(size: object) -> int | None:
    return size if isinstance(size, int) and size >= 0 else None


def _cannot(model: InnerModel, what: str, error: Exception) -> ModelError:
    text = " ".join(str(error).split()) or type(error).__name__
    text = _PLACE.sub("", text.partition(" : ")[2].partition(" : ")[2] or text)
    return ModelError(
        f"onnxruntime cannot {what} the model: {text[:400]}",
        where=model.path,
        expected="a model and data that onnxruntime runs on a processor",
    )
