"""CKA: how alike two layers represent the same data, for every pair of layers of two models."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from filterdb.errors import UsageError
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe.data import Data, require_images
from filterdb.probe.engine import Activations, Workers, batches
from filterdb.probe.grams import Grams, Own, Sums, bytes_each
from filterdb.probe.options import Options, Setup, names_of, require_path
from filterdb.probe.results import mean_of
from filterdb.types import SkippedLayer

if TYPE_CHECKING:
    import pandas as pd

    from filterdb.figures import Drawing

LEAST_ROWS: Final = 4
"""The unbiased estimate divides by n (n - 3)."""

_ALWAYS: Final = 1 << 28
"""What the matrices of a batch may take, however little --memory says."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Side:
    """The layers of one of the two models.

    Parameters
    ----------
    model
        The model file.
    data
        Where its data comes from.
    layers, ops
        Names and operators of its layers, in the order of execution.
    hsic
        The HSIC of each layer with itself.
    reasons
        Why a layer has no CKA; empty where it has.
    skipped
        Chosen layers that cannot be looked at.
    images
        What became of images; None of arrays.
    """

    model: str
    data: str
    layers: tuple[str, ...]
    ops: tuple[str, ...]
    hsic: Floats
    reasons: tuple[str, ...]
    skipped: tuple[SkippedLayer, ...]
    images: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CKAResult:
    """The CKA of every pair of layers.

    Parameters
    ----------
    a, b
        The two models.
    values
        The CKA of layer i of `a` and layer j of `b`; NaN where it is not defined.
    hsic
        Their HSIC.
    rows, batch, batches, dropped
        Rows of data that were used, rows and number of batches, and rows of a short last batch, left out.
    seed
        What the order of the rows was drawn by; None where they are in the order of the data.
    settings
        All else that was asked for.
    """

    a: Side
    b: Side
    values: Floats
    hsic: Floats
    rows: int
    batch: int
    batches: int
    dropped: int
    seed: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    column: ClassVar[str] = "cka"
    unit: ClassVar[str] = "pairs"

    @property
    def with_itself(self) -> bool:
        """Whether the two sides are the same layers of one model over the same data."""
        a, b = self.a, self.b
        return (a.model, a.data, a.layers) == (b.model, b.data, b.layers)

    @property
    def skipped(self) -> tuple[SkippedLayer, ...]:
        """Chosen layers of either side that cannot be looked at, each once."""
        return tuple(dict.fromkeys((*self.a.skipped, *self.b.skipped)))

    def figure(self) -> Drawing:
        """Draw the CKA of every pair of layers."""
        from filterdb.figures.probes import cka_heatmap

        return cka_heatmap(self.to_frame(), models=(Path(self.a.model).stem, Path(self.b.model).stem))

    def facts(self) -> dict[str, Any]:
        """Return what it was made from, as plain data."""
        sides = {
            name: {
                "model": side.model,
                "data": side.data,
                "layers": list(side.layers),
                "images": side.images,
            }
            for name, side in (("a", self.a), ("b", self.b))
        }
        known = ("rows", "batch", "batches", "dropped", "seed", "settings")
        return {**sides, **{name: getattr(self, name) for name in known}}

    def totals(self) -> dict[str, float]:
        """Return the mean of all pairs of layers, of neighbours, and of each layer with the one most like it.

        In a model with itself, a layer is not a pair with itself; two models have no neighbours.
        """
        values = self.values
        if self.with_itself:
            values = np.where(np.eye(len(values), dtype=bool), np.nan, values)
        best = [max((v for v in row if not math.isnan(v)), default=math.nan) for row in values.tolist()]
        beside = np.diagonal(values, offset=1).tolist() if self.with_itself else []
        return {
            "layers": len(self.a.layers),
            "cka": mean_of(values.ravel().tolist()),
            "neighbours": mean_of(beside),
            "best": mean_of(best),
        }

    def reason(self, i: int, j: int) -> str:
        """Return why a pair has no CKA; nothing where it has.

        Parameters
        ----------
        i, j
            The places of a layer of `a` and of one of `b`.
        """
        found = [
            f"{side.layers[place]}: {side.reasons[place]}"
            for side, place in ((self.a, i), (self.b, j))
            if side.reasons[place]
        ]
        return "; ".join(dict.fromkeys(found))

    def matrix(self) -> pd.DataFrame:
        """Return the CKA with a row a layer of `a` and a column a layer of `b`, in the order of execution."""
        import pandas as pd

        rows = pd.Index(self.a.layers, name="layer_a")
        return pd.DataFrame(self.values, rows, pd.Index(self.b.layers, name="layer_b"), copy=True)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a pair of layers; those of :attr:`skipped`, which have no activations, have none."""
        import pandas as pd

        rows = [
            {
                "layer_a": name_a,
                "layer_b": name_b,
                "op_a": self.a.ops[i],
                "op_b": self.b.ops[j],
                "position_a": i,
                "position_b": j,
                "cka": self.values[i, j],
                "hsic_ab": self.hsic[i, j],
                "hsic_aa": self.a.hsic[i],
                "hsic_bb": self.b.hsic[j],
                "reason": self.reason(i, j),
            }
            for i, name_a in enumerate(self.a.layers)
            for j, name_b in enumerate(self.b.layers)
        ]
        return pd.DataFrame(rows)


def cka(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str] | None = None,
    *,
    data: Data = None,
    data_b: Data = None,
    layers: Sequence[str] = (),
    layers_b: Sequence[str] | None = None,
    shuffle: bool = True,
    **options: Unpack[Options],
) -> CKAResult:
    """Return the minibatch CKA of every pair of chosen layers of two models.

    Parameters
    ----------
    a, b
        The model files; one model is compared with itself.
    data, data_b
        What goes through the models; `data_b` is for the second, row for row what `data` is for the first.
        scikit-learn's digits where not given.
    layers, layers_b
        Names of layers, with ``*`` and ``?``; those of the second model are chosen as those of the first
        where not given.
    shuffle
        Draw the order of the rows by the seed. Data is often sorted by class, and batches of one class say
        little.
    **options
        As for :class:`~filterdb.probe.options.Setup`.

    Raises
    ------
    UsageError
        If the two data sets are not of equal length, or a batch is too small.
    ModelError
        If a model cannot be used.
    """
    setup = checked(layers, **options)
    for name, model in (("a", a), *([] if b is None else [("b", b)])):
        require_path(name, model)
    theirs_b = None if layers_b is None else names_of(layers_b)
    with threadpool_limits(1, "blas"):
        first = Activations(open_inside(a), data, setup)
        same = _same(a, b) and data_b is None and theirs_b in (None, setup.layers)
        second = first
        if not same:
            theirs = data if data_b is None else data_b
            second = Activations(open_inside(a if b is None else b), theirs, setup, layers=theirs_b)
        require_images(setup, first.source, second.source)
        found = _compare(first, second, setup, shuffle=shuffle)
    return replace(found, settings=setup.facts(layers_b=theirs_b, shuffle=shuffle))


def checked(layers: Sequence[str], **options: Unpack[Options]) -> Setup:
    """Return the setup that the arguments of :func:`cka` ask for.

    Raises
    ------
    UsageError
        If one of them cannot be used.
    """
    setup = Setup.of(layers, options)
    if setup.batch < LEAST_ROWS:
        raise UsageError(f"a batch has {setup.batch} rows", expected=f"at least {LEAST_ROWS} for CKA")
    return setup


def _same(a: str | os.PathLike[str], b: str | os.PathLike[str] | None) -> bool:
    if b is None:
        return True
    try:
        return Path(a).samefile(b)
    except OSError:
        return False


def _compare(first: Activations, second: Activations, setup: Setup, *, shuffle: bool) -> CKAResult:
    if len(first.source) != len(second.source):
        raise UsageError(
            f"the two data sets have {len(first.source):,} and {len(second.source):,} rows",
            where=f"{first.source.about}, {second.source.about}",
            expected="as many rows in both, row for row the same thing",
        )
    rows = np.random.default_rng(setup.seed).permutation(first.rows) if shuffle else first.rows
    if len(rows) < LEAST_ROWS:
        raise UsageError(f"there are {len(rows)} rows of data", expected=f"at least {LEAST_ROWS} for CKA")
    size = min(setup.batch, len(rows))
    count = len(rows) // size  # a short last batch would weigh as much as a full one
    _require_room(first, second, size, setup)
    sums = Sums.of(len(first.taps), len(second.taps))
    with ExitStack() as stack:
        workers = stack.enter_context(Workers(setup, bytes_each(size)))
        grams = Grams(first, workers), Grams(second, workers) if second is not first else None
        shown = stack.enter_context(setup.progress("cka", count * size, "rows"))
        for part in batches(rows[: count * size], size):
            ours = grams[0].of(part)
            sums.add(ours, ours if grams[1] is None else grams[1].of(part), size)
            shown.advance(size)
    return _result(first, second, sums, size, count, len(rows), setup.seed if shuffle else None)


def _require_room(first: Activations, second: Activations, size: int, setup: Setup) -> None:
    layers = len(first.taps) + (0 if second is first else len(second.taps))
    need = 8 * size * size * layers
    most = max(setup.memory, _ALWAYS)
    if need > most:
        raise UsageError(
            f"{layers:,} layers over batches of {size:,} rows take {need / 1e9:,.1f} GB",
            expected=f"{most / 1e9:,.1f} GB at most; see --memory",
            hint="a smaller --batch, fewer --layers, or more --memory",
        )


def _result(
    first: Activations, second: Activations, sums: Sums, size: int, count: int, rows: int, seed: int | None
) -> CKAResult:
    hsic = sums.hsic / count
    sides = _side(first, sums.a, count), _side(second, sums.b, count)
    norms = []
    for side in sides:
        good = np.array([not reason for reason in side.reasons], bool)
        norms.append(np.sqrt(np.where(good, side.hsic, np.nan)))
    values = hsic / np.outer(*norms)
    return CKAResult(*sides, values, hsic, size * count, size, count, rows - size * count, seed)


def _side(activations: Activations, own: Own, count: int) -> Side:
    layers = [tap.layer for tap in activations.taps]
    return Side(
        model=str(activations.model.path),
        data=activations.source.about,
        layers=tuple(layer.name for layer in layers),
        ops=tuple(layer.op_type for layer in layers),
        hsic=own.hsic / count,
        reasons=own.reasons(),
        skipped=activations.skipped,
        images=activations.source.images,
    )
