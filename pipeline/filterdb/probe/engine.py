"""The layers of one model over one data set: activations, batch by batch, and in passes that fit."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ModelError, UsageError
from filterdb.onnxgraph.blocked import LaidOut
from filterdb.onnxgraph.probing import InnerLayer, InnerModel
from filterdb.probe.data import Data, Source, open_data
from filterdb.probe.layout import laid_out
from filterdb.probe.options import Setup
from filterdb.probe.pooling import needs_channels
from filterdb.probe.rows import TRIALS, Rows, find_rows
from filterdb.probe.runtime import Array, Runtime
from filterdb.probe.select import choose, skip
from filterdb.types import SkippedLayer

_PART: Final = 32
"""Rows whose activations stay in the processor's caches until they are summed up, as a rule."""

_PART_BYTES: Final = 8 << 20
"""Bytes of data that go through a model at once where rows need not stay together."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A layer whose activations are looked at.

    Parameters
    ----------
    layer
        The layer.
    position
        Its place among the chosen layers, in the order of execution.
    rows
        Where its result has the rows of the data.
    shape
        What its activations are for one row of data.
    row_bytes
        Bytes of these.
    """

    layer: InnerLayer
    position: int
    rows: Rows
    shape: tuple[int, ...]
    row_bytes: int

    @property
    def width(self) -> int:
        """Values of one row."""
        return math.prod(self.shape)


