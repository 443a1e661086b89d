"""Data for a model: arrays, folders of images or scikit-learn's digits, and labels beside them."""

from __future__ import annotations

import csv
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import UsageError, nearest
from filterdb.opening import NO_ARCHIVE, NO_HEADER, map_array, open_regular
from filterdb.probe.images import SUFFIXES, Digits, ImageFolder, labelled_files
from filterdb.probe.labels import classes_of
from filterdb.probe.options import Setup
from filterdb.probe.runtime import Array, Port

Data: TypeAlias = "str | os.PathLike[str] | Array | Mapping[str, Array] | None"
"""A file, a folder of images, an array, arrays by the names of inputs, or None for the digits."""

Labels: TypeAlias = "str | os.PathLike[str] | Sequence[Any] | Array | None"
"""A file, or one label a row."""

_LABELS: Final = ("labels", "label", "y", "targets", "target")
_MOST_LABELS: Final = 1 << 28
# What numpy says of an array of objects, in a file of one array or of several.
_PICKLED: Final = re.compile("allow_pickle|Python objects")


class Source(Protocol):
    """Rows of data in the form that one model takes."""

    labels: Array | None
    about: str
    images: Mapping[str, Any] | None
    """What becomes of images; None of arrays, which are used as they are."""

    def __len__(self) -> int:
        """Return how many rows there are."""

    def read(self, rows: NDArray[np.intp]) -> dict[str, Array]:
        """Return some rows by the name of the input."""


def open_data(data: Data, ports: Sequence[Port], setup: Setup) -> Source:
    """Open data for a model.

    Parameters
    ----------
    data
        What is given.
    ports
        The inputs of the model.
    setup
        How images become numbers.

    Raises
    ------
    UsageError
        If it is not what the model takes; the message shows both.
    """
    if data is None:
        return Digits(ports, setup)
    if isinstance(data, str | os.PathLike):
        path = Path(data).expanduser()
        if path.is_dir():
            return ImageFolder(path, ports, setup)
        arrays, labels = _read_arrays(path, ports)
        return Arrays(arrays, labels, ports, str(path))
    if isinstance(data, Mapping):
        given = {str(name): _as_array(array, f"the given array {name!r}") for name, array in data.items()}
        return Arrays(*_without_labels(given, ports), ports, "the given arrays")
    return Arrays({"": _as_array(data, "the given array")}, None, ports, "the given array")


def require_images(setup: Setup, *sources: Source) -> None:
    """Refuse what was asked to become of images where all data is arrays.

    Parameters
    ----------
    setup
        What was asked for.
    *sources
        All data of a run.
    """
    asked = setup.asked_of_images
    if asked and all(source.images is None for source in sources):
        words = " and ".join(asked)
        raise UsageError(
            f"{words} {'is' if len(asked) == 1 else 'are'} given, but the data is arrays",
            where=", ".join(dict.fromkeys(source.about for source in sources)),
            expected="a folder of images; arrays are used as they are",
            hint=f"leave out {words}, and give arrays of the size and the values that the model takes",
        )


def _as_array(given: Any, about: str) -> Array:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"this is no array: {str(error)[:200]}", where=about, expected="numbers in rows of one shape"
        ) from error


def _read_arrays(path: Path, ports: Sequence[Port]) -> tuple[dict[str, Array], Array | None]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        beside = path.with_name(f"{path.stem}.labels.npy")
        return {"": _load(path)}, _load(beside) if beside.exists() else None
    if suffix == ".npz":
        with _opened(path) as stored:
            arrays = {name: _member(stored, name, path) for name in stored.files}
        return _without_labels(arrays, ports)
    if suffix in SUFFIXES:
        raise UsageError("this is one image", where=path, expected="a folder of images")
    raise UsageError(
        "this is no data that a probe can read" if path.exists() else "there is no such file",
        where=path,
        expected="an .npz or .npy file, or a folder of images",
    )


def _load(path: Path) -> Array:
    try:
        return map_array(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, "an .npy file") from error


