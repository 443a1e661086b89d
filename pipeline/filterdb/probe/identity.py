"""What a probe's data is, as a hash: the same data elsewhere, or later, is the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from filterdb.errors import UsageError
from filterdb.probe.extras import require
from filterdb.probe.images import image_files

_BLOCK: Final = 1 << 20


def data_identity(data: Path | None, labels: Path | None) -> str:
    """Return a hash of everything that a run reads besides models.

    Parameters
    ----------
    data
        A file or a folder of images; scikit-learn's digits where not given.
    labels
        A file of labels, if one is given; those beside the data count as well.

    Raises
    ------
    UsageError
        If something is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in _files(data, labels):
        digest.update(f"{len(name)} {name} ".encode("utf-8", "surrogateescape"))
        digest.update(_hash(path))
    if data is None:
        digest.update(f"digits of scikit-learn {require('sklearn').__version__}".encode())
    return digest.hexdigest()


def _files(data: Path | None, labels: Path | None) -> list[tuple[str, Path]]:
    found = [] if labels is None else [("labels", labels)]
    if data is None:
        return found
    if data.is_dir():
        return [*found, *((path.relative_to(data).as_posix(), path) for path in image_files(data))]
    beside = data.with_name(f"{data.stem}.labels.npy")
    return [*found, ("data", data), *([("beside", beside)] if beside.exists() else [])]


def _hash(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise UsageError(
            f"the file cannot be read: {error.strerror}",
            where=path,
            expected="an .npz or .npy file, a folder of images, or a file of labels",
        ) from error
    return digest.digest()
