"""What all probes can be told, checked at the door."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, TypedDict, get_args

from filterdb.errors import UsageError, nearest

LayerKind: TypeAlias = Literal[
    "weighted", "block", "conv", "linear", "recurrent", "norm", "activation", "all"
]
"""Which layers are looked at where no names are given; ``docs/probes.md`` says what each is."""

KINDS: Final[tuple[str, ...]] = get_args(LayerKind)
RESIZES: Final = ("stretch", "crop", "center")
_NAMED: Final = {
    "unit": ((0.0,), (1.0,)),
    "byte": ((0.0,), (1 / 255,)),
    "signed": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_OF_IMAGES: Final = ("size", "normalize", "resize")
_WHOLE: Final = ("batch", "limit", "seed", "threads", "memory")
# What onnxruntime takes.
_MOST: Final = {"seed": (1 << 63) - 1, "threads": (1 << 31) - 1}
_SIZE: Final = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")


class Shown(Protocol):
    """How far something is, as :mod:`filterdb.run.progress` shows it."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *_: object) -> None:
        """Stop."""

    def advance(self, amount: float = 1) -> None:
        """Note that some more is done."""


Progress: TypeAlias = Callable[[str, float, str], Shown]
"""Makes what shows progress, of what is done, how much of it there is, and what is counted."""


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, amount: float = 1) -> None:
        """Show nothing."""


def silent(_what: str, _total: float, _unit: str) -> Shown:
    """Show nothing."""
    return _Silent()