def _opened(path: Path) -> Any:
    try:
        # numpy leaves a file open that only begins as an archive does.
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > _memory():
            raise ValueError(f"its arrays take {size:,} bytes, more than this machine's memory")
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, *NO_ARCHIVE) as error:
        raise _unreadable(path, error, "an .npz file, or .npy, which is read in parts") from error


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _unreadable(path: Path, error: Exception, expected: str) -> UsageError:
    if isinstance(error, FileNotFoundError):
        return UsageError("there is no such file", where=path, expected=expected)
    if _PICKLED.search(str(error)):
        return _objects("the file", path)
    return UsageError(f"the file cannot be read: {error}", where=path, expected=expected)


def _objects(what: str, path: Path) -> UsageError:
    return UsageError(
        f"{what} cannot be read: it holds Python objects, which come as pickles, and these are refused",
        where=path,
        expected="numbers or text",
        hint="save text as array.astype(str), and numbers as array.astype(int) or array.astype(float)",
    )


def _member(stored: Any, name: str, path: Path) -> Array:
    try:
        return np.asarray(stored[name])
    except (OSError, *NO_ARCHIVE, *NO_HEADER) as error:
        if _PICKLED.search(str(error)):
            raise _objects(f"the array {name!r}", path) from error
        # What numpy says of a header may be as long as the header.
        raise UsageError(f"the array {name!r} cannot be read: {str(error)[:200]}", where=path) from error


def _without_labels(arrays: dict[str, Array], ports: Sequence[Port]) -> tuple[dict[str, Array], Array | None]:
    taken = {port.name for port in ports}
    name = next((name for name in _LABELS if name in arrays and name not in taken), None)
    if name is None or len(arrays) == 1:
        return arrays, None
    return {key: array for key, array in arrays.items() if key != name}, arrays[name]


