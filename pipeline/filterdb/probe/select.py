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
_SHOWN: Final = 12
"""How many names a message lists."""


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
    """Return why nothing is chosen, and what could be."""
    if not model.layers:
        return UsageError(
            "the model has no layers", where=model.path, expected="a node that is computed from the data"
        )
    called = " or ".join(map(printable, patterns))
    if not of_kind:
        have = sorted({layer.kind for layer in model.layers} - {"other"})
        return UsageError(
            f"the model has no layer of the kind {kind}",
            where=model.path,
            expected=f"a kind that it has: {', '.join([*have, 'all'])}",
            hint="--kind all",
        )
    if kind != "all" and any(_fits(layer.name, patterns) for layer in model.layers):
        return UsageError(
            f"no layer of the kind {kind} is called {called}", where=model.path, hint="--kind all"
        )
    return UsageError(
        f"no layer is called {called}",
        where=model.path,
        expected="the name of a layer, or a pattern such as 'layer1.*'",
        hint=_instead(of_kind, patterns),
    )


def _instead(layers: Sequence[InnerLayer], patterns: Sequence[str]) -> str:
    """Return what to write in the place of patterns that no name fits, or some of the names there are."""
    # Sorting is stable: layers with weights come first, as people look for these.
    names = [layer.name for layer in sorted(layers, key=lambda layer: layer.kind not in _WEIGHTED)]
    parts = [part.strip() for pattern in patterns for part in pattern.split(",")]
    if len(parts) > len(patterns) and any(_fits(name, parts) for name in names):
        return " ".join(f"--layers {printable(part)}" for part in parts if part)
    close = nearest(patterns[0].strip("*"), names)
    if close is not None:
        return f"--layers {printable(close)}"
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"one of its layers: {shown}{more}"
