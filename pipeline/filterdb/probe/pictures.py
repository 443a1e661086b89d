"""One image file as numbers from 0 to 1, in the size that a model takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import FilterDBError, UsageError
from filterdb.probe.extras import require

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
"""What Pillow calls images of so many channels."""

_DEEP: Final = ("I", "F")
_SCALED: Final = frozenset({"PNG", "PPM"})
_BITS: Final = 258
_ORIENTATION: Final = 274
# How the sides of a stored image are to be turned, by what a camera has noted.
_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
_LONGEST: Final = 100


def require_image(path: Path) -> None:
    """Refuse a file that is no image, or whose kind cannot be read; only its beginning is looked at.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UsageError
        With the name of the file.
    """
    with _opened(path) as opened:
        if opened.mode.startswith(_DEEP):
            _white(opened, path)


def read_image(path: Path, channels: int, height: int, width: int, resize: str) -> NDArray[np.float32]:
    """Return an image as (height, width, channels), from 0 to 1.

    Parameters
    ----------
    path
        The file.
    channels, height, width
        What the image is brought to.
    resize
        How: ``stretch``, ``crop`` or ``center``.

    Raises
    ------
    UsageError
        If the file is no image, or its values have no known meaning.
    """
    with _opened(path) as opened:
        if opened.mode.startswith(_DEEP):
            white = _white(opened, path)
            drawn = require("PIL.Image").fromarray(_deep(opened, white, path))
        else:
            drawn, white = opened.convert(MODES[channels]), 255.0
        values = np.asarray(resized(_upright(opened, drawn), height, width, resize), np.float32)
    if drawn.mode == "F":
        return spread(values, channels)
    return (values / np.float32(white)).reshape(height, width, channels)


def spread(plane: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return grey values as an image of several channels; a fourth one, the opacity, is 1.

    Parameters
    ----------
    plane
        The values; the last two axes are those of the image.
    channels
        How many there are to be.
    """
    values = np.repeat(plane[..., None], channels, axis=-1)
    if channels == 4:
        values[..., 3] = 1
    return values


def resized(drawn: Any, height: int, width: int, resize: str) -> Any:
    """Bring an image to a size, bilinear, and smoothed where it gets smaller.

    Parameters
    ----------
    drawn
        The image, as Pillow has it.
    height, width
        The size.
    resize
        ``stretch``: whatever the proportions. ``crop``: the largest part in the middle that has the
        proportions. ``center``: 8/7 of the size, of which the middle is cut out.
    """
    bilinear = require("PIL.Image").Resampling.BILINEAR
    if resize == "center":
        wide, high = _around(drawn.size, height, width)
        left, top = round((wide - width) / 2), round((high - height) / 2)
        return drawn.resize((wide, high), bilinear).crop((left, top, left + width, top + height))
    box = _middle(drawn.size, height, width) if resize == "crop" else None
    return drawn.resize((width, height), bilinear, box=box)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image; whatever goes wrong before it is closed is said with its name."""
    image = require("PIL.Image")
    try:
        with warnings.catch_warnings():
            # Of odd notes in a file nothing follows; what Pillow takes for a bomb is larger than any picture.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", image.DecompressionBombWarning)
            with image.open(path) as opened:
                yield opened
    except FilterDBError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UsageError(
            f"this image cannot be read: {str(error)[:200] or type(error).__name__}",
            where=path,
            expected="an image",
            hint="remove it",
        ) from error


def _white(opened: Any, path: Path) -> float:
    """Return the value that stands for white in an image of more than 8 bits: what its file says decides."""
    if opened.mode == "F":
        return 1.0
    if opened.mode.startswith("I;16"):
        # A TIFF of 12 bits has the mode of one of 16.
        bits = int((getattr(opened, "tag_v2", None) or {}).get(_BITS, (16,))[0])
        return float(2 ** min(bits, 16) - 1)
    # Pillow before 10.3 says of PNG, and every Pillow of PGM, that it has 32 bits; it has brought them to 16.
    if opened.format in _SCALED:
        return 65535.0
    raise UsageError(
        f"the values of this image are whole numbers of 32 bits, or with a sign ({opened.format}, mode"
        f" {opened.mode}): which of them is white is not said",
        where=path,
        expected="8 or 16 bits without a sign, or floats from 0 to 1",
        hint="save it in 16 bits or as floats from 0 to 1, or give arrays: --data file.npz",
    )


def _deep(opened: Any, white: float, path: Path) -> NDArray[np.float32]:
    values = np.asarray(opened, np.float32) / np.float32(white)
    least, most = float(values.min(initial=0)), float(values.max(initial=0))
    if not (least >= 0 and most <= 1):
        found = f"from {least:g} to {most:g}" if np.isfinite([least, most]).all() else "NaN or infinite"
        raise UsageError(
            f"the values of this image are floats that are {found}",
            where=path,
            expected="floats from 0 to 1, as what is white is not said",
            hint="divide them by the value of white, or give arrays: --data file.npz",
        )
    return values


def _upright(opened: Any, drawn: Any) -> Any:
    """Turn an image as its camera was held; to be called after it was decoded, which turns a TIFF already."""
    try:
        turn = _TURNS.get(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - whatever is wrong with such notes, they say nothing
        return drawn
    return drawn if turn is None else drawn.transpose(require("PIL.Image").Transpose[turn])


def _around(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Return the width and height that an image gets before the middle is cut out of it."""
    across, down = size
    wide, high = width * 8 // 7, height * 8 // 7
    found = max(wide, high * across // down), max(high, wide * down // across)
    if found[0] > _LONGEST * wide or found[1] > _LONGEST * high:
        raise ValueError(f"one of its sides, {across} and {down}, is too short for --resize center")
    return found


def _middle(size: tuple[int, int], height: int, width: int) -> tuple[float, float, float, float]:
    """Return the largest part in the middle that has the proportions of the size."""
    scale = min(size[0] / width, size[1] / height)
    across, down = width * scale, height * scale
    left, top = (size[0] - across) / 2, (size[1] - down) / 2
    return left, top, left + across, top + down
