"""Images as a model takes them: folders of files, and scikit-learn's digits."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import UsageError
from filterdb.probe.extras import require
from filterdb.probe.options import Setup
from filterdb.probe.pictures import MODES, read_image, require_image, resized, spread
from filterdb.probe.runtime import Array, Port

SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)
_DIGITS: Final = 32
_PICTURE: Final = 224
_LARGEST: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Frame:
    """How a model takes an image.

    Parameters
    ----------
    port
        The input.
    channels, height, width
        The size of an image.
    place
        Where its values go: ``first`` (channels, height, width), ``last``, ``plane`` (height, width) or
        ``flat`` (one after the other).
    """

    port: Port
    channels: int
    height: int
    width: int
    place: str

    def fill(self, images: NDArray[np.float32], setup: Setup) -> Array:
        """Return images of the shape (rows, height, width, channels) and values from 0 to 1 as the input.

        Parameters
        ----------
        images
            The images.
        setup
            How their values are normalized.
        """
        wanted = np.dtype(self.port.dtype)
        if self.whole:
            values = np.rint(images * np.float32(255))
            values = (values - 128 if wanted == np.int8 else values).astype(wanted)
        else:
            mean, deviation = self.scale(setup)
            values = ((images - mean) / deviation).astype(wanted)
        if self.place == "first":
            values = values.transpose(0, 3, 1, 2)
        elif self.place == "plane":
            values = values[..., 0]
        elif self.place == "flat":
            values = values.transpose(0, 3, 1, 2).reshape(len(values), -1)
        return np.ascontiguousarray(values)

    @property
    def whole(self) -> bool:
        """Whether the input takes whole numbers, as quantized models do."""
        return np.dtype(self.port.dtype).kind in "iu"

    def scale(self, setup: Setup) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the means and deviations of the channels, one or as many as there are.

        Parameters
        ----------
        setup
            Which are asked for.
        """
        mean, deviation = (np.asarray(part, np.float32) for part in setup.scale)
        if len(mean) not in (1, self.channels):
            if setup.normalize != "imagenet" or self.channels != 1:
                raise UsageError(
                    f"normalize has {len(mean)} channels, but the model's input {self.port.shown}"
                    f" has {self.channels}",
                    expected="one number, or one a channel",
                )
            mean, deviation = mean.mean(keepdims=True), deviation.mean(keepdims=True)
        return mean, deviation

    def treatment(self, setup: Setup, kind: str) -> dict[str, Any]:
        """Return what becomes of images, as plain data.

        Parameters
        ----------
        setup
            What is asked for.
        kind
            What images they are: ``digits`` or ``folder``.
        """
        found = {
            "kind": kind,
            "size": f"{self.height}x{self.width}",
            "channels": self.channels,
            "resize": setup.resizing,
        }
        if self.whole:
            signed = np.dtype(self.port.dtype) == np.int8
            return {**found, "normalize": f"whole numbers, {'-128 to 127' if signed else '0 to 255'}"}
        mean, deviation = (part.astype(float).tolist() for part in self.scale(setup))
        return {**found, "normalize": setup.normalizing, "mean": mean, "deviation": deviation}


def frame_of(ports: Sequence[Port], setup: Setup, fallback: int) -> Frame:
    """Return how a model takes an image.

    Raises
    ------
    UsageError
        If it takes none; the message shows what it does take.
    """
    port = ports[0] if len(ports) == 1 else None
    found = None if port is None else _fitted(port, setup, fallback)
    if found is None:
        raise UsageError(
            "the model does not take images: its inputs are " + "; ".join(port.shown for port in ports),
            expected="data of these shapes",
            hint="--data file.npz with an array for each input, named like it",
        )
    if max(found.height, found.width) > _LARGEST or found.port.dtype == "bool":
        raise UsageError(f"the model's input {found.port.shown} is too large for images, or of truth values")
    if setup.shape is not None and setup.shape != (found.height, found.width):
        raise UsageError(
            f"the size is {setup.size}, but the model's input is {found.port.shown}",
            expected=f"{found.height}x{found.width}",
        )
    return found