class Options(TypedDict, total=False):
    """Keyword arguments of every probe; :class:`Setup` says what each means, and None is as not given.

    Of `memory`, text such as ``2GiB`` is taken too, and of `size` a number or a pair of them.
    """

    kind: str | None
    batch: int | None
    limit: int | None
    seed: int | None
    memory: int | str | None
    threads: int | None
    size: str | int | Sequence[int] | None
    normalize: str | None
    resize: str | None
    progress: Progress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a model is run over data.

    Parameters
    ----------
    layers
        Names of layers, with ``*`` and ``?``; all of the kind where none is given.
    kind
        Which layers; ``weighted`` where neither names nor a kind are given.
    batch
        Rows of data that go through the model at once.
    limit
        Most rows of the data to use, drawn by the seed; all where not given.
    seed
        Of every draw.
    memory
        Bytes that the activations of one batch may take; layers beyond it are run in several passes.
    threads
        Of onnxruntime; 0 is one a core.
    size
        Height and width that images are brought to, where the model does not say: ``32`` or ``32x48``.
    normalize
        What becomes of the values of images: ``unit`` (0 to 1), ``byte`` (0 to 255), ``signed`` (-1 to 1),
        ``imagenet``, or means and standard deviations of the channels such as ``0.5,0.5,0.5:0.2,0.2,0.2``;
        ``unit`` where nothing is asked for, which is all that arrays allow.
    resize
        ``stretch`` an image to the size, ``crop`` the largest part in the middle of it, or ``center``: make
        its shorter side 8/7 of the size and cut out the middle; ``stretch`` where nothing is asked for.
    progress
        Makes what shows how far a run is.
    """

    layers: tuple[str, ...] = ()
    kind: str | None = None
    batch: int = 64
    limit: int | None = None
    seed: int = 0
    memory: int = 1 << 30
    threads: int = 0
    size: str | None = None
    normalize: str | None = None
    resize: str | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        if self.kind is not None:
            require_choice("kind", self.kind, KINDS)
        require_choice("resize", self.resizing, RESIZES)
        for name, least in (("batch", 1), ("memory", 1), ("threads", 0), ("seed", 0)):
            require_whole(name, getattr(self, name), least, _MOST.get(name))
        if self.limit is not None:
            require_whole("limit", self.limit, 1)
        if not callable(self.progress):
            raise UsageError(f"progress is {self.progress!r}", expected="a function that makes what shows it")
        _ = self.shape, self.scale

    @classmethod
    def of(cls, layers: Sequence[str], options: Options) -> Self:
        """Return the setup that keyword arguments ask for."""
        names = names_of(layers)
        unknown = sorted(set(options) - set(Options.__annotations__))
        if unknown:
            close = nearest(unknown[0], Options.__annotations__)
            raise UsageError(
                f"there is no option {unknown[0]!r}",
                expected=f"one of {', '.join(Options.__annotations__)}",
                hint=None if close is None else f"{close}=...",
            )
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        return cls(layers=names, **{name: _plain(name, value) for name, value in given.items()})

    @property
    def asked_of_images(self) -> tuple[str, ...]:
        """What was asked for that only images have."""
        return tuple(name for name in _OF_IMAGES if getattr(self, name) is not None)

    @property
    def normalizing(self) -> str:
        """What becomes of the values of images."""
        return "unit" if self.normalize is None else self.normalize

    @property
    def resizing(self) -> str:
        """How images get their size."""
        return "stretch" if self.resize is None else self.resize

    def facts(self, **more: object) -> dict[str, Any]:
        """Return all that was asked for, as plain data, so that the same can be asked for again.

        Parameters
        ----------
        **more
            What only one of the probes can be told.
        """
        known = ("batch", "limit", "seed", "memory", "threads", *_OF_IMAGES)
        # As :mod:`filterdb.probe.select` chooses.
        kind = self.kind or ("all" if self.layers else "weighted")
        asked = {"layers": self.layers, "kind": kind, **{name: getattr(self, name) for name in known}}
        return {
            name: _fact(value, names=name.startswith("layers")) for name, value in {**asked, **more}.items()
        }

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of images, if they are said."""
        if self.size is None:
            return None
        match = _SIZE.fullmatch(self.size) if isinstance(self.size, str) else None
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not height or not width:
            raise UsageError(f"the size is {self.size!r}", expected="height and width such as 32 or 32x48")
        return height, width

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations that the channels of images, from 0 to 1, are brought to."""
        asked = self.normalizing
        if isinstance(asked, str) and asked in _NAMED:
            return _NAMED[asked]
        parts = [_numbers(part) for part in asked.split(":")] if isinstance(asked, str) else []
        if len(parts) != 2 or not all(parts) or 0 in parts[1] or len(parts[0]) != len(parts[1]):
            close = nearest(str(asked), _NAMED)
            raise UsageError(
                f"normalize is {asked!r}",
                expected=f"{', '.join(_NAMED)}, or means and standard deviations such as 0.5,0.4:0.2,0.3",
                hint=None if close is None else f"normalize {close}",
            )
        return parts[0], parts[1]


def names_of(layers: Any) -> tuple[str, ...]:
    """Return names of layers, of which a single one may stand alone."""
    given = [layers] if isinstance(layers, str) else [] if layers is None else layers
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"layers is {layers!r}", expected="names of layers, or patterns with * and ?")
    return names


def _plain(name: str, value: Any) -> Any:
    """Return an option as :class:`Setup` keeps it, where what is meant is plain; the rest it refuses."""
    if name in _WHOLE and _is_whole(value):
        return int(value)
    if name == "memory" and isinstance(value, str):
        from filterdb.config import parse_size

        try:
            return parse_size(value)
        except ValueError as error:
            raise UsageError(
                f"memory is {value!r}", expected="a number of bytes, or text such as 2GiB"
            ) from error
    if name == "size" and not isinstance(value, str):
        sides = [value] if _is_whole(value) else value
        if isinstance(sides, Sequence) and 1 <= len(sides) <= 2 and all(map(_is_whole, sides)):
            return "x".join(str(int(side)) for side in sides)
    return value


def _is_whole(value: object) -> bool:
    # What numpy counts with is whole too; what is true or false counts nothing.
    return isinstance(value, Integral) and not isinstance(value, bool)


def _fact(value: object, *, names: bool) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if names and isinstance(value, Iterable) else "given in Python"


def require_path(name: str, value: object) -> None:
    """Refuse what is no path, such as a model that was loaded already."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(
            f"{name} is of the type {type(value).__name__}",
            expected="the path of an .onnx file",
            hint="save the model to a file and give its path",
        )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def require_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is none of the known ones."""
    if not isinstance(value, str) or value not in known:
        close = nearest(str(value), known)
        raise UsageError(
            f"{name} is {value!r}",
            expected=f"one of {', '.join(known)}",
            hint=None if close is None else f"{name} {close}",
        )


def require_whole(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number, or too small or large a one."""
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not fits or (most is not None and value > most):
        bound = "" if most is None or not fits else f", and of at most {most}"
        raise UsageError(f"{name} is {value!r}", expected=f"a whole number of at least {least}{bound}")


def require_share(name: str, value: object) -> None:
    """Refuse what is no share of a whole."""
    if not isinstance(value, Real) or not 0 < float(value) <= 1:
        raise UsageError(f"{name} is {value!r}", expected="a number above 0 and up to 1")
