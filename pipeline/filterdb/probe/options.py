"""What all probes can be told, checked at the door."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self, TypeAlias, TypedDict, get_args

from filterdb.errors import UsageError, nearest

LayerKind: TypeAlias = Literal[
    "weighted", "block", "conv", "linear", "recurrent", "norm", "activation", "all"
]
"""Which layers are looked at where no names are given; ``docs/probes.md`` says what each is."""

KINDS: Final[tuple[str, ...]] = get_args(LayerKind)
RESIZES: Final = ("stretch", "crop")
_NAMED: Final = {
    "unit": ((0.0,), (1.0,)),
    "byte": ((0.0,), (1 / 255,)),
    "signed": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
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
    """Keyword arguments of every probe; :class:`Setup` says what each means."""

    kind: str | None
    batch: int
    limit: int | None
    seed: int
    memory: int
    threads: int
    size: str | None
    normalize: str
    resize: str
    progress: Progress


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
        ``imagenet``, or means and standard deviations of the channels such as ``0.5,0.5,0.5:0.2,0.2,0.2``.
    resize
        ``stretch`` an image to the size, or ``crop`` the middle of it.
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
    normalize: str = "unit"
    resize: str = "stretch"
    progress: Progress = silent

    def __post_init__(self) -> None:
        if self.kind is not None:
            require_choice("kind", self.kind, KINDS)
        require_choice("resize", self.resize, RESIZES)
        for name, least in (("batch", 1), ("memory", 1), ("threads", 0), ("seed", 0)):
            require_whole(name, getattr(self, name), least)
        if self.limit is not None:
            require_whole("limit", self.limit, 1)
        _ = self.shape, self.scale

    @classmethod
    def of(cls, layers: Sequence[str], options: Options) -> Self:
        """Return the setup that keyword arguments ask for."""
        names = (layers,) if isinstance(layers, str) else tuple(layers)
        unknown = sorted(set(options) - set(Options.__annotations__))
        if unknown:
            close = nearest(unknown[0], Options.__annotations__)
            raise UsageError(
                f"there is no option {unknown[0]!r}",
                expected=f"one of {', '.join(Options.__annotations__)}",
                hint=None if close is None else f"{close}=...",
            )
        return cls(layers=names, **options)

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of images, if they are said."""
        if self.size is None:
            return None
        match = _SIZE.fullmatch(str(self.size))
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not height or not width:
            raise UsageError(f"the size is {self.size!r}", expected="height and width such as 32 or 32x48")
        return height, width

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations that the channels of images, from 0 to 1, are brought to."""
        if self.normalize in _NAMED:
            return _NAMED[self.normalize]
        parts = [_numbers(part) for part in self.normalize.split(":")]
        if len(parts) != 2 or not all(parts) or 0 in parts[1] or len(parts[0]) != len(parts[1]):
            close = nearest(self.normalize, _NAMED)
            raise UsageError(
                f"normalize is {self.normalize!r}",
                expected=f"{', '.join(_NAMED)}, or means and standard deviations such as 0.5,0.4:0.2,0.3",
                hint=None if close is None else f"normalize {close}",
            )
        return parts[0], parts[1]


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def require_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is none of the known ones."""
    if value not in known:
        close = nearest(str(value), known)
        raise UsageError(
            f"{name} is {value!r}",
            expected=f"one of {', '.join(known)}",
            hint=None if close is None else f"{name} {close}",
        )


def require_whole(name: str, value: int, least: int) -> None:
    """Refuse what is no whole number, or too small a one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is {value!r}", expected=f"a whole number of at least {least}")


def require_share(name: str, value: float) -> None:
    """Refuse what is no share of a whole."""
    if not 0 < value <= 1:
        raise UsageError(f"{name} is {value!r}", expected="a number above 0 and up to 1")
