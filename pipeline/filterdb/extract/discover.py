"""Find the models of a zoo and give each a name of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from filterdb.errors import UsageError
from filterdb.types import ModelSource

_PICKLES = (".pt", ".pth", ".pkl", ".ckpt")


def discover(zoos: Sequence[Path]) -> list[ModelSource]:
    """List the ``.onnx`` files of some folders, in the order that gives them their ids.

    A model is named by its file stem. Where stems collide, all that share one are named by their path
    within the zoo, and where these collide too, with the zoo's folder before it.

    Parameters
    ----------
    zoos
        Folders, searched at any depth, or single files.

    Raises
    ------
    UsageError
        If a folder does not exist, or none holds a model.
    """
    if not zoos:
        raise UsageError(
            "no zoo is given", expected="folders of .onnx files", hint="filterdb extract ZOO ..."
        )
    found = [(zoo, path) for zoo in zoos for path in _models(zoo)]
    if not found:
        places = ", ".join(str(zoo) for zoo in zoos)
        raise UsageError(
            "no .onnx file was found", where=places, hint="name the folder that holds the models"
        )
    sources = [
        ModelSource(name, path, _relative(zoo, path))
        for (zoo, path), name in zip(found, _names(found), strict=True)
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
    for folder, subfolders, files in os.walk(zoo):
        subfolders.sort()
        for name in sorted(files):
            if name.lower().endswith(".onnx"):
                yield Path(folder) / name


def _names(found: Sequence[tuple[Path, Path]]) -> list[str]:
    """Name each model by the shortest of its names that no other model has."""
    names = [_printable(path.stem) for _, path in found]
    for longer in (_within_zoo, _with_zoo, _in_full):
        counts = Counter(names)
        names = [
            name if counts[name] == 1 else longer(zoo, path)
            for name, (zoo, path) in zip(names, found, strict=True)
        ]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UsageError(f"the model {twice!r} is listed twice", hint="name each zoo once")
    return names


def _within_zoo(zoo: Path, path: Path) -> str:
    return Path(_relative(zoo, path)).with_suffix("").as_posix()


def _with_zoo(zoo: Path, path: Path) -> str:
    folder = zoo.parent if zoo.is_file() else zoo
    return f"{_printable(folder.resolve().name)}/{_within_zoo(zoo, path)}"


def _in_full(_zoo: Path, path: Path) -> str:
    return _printable(path.absolute().as_posix().lstrip("/"))


def _relative(zoo: Path, path: Path) -> str:
    return _printable(path.name if zoo.is_file() else path.relative_to(zoo).as_posix())


def _printable(text: str) -> str:
    """Return a file name without the bytes that are no text, so that a table can hold it."""
    return os.fsencode(text).decode("utf-8", "backslashreplace").replace("\0", "")