class Activations:
    """The chosen layers of a model over data.

    Parameters
    ----------
    model
        The model.
    data
        The data.
    setup
        How it is run.
    layers
        Names of layers that stand in for those of the setup.
    pooling
        What becomes of the places of images, if it matters where a layer has its channels.

    Raises
    ------
    UsageError
        If the data is not what the model takes, or no chosen layer can be looked at.
    ModelError
        If the model cannot be run.
    """

    def __init__(
        self,
        model: InnerModel,
        data: Data,
        setup: Setup,
        *,
        layers: Sequence[str] | None = None,
        pooling: str = "flatten",
    ) -> None:
        self.model, self.setup, self._pooling = model, setup, pooling
        chosen, skipped = choose(model, setup, layers=layers)
        self._graph: LaidOut | None = laid_out(model)
        try:
            runtime, refused = self._begin(chosen, data)
        except ModelError:
            if self._graph is None:
                raise
            # The whole graph runs for any layer: whether it can does not depend on the choice.
            self._graph = None
            runtime, refused = self._begin(chosen, data)
        self.skipped: tuple[SkippedLayer, ...] = (*skipped, *refused)
        if not self.taps:
            raise UsageError(
                f"no chosen layer can be looked at: {self.skipped[0].name}: {self.skipped[0].reason}",
                where=model.path,
                expected="layers that have a result for every row of the data",
            )
        self._first: tuple[Runtime, set[str]] | None = (runtime, {tap.layer.tensor for tap in self.taps})
        rows = len(self.source)
        if setup.limit is not None and setup.limit < rows:
            drawn = np.random.default_rng(setup.seed).permutation(rows)[: setup.limit]
            self.rows: NDArray[np.intp] = np.sort(drawn).astype(np.intp)
        else:
            self.rows = np.arange(rows, dtype=np.intp)

    def passes(self, rows: int, *, kept: Callable[[Tap], int] | None = None) -> list[tuple[Tap, ...]]:
        """Return the layers in groups, each of which fits into the memory that is set.

        Parameters
        ----------
        rows
            Rows whose activations are held at once.
        kept
            Bytes that stay of a layer until its group is done, beside its activations.
        """
        groups: list[list[Tap]] = []
        filled = 0
        for tap in self.taps:
            size = rows * tap.row_bytes + (0 if kept is None else kept(tap))
            if not groups or filled + size > self.setup.memory:
                groups.append([])
                filled = 0
            groups[-1].append(tap)
            filled += size
        return [tuple(group) for group in groups]

    def open(self, taps: Sequence[Tap]) -> Reader:
        """Return what runs the model for some of the layers."""
        if self._first is not None and self._first[1] == {tap.layer.tensor for tap in taps}:
            return Reader(self, taps, self._first[0])
        # The session that the layers were tried with gives out all of them, which is too much at once.
        self._first = None
        return Reader(self, taps, self._open([tap.layer for tap in taps]))

    def _begin(self, chosen: Sequence[InnerLayer], data: Data) -> tuple[Runtime, tuple[SkippedLayer, ...]]:
        runtime = self._open(chosen)
        self._fixed = _fixed_rows(runtime)
        self.source: Source = open_data(data, runtime.inputs, self.setup)
        self.taps, refused = self._try(chosen, runtime)
        return runtime, refused

    def _open(self, layers: Sequence[InnerLayer]) -> Runtime:
        tensors = [layer.tensor for layer in layers]
        return Runtime(
            self.model, tensors, graph=self._graph, threads=self.setup.threads, seed=self.setup.seed
        )

    def _try(
        self, chosen: Sequence[InnerLayer], runtime: Runtime
    ) -> tuple[tuple[Tap, ...], tuple[SkippedLayer, ...]]:
        """Run a few rows, and fewer again, to see what each layer gives."""
        usable = [layer for layer in chosen if layer.tensor not in runtime.unusable]
        refused = {
            layer.name: f"its result is of the type {runtime.unusable[layer.tensor]}"
            for layer in chosen
            if layer.tensor in runtime.unusable
        }
        counts = (self._fixed,) if self._fixed else TRIALS
        tensors = [layer.tensor for layer in usable]
        feeds = [self.source.read(self._first_rows(count)) for count in counts]
        tried = [runtime.run(feed, tensors) for feed in feeds]
        self._row_bytes = sum(array.nbytes for array in feeds[0].values()) // counts[0]
        taps: list[Tap] = []
        for place, layer in enumerate(usable):
            value = tried[0][place]
            found = find_rows([values[place] for values in tried], counts, layer.axes)
            rows = None if found is None else found.first(value)
            if found is None or rows is None:
                shape = f"of the shape {list(value.shape)}" if value.ndim else "a single number"
                refused[layer.name] = f"its result is {shape} for {counts[0]} rows of data"
            elif rows.size == 0:
                refused[layer.name] = f"its result is empty: its shape is {list(value.shape)}"
            elif layer.axes == "unknown" and needs_channels(rows.shape[1:], self._pooling):
                refused[layer.name] = (
                    f"nothing says which axis of its result {list(rows.shape)} has the channels;"
                    " pooling flatten needs none"
                )
            else:
                size = rows.itemsize * math.prod(rows.shape[1:])
                taps.append(Tap(layer, len(taps), found, rows.shape[1:], size))
        named = [layer for layer in chosen if layer.name in refused]
        return tuple(taps), tuple(skip(layer, refused[layer.name]) for layer in named)

    def _first_rows(self, count: int) -> NDArray[np.intp]:
        return np.minimum(np.arange(count), len(self.source) - 1).astype(np.intp)

    def at_once(self) -> int:
        """Return how many rows of a batch are summed up at once where they need not stay together."""
        return min(self.through, _PART) if self._by_row else self.through

    @property
    def through(self) -> int:
        """How many rows of a batch go through the model at once."""
        rows = min(self.setup.batch, len(self.rows))
        if not self._by_row:
            return rows
        # Known of the model and its data alone, as whether rows may go apart: so are the last bits of values.
        return max(1, min(rows, _PART_BYTES // max(1, self._row_bytes)))

    @property
    def _by_row(self) -> bool:
        return self._graph is not None and self._graph.by_row

    @property
    def fixed(self) -> int | None:
        """How many rows the model takes at once, where it takes no other number."""
        return self._fixed


class Reader:
    """Runs a model for some of its layers.

    Parameters
    ----------
    activations
        The model and its data.
    taps
        The layers.
    runtime
        The model, ready to run.
    """

    def __init__(self, activations: Activations, taps: Sequence[Tap], runtime: Runtime) -> None:
        self.taps = tuple(taps)
        self._source, self._fixed, self._runtime = activations.source, activations.fixed, runtime
        self._path, self._at_once = activations.model.path, activations.at_once()
        self._through = activations.through

    def parts(self, rows: NDArray[np.intp]) -> Iterator[Iterator[tuple[Tap, Array]]]:
        """Yield what :meth:`read` does in parts of a batch, if the model treats every row by itself.

        Parameters
        ----------
        rows
            Which rows.
        """
        for part in batches(rows, self._at_once):
            yield self.read(part)

    def read(self, rows: NDArray[np.intp]) -> Iterator[tuple[Tap, Array]]:
        """Yield each layer with its activations for some rows of the data; the rows are the first axis.

        Parameters
        ----------
        rows
            Which rows.
        """
        values = self._forward(rows)
        for tap in self.taps:
            # What has been passed on is let go, layer by layer.
            yield tap, values.pop(tap.position)

    def _forward(self, rows: NDArray[np.intp]) -> dict[int, Array]:
        step = self._fixed or min(len(rows), self._through)
        parts: list[list[Array]] = [[] for _ in self.taps]
        tensors = [tap.layer.tensor for tap in self.taps]
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            # A model of a fixed batch gets the last row again, and what comes of that is cut off.
            missing = step - len(part) if self._fixed else 0
            padded = np.concatenate([part, np.repeat(part[-1:], missing)])
            for place, value in enumerate(self._runtime.run(self._source.read(padded), tensors)):
                tap = self.taps[place]
                by_row = tap.rows.first(value)
                if by_row.shape != (len(padded), *tap.shape):
                    raise self._changed(tap, value)
                parts[place].append(by_row[: len(part)])
        joined = [found[0] if len(found) == 1 else np.concatenate(found) for found in parts]
        return {tap.position: value for tap, value in zip(self.taps, joined, strict=True)}

    def _changed(self, tap: Tap, value: Array) -> ModelError:
        return ModelError(
            f"the layer {tap.layer.name} gives the shape {list(value.shape)} for some rows of the data,"
            f" and {list(tap.shape)} a row for others",
            where=self._path,
            expected="one shape for all rows",
            hint="choose other layers with --layers",
        )


class Workers:
    """Threads that take the layers of a batch, each layer on one of them.

    What is summed for a layer is summed in one order, batch after batch, so that no bit depends on how many
    threads there are. numpy and its BLAS let other threads run while they compute.

    Parameters
    ----------
    setup
        How many threads there may be, and the memory that they may take.
    each
        Bytes that a thread takes beside the activations.
    """

    def __init__(self, setup: Setup, each: int) -> None:
        self.count = max(1, min(setup.threads or len(os.sched_getaffinity(0)), setup.memory // each))
        self._pool = ThreadPoolExecutor(self.count) if self.count > 1 else None

    def __enter__(self) -> Self:
        """Start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the threads; what has not begun is left undone."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, work: Callable[[Tap, Array], None], layers: Iterable[tuple[Tap, Array]]) -> None:
        """Do some work for every layer of a batch, and wait until it is done."""
        if self._pool is None:
            for tap, values in layers:
                work(tap, values)
            return
        for done in [self._pool.submit(work, tap, values) for tap, values in layers]:
            done.result()


def batches(rows: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Yield the rows in batches; the last one may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _fixed_rows(runtime: Runtime) -> int | None:
    # What follows the first input may be states, or sizes, that do not count rows.
    return next((port.shape[0] for port in runtime.inputs if port.shape), None) or None
