"""The convolutions of a PyTorch module, by the names of its classes: PyTorch itself is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from filterdb.weights.entries import Found, reason_of
from filterdb.weights.tensors import of_tensor

_PLAIN = "Conv2d"
_REFUSED: Mapping[str, str] = {
    "Conv1d": "a 1-D convolution",
    "Conv3d": "a 3-D convolution",
    "ConvTranspose1d": "a transposed convolution",
    "ConvTranspose2d": "a transposed convolution",
    "ConvTranspose3d": "a transposed convolution",
    "DeformConv2d": "a deformable convolution",
}
_OF_NO_CONV = "not the weight of a Conv2d; measure it as an array if it is a convolution's"


@runtime_checkable
class ModuleLike(Protocol):
    """A PyTorch module, or what walks and names its parts as one does."""

    def named_modules(self) -> Iterable[tuple[str, Any]]:
        """Yield every module within, and its dotted name."""


def of_module(module: ModuleLike) -> Found:
    """Find the weights of all ``Conv2d`` of a module, of their subclasses too, in the order of its parts.

    Other convolutions, and parameters of four dimensions that other layers own, are reported as skipped.
    """
    found = Found()
    for name, part in module.named_modules():
        kind = _kind(part)
        if kind is None or not hasattr(part, "weight"):
            _note_others(found, name, part)
        elif kind in _REFUSED:
            found.skip(name, _REFUSED[kind], shape=_shape(part.weight), op_type=type(part).__name__)
        else:
            _add(found, name, part)
    return found


def _kind(part: Any) -> str | None:
    """Return which convolution of PyTorch a module is, or descends from; scripted ones say it themselves."""
    names = [getattr(part, "original_name", ""), *(base.__name__ for base in type(part).__mro__)]
    return next((name for name in names if name == _PLAIN or name in _REFUSED), None)


def _add(found: Found, name: str, part: Any) -> None:
    kind = str(getattr(part, "original_name", type(part).__name__))
    try:
        # Quantized modules keep their weight packed, behind a method.
        weight = part.weight() if callable(part.weight) else part.weight
        groups = getattr(part, "groups", None)
        entry = of_tensor(name, weight, op_type=kind, group=groups if isinstance(groups, int) else None)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one layer's trouble never costs the others
        found.skip(name, reason_of(error), op_type=kind)
        return
    if len(entry.shape) == 4:
        found.layers.append(entry)
    else:
        reason = f"the weight has {len(entry.shape)} dimensions, expected 4"
        found.skip(name, reason, shape=entry.shape, op_type=kind)


def _note_others(found: Found, name: str, part: Any) -> None:
    """Report parameters that may be convolutions of a class of the model's own."""
    own = getattr(part, "named_parameters", None)
    kind = type(part).__name__
    # A parametrization holds what a convolution's weight, which is measured, is computed from.
    if own is None or kind == "ParametrizationList":
        return
    for parameter, tensor in own(recurse=False):
        shape = _shape(tensor)
        if len(shape) == 4:
            found.skip(f"{name}.{parameter}".lstrip("."), _OF_NO_CONV, shape=shape, op_type=kind)


def _shape(tensor: Any) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in tensor.shape)
    except (AttributeError, TypeError, RuntimeError):
        return ()
