"""Which layers of a model are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from filterdb.errors import UsageError, nearest, printable
from filterdb.onnxgraph.probing import InnerLayer, InnerModel
from filterdb.probe.options import Setup
from filterdb.types import SkippedLayer

_WEIGHTED: Final = ("conv", "linear", "recurrent")


def choose(
    model: InnerModel, setup: Setup, *, layers: Sequence[str] | None = None
) -> tuple[tuple[InnerLayer, ...], tuple[SkippedLayer, ...]]:
    """Return the chosen layers in the order of execution, and those that cannot be looked at.

    Parameters
    ----------
    model
        The model.
    setup
        Which layers.
    layers
        Names that stand in for those of the setup.

    Raises
    ------
    UsageError
        If there is no such layer, or none of them can be looked at.
    """
    patterns = setup.layers if layers is None else tuple(layers)
    kind = setup.kind or ("all" if patterns else "weighted")
    of_kind = [found for layer in model.layers if (found := _as_kind(layer, kind)) is not None]
    chosen = [layer for layer in of_kind if not patterns or _fits(layer.name, patterns)]
    if not chosen:
        raise _none(model, of_kind, patterns, kind)
    good = tuple(layer for layer in chosen if not layer.reason)
    skipped = tuple(skip(layer, layer.reason) for layer in chosen if layer.reason)
    if not good:
        raise UsageError(
            f"no chosen layer can be looked at: {printable(skipped[0].name)}: {skipped[0].reason}",
            where=model.path,
            expected="a layer of the model's main graph",
        )
    return good, skipped


def skip(layer: InnerLayer, reason: str) -> SkippedLayer:
    """Note that a layer cannot be looked at."""
    return SkippedLayer(layer.name, layer.op_type, "", reason)


def _as_kind(layer: InnerLayer, kind: str) -> InnerLayer | None:
    if kind == "block":
        # The block keeps the name and the kind of the layer with the weight, which is what it is known by.
        return replace(layer, tensor=layer.block) if layer.kind in _WEIGHTED else None
    wanted = {"weighted": _WEIGHTED, "all": None}.get(kind, (kind,))
    return layer if wanted is None or layer.kind in wanted else None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _none(model: InnerModel, of_kind: Sequence[InnerLayer], patterns: Sequence[str], kind: str) -> UsageError:
    if not of_kind:
        have = sorted({layer.kind for layer in model.layers})
        return UsageError(
            f"the model has no layer of the kind {kind}",
            where=model.path,
            expected=f"a kind that it has: {', '.join(have) or 'it has no layers'}",
            hint="--kind all",
        )
    close = nearest(patterns[0].strip("*"), [layer.name for layer in of_kind])
    return UsageError(
        f"no layer is called {' or '.join(patterns)}",
        where=model.path,
        expected="the name of a layer, or a pattern such as 'layer1.*'",
        hint=None if close is None else f"--layers {printable(close)}",
    )