class Arrays:
    """Data that lies in arrays, one for each input.

    Parameters
    ----------
    arrays
        Arrays by the name of the input; for a model of one input, a single array may have any name.
    labels
        Labels of the rows, if they are known.
    ports
        The inputs of the model.
    about
        Where the data comes from.
    """

    def __init__(
        self, arrays: Mapping[str, Array], labels: Array | None, ports: Sequence[Port], about: str
    ) -> None:
        self.about, self.labels = about, labels
        self.images: Mapping[str, Any] | None = None
        self._rows: dict[str, Array] = {}
        self._whole: dict[str, Array] = {}
        for port in ports:
            array = _array_for(port, arrays, ports, about)
            checked = _as_type(array, port, about)
            if _is_whole(checked, port, ports):
                self._whole[port.name] = np.asarray(checked, port.dtype)
            else:
                _require_shape(checked, port, about)
                self._rows[port.name] = checked
        self._types = {port.name: np.dtype(port.dtype) for port in ports}
        counts = {name: len(array) for name, array in self._rows.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            shown = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
            raise UsageError(
                f"the inputs have no rows in common: {shown or 'there are none'}",
                where=about,
                expected="as many rows for every input, and at least one",
            )
        self._count = next(iter(counts.values()))

    def __len__(self) -> int:
        return self._count

    def read(self, rows: NDArray[np.intp]) -> dict[str, Array]:
        """Return some rows by the name of the input."""
        found = {
            name: np.ascontiguousarray(array[rows], self._types[name]) for name, array in self._rows.items()
        }
        return {**found, **self._whole}


def _array_for(port: Port, arrays: Mapping[str, Array], ports: Sequence[Port], about: str) -> Array:
    if port.name in arrays:
        return arrays[port.name]
    if len(ports) == 1 and len(arrays) == 1:
        return next(iter(arrays.values()))
    close = nearest(port.name, arrays)
    raise UsageError(
        f"there is no array for the input {port.shown}; there are {', '.join(map(repr, arrays)) or 'none'}",
        where=about,
        expected=f"an .npz file with arrays named {', '.join(repr(port.name) for port in ports)}",
        hint=None if close is None else f"name {close!r} as the input is: {port.name!r}",
    )


def _as_type(array: Array, port: Port, about: str) -> Array:
    """Refuse values that the input cannot take without loss; types are changed when rows are read."""
    try:
        wanted = np.dtype(port.dtype)
    except TypeError:
        raise UsageError(
            f"the input {port.shown} is of a type that data cannot be given in",
            where=about,
            expected="numbers",
        ) from None
    fits = array.dtype.kind in "biuf" and (
        wanted.kind == "f" or np.can_cast(array.dtype, wanted, "same_kind")
    )
    if not fits and not (array.dtype.kind in "iu" and wanted.kind in "iu" and _within(array, wanted)):
        raise UsageError(
            f"the data is {array.dtype} {list(array.shape)}, but the model's input is {port.shown}",
            where=about,
            expected=f"values of the type {wanted}",
        )
    return array


def _within(array: Array, wanted: np.dtype[Any]) -> bool:
    limits = np.iinfo(wanted)
    return bool(array.size == 0 or (int(array.min()) >= limits.min and int(array.max()) <= limits.max))


def _is_whole(array: Array, port: Port, ports: Sequence[Port]) -> bool:
    """Tell whether an input is given once for all rows: a scalar, or one that does not count rows."""
    if array.ndim == 0 and not port.shape:
        return len(ports) > 1
    rows = next((other.shape[0] for other in ports if other.shape), None)
    return bool(port.shape) and array.shape == port.shape and port.shape[0] != rows


def _require_shape(array: Array, port: Port, about: str) -> None:
    sizes = array.shape
    unknown = not port.shape
    fits = unknown or (
        len(sizes) == len(port.shape)
        and all(want in (None, have) for want, have in zip(port.shape[1:], sizes[1:], strict=True))
    )
    if not fits or array.ndim == 0:
        raise UsageError(
            f"the data is {array.dtype} {list(sizes)}, but the model's input is {port.shown}",
            where=about,
            expected="the same sizes but for the first, which counts rows",
            hint="a folder of images is resized to the model's input",
        )


def encode(labels: Labels, source: Source) -> NDArray[np.intp]:
    """Return the number of each row's class.

    Parameters
    ----------
    labels
        Labels of the rows; those beside the data where none are given.
    source
        The data.

    Raises
    ------
    UsageError
        If there are none, not one a row, or one is missing.
    """
    given = _given_labels(labels, source)
    if given is None:
        raise UsageError(
            "the data has no labels",
            where=source.about,
            expected="an array named labels, a folder for each class, or --labels with a file",
        )
    return classes_of(given, len(source), source.about)


def _given_labels(labels: Labels, source: Source) -> Any:
    if labels is None:
        return source.labels
    if not isinstance(labels, str | os.PathLike):
        return labels
    path = Path(labels).expanduser()
    if path.suffix.lower() == ".npy":
        return _load(path)
    if path.suffix.lower() == ".npz":
        with _opened(path) as stored:
            names = [name for name in _LABELS if name in stored.files] or list(stored.files)
            return _member(stored, names[0], path) if names else None
    return _label_lines(path, source)


def _label_lines(path: Path, source: Source) -> Array:
    """Read labels from text: one a line, or lines of a file's name and its label."""
    try:
        if path.stat().st_size > _MOST_LABELS:
            raise UsageError("the file is too large to be labels", where=path)
        lines = [row for row in csv.reader(path.read_text("utf-8").splitlines()) if row]
    except OSError as error:
        raise UsageError(
            f"the file cannot be read: {error.strerror}", where=path, expected="one label a line"
        ) from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"the file is no text: {error}", where=path, expected="one label a line") from error
    if lines and len(lines[0]) > 1 and isinstance(source, ImageFolder):
        return labelled_files(lines, source.names, path)
    values = [row[-1].strip() for row in lines]
    # In an array, each takes as much as the longest.
    if 4 * len(values) * max(map(len, values), default=0) > _MOST_LABELS:
        raise UsageError("the labels are too long", where=path, expected="one label a line")
    return np.asarray(values[1:] if len(values) == len(source) + 1 else values)
