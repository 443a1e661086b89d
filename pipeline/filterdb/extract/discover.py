"""Find the models of a zoo and give each a name of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn, TypeAlias

from filterdb.errors import UsageError
from filterdb.text import clean_text
from filterdb.types import ModelSource

_PICKLES = (".pt", ".pth", ".pkl", ".ckpt")

Found: TypeAlias = tuple[int, Path, Path]
"""A model: the place of its zoo in the list, the zoo, the file."""


def discover(zoos: Sequence[Path]) -> list[ModelSource]:
    """List the ``.onnx`` files of some folders, in the order that gives them their ids.

    A model is named by its file stem. Where stems collide, all that share one are named by their path
    within the zoo, and where these collide too, with the zoo's folder before it, then the suffix after it,
    then the zoo's place in the list. Folders that are links are searched, each folder once.

    Parameters
    ----------
    zoos
        Folders, searched at any depth, or single files.

    Raises
    ------
    UsageError
        If a folder does not exist or cannot be read, none holds a model, or a file is listed twice.
    """
    if not zoos:
        raise UsageError(
            "no zoo is given", expected="folders of .onnx files", hint="filterdb extract ZOO ..."
        )
    found = [(number, zoo, path) for number, zoo in enumerate(zoos, 1) for path in _models(zoo)]
    if not found:
        places = ", ".join(str(zoo) for zoo in zoos)
        raise UsageError(
            "no .onnx file was found", where=places, hint="name the folder that holds the models"
        )
    _refuse_repetition(found)
    sources = [
        ModelSource(name, path, _relative(zoo, path))
        for (_, zoo, path), name in zip(found, _names(found), strict=True)
    ]
    return sorted(sources, key=lambda source: source.name)


def _models(zoo: Path) -> Iterator[Path]:
    if zoo.is_file():
        if zoo.suffix.lower() in _PICKLES:
            raise UsageError(
                "a PyTorch file is a pickle, which runs code when it is opened",
                where=zoo,
                expected="an ONNX model",
                hint="export it with torch.onnx.export",
            )
        yield zoo
        return
    if not zoo.is_dir():
        raise UsageError("no such file or folder", where=zoo, expected="a folder of .onnx files")
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(zoo, followlinks=True, onerror=_unreadable):
        # A link may lead back up: each folder is searched under the first of its names.
        place = os.path.realpath(folder)
        if place in seen:
            subfolders.clear()
            continue
        seen.add(place)
        subfolders.sort()
        for name in sorted(files):
            if name.lower().endswith(".onnx"):
                yield Path(folder) / name


def _unreadable(error: OSError) -> NoReturn:
    raise UsageError(f"a folder cannot be read: {error.strerror}", where=error.filename) from error


def _refuse_repetition(found: Sequence[Found]) -> None:
    """Refuse one file found twice under one path: its records would be counted twice."""
    first: dict[Path, Path] = {}
    for _, zoo, path in found:
        # Not resolved: a link and what it leads to are two models, and duplicates of each other.
        place = Path(os.path.normpath(path.absolute()))
        if place in first:
            zoos = f"{first[place]} and {zoo}"
            raise UsageError(
                f"the model {path.name!r} is listed twice", where=zoos, hint="name each zoo once"
            )
        first[place] = zoo


def _names(found: Sequence[Found]) -> list[str]:
    """Name each model by the shortest of its names that no other model has."""
    names = [_printable(path.stem) for _, _, path in found]
    for longer in (_within_zoo, _with_zoo, _with_suffix, _with_number):
        counts = Counter(names)
        names = [
            name if counts[name] == 1 else longer(*entry) for name, entry in zip(names, found, strict=True)
        ]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UsageError(f"two models have the one name {twice!r}", hint="rename one of the files")
    return names


def _within_zoo(_number: int, zoo: Path, path: Path) -> str:
    return relative_stem(_relative(zoo, path))


def _with_zoo(number: int, zoo: Path, path: Path) -> str:
    folder = zoo.parent if zoo.is_file() else zoo
    return f"{_printable(folder.resolve().name)}/{_within_zoo(number, zoo, path)}"


def _with_suffix(number: int, zoo: Path, path: Path) -> str:
    return _with_zoo(number, zoo, path) + _printable(path.suffix)


def _with_number(number: int, zoo: Path, path: Path) -> str:
    # Not the absolute path: the same zoo elsewhere must give the same names.
    return f"{number}/{_with_suffix(number, zoo, path)}"


def _relative(zoo: Path, path: Path) -> str:
    return _printable(path.name if zoo.is_file() else path.relative_to(zoo).as_posix())


def relative_stem(relpath: str) -> str:
    """Return a path within a zoo without its suffix.

    Parameters
    ----------
    relpath
        The path, with forward slashes.
    """
    folder, slash, name = relpath.rpartition("/")
    return f"{folder}{slash}{PurePosixPath(name).stem}"


def _printable(text: str) -> str:
    """Return a file name without the bytes that are no text, so that a table can hold it."""
    return clean_text(os.fsencode(text).decode("utf-8", "backslashreplace"))