def _fitted(port: Port, setup: Setup, fallback: int) -> Frame | None:
    if np.dtype(port.dtype).kind not in "iuf" if _is_known(port.dtype) else True:
        return None
    height, width = setup.shape or (fallback, fallback)
    if len(port.shape) == 4:
        _, first, second, last = port.shape
        if last in MODES and first not in MODES:
            return Frame(port, last, first or height, second or width, "last")
        if first is None or first in MODES:
            return Frame(port, first or 3, second or height, last or width, "first")
        return None
    if len(port.shape) == 3 and 1 not in port.shape[1:]:
        return Frame(port, 1, port.shape[1] or height, port.shape[2] or width, "plane")
    if len(port.shape) == 2 and port.shape[1]:
        for channels in (1, 3):
            side = math.isqrt(port.shape[1] // channels)
            if side > 1 and side * side * channels == port.shape[1]:
                return Frame(port, channels, side, side, "flat")
    return None


def _is_known(dtype: str) -> bool:
    try:
        np.dtype(dtype)
    except TypeError:
        return False
    return True


class Digits:
    """The 1,797 handwritten digits of scikit-learn, resized to the model's input.

    Parameters
    ----------
    ports
        The inputs of the model.
    setup
        How images become numbers.

    Raises
    ------
    UsageError
        If the model takes no images, as far as its inputs show.
    """

    def __init__(self, ports: Sequence[Port], setup: Setup) -> None:
        _refuse_tokens(ports)
        frame = frame_of(ports, setup, _DIGITS)
        self._frame, self._setup = frame, setup
        self.about = "scikit-learn's digits"
        if frame.place in ("flat", "plane"):
            # Whether that is what the model was made for, only a person can tell.
            channels = "" if frame.channels == 1 else f" in {frame.channels} channels"
            flat = ", flattened" if frame.place == "flat" else ""
            self.about += f" as {frame.height}x{frame.width}{channels}{flat}"
        self.images: Mapping[str, Any] | None = frame.treatment(setup, "digits")
        found = require("sklearn.datasets").load_digits()
        self._images = (found.images / found.images.max()).astype(np.float32)
        self.labels: Array | None = found.target

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: NDArray[np.intp]) -> dict[str, Array]:
        """Return some rows by the name of the input."""
        image, frame = require("PIL.Image"), self._frame
        planes = np.empty((len(rows), frame.height, frame.width), np.float32)
        for place, row in enumerate(rows):
            drawn = image.fromarray(self._images[row])
            planes[place] = np.asarray(resized(drawn, frame.height, frame.width, self._setup.resizing))
        return {frame.port.name: frame.fill(spread(planes, frame.channels), self._setup)}


def _refuse_tokens(ports: Sequence[Port]) -> None:
    """Refuse inputs that pixels would go into as tokens or indices without any error."""
    for port in ports:
        if _is_known(port.dtype) and np.dtype(port.dtype).kind in "iu" and len(port.shape) < 3:
            raise UsageError(
                f"scikit-learn's digits, which stand in where no data is given, are images: the input"
                f" {port.shown} takes whole numbers that are none, such as tokens",
                expected="data that the model is made for",
                hint="--data file.npz with an array for each input, named like it",
            )


class ImageFolder:
    """A folder of images, or of one folder of images a class.

    Parameters
    ----------
    folder
        The folder.
    ports
        The inputs of the model.
    setup
        How images become numbers.

    Raises
    ------
    UsageError
        If it holds no images, or a file that is named like one and is none.
    """

    def __init__(self, folder: Path, ports: Sequence[Port], setup: Setup) -> None:
        self.about = str(folder)
        self._frame = frame_of(ports, setup, _PICTURE)
        self._setup = setup
        self.images: Mapping[str, Any] | None = self._frame.treatment(setup, "folder")
        self._files = image_files(folder)
        if not self._files:
            raise UsageError(
                "there is no image in this folder",
                where=folder,
                expected=f"files that end in {', '.join(sorted(SUFFIXES))}",
            )
        for path in self._files:
            # Before anything is run; damage further inside is met when the image is read.
            require_image(path)
        self.names = [str(path.relative_to(folder)) for path in self._files]
        parents = [path.parent.relative_to(folder).parts for path in self._files]
        classes = [parts[0] if parts else "" for parts in parents]
        self.labels: Array | None = np.asarray(classes) if "" not in classes else None

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: NDArray[np.intp]) -> dict[str, Array]:
        """Return some rows by the name of the input."""
        frame = self._frame
        images = np.empty((len(rows), frame.height, frame.width, frame.channels), np.float32)
        for place, row in enumerate(rows):
            images[place] = read_image(
                self._files[row], frame.channels, frame.height, frame.width, self._setup.resizing
            )
        return {frame.port.name: frame.fill(images, self._setup)}


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder and of its folders, in the order of their names.

    No link to a folder is followed. What is hidden is left out: a Mac lays ``._x.png`` beside ``x.png``.

    Parameters
    ----------
    folder
        The folder.
    """
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [name for name in files if not name.startswith(".")]
        found += [Path(base, name) for name in shown if Path(name).suffix.lower() in SUFFIXES]
    return sorted((path for path in found if path.is_file()), key=lambda path: path.relative_to(folder).parts)


def labelled_files(lines: Sequence[Sequence[str]], names: Sequence[str], path: Path) -> Array:
    """Return the label of each image from lines of a file's name and its label.

    Parameters
    ----------
    lines
        The lines.
    names
        The images.
    path
        Where the lines are.

    Raises
    ------
    UsageError
        If an image has no line.
    """
    table = {line[0].strip(): line[-1].strip() for line in lines}
    missing = [name for name in names if name not in table]
    if missing:
        raise UsageError(
            f"{len(missing):,} of {len(names):,} images have no label, such as {missing[0]}",
            where=path,
            expected="lines such as folder/image.png,label",
        )
    return np.asarray([table[name] for name in names])
