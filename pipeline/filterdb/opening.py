"""Opening files that anybody may have made, and what goes wrong then."""

from __future__ import annotations

import errno
import lzma
import os
import stat
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

NO_HEADER: Final = (
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
"""What numpy raises where an array has no header: it takes it for Python, and parses it."""

NO_ARCHIVE: Final = (
    EOFError,
    NotImplementedError,
    RuntimeError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Python raises where an archive is damaged, encrypted or packed in a way that it does not know."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read: a pipe would wait for a writer for ever, and a device may have no end.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        If it is none, or cannot be opened.
    """
    handle = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "this is a folder, a device or a pipe, no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def map_array(path: Path) -> NDArray[Any]:
    """Map the array of a ``.npy`` file; it cannot be written to.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it holds no array of numbers.
    """
    open_regular(path).close()
    try:
        # Not ``np.load``, which takes an archive of arrays for an array.
        array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except ValueError:
        raise
    except NO_HEADER as error:
        raise ValueError(f"{path.name} has no header of an array") from error
    if not array.itemsize:
        raise ValueError(f"{path.name} holds values of no size")
    return array
