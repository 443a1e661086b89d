"""Read the pickles that pandas and PyTables leave in HDF5 attributes, without running any code.

A pickle is a program. The only instruction of it that reaches outside is the one that looks up a global
name, so an unpickler that refuses every name but a few constructors of plain data is harmless.
"""

from __future__ import annotations

import io
import pickle  # noqa: TID251 - the one place that touches pickles, in order to refuse them
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from filterdb.errors import UnsafeFileError

MAX_BYTES: Final = 1 << 20
"""Attributes of HDF5 hold 64 KiB, or what fits a dense attribute; far below this."""

NOTHING: Final[Mapping[tuple[str, str], Any]] = MappingProxyType({})
"""Allow no global name at all: lists, tuples, dictionaries, strings and numbers only."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: Mapping[tuple[str, str], Any], where: object) -> None:
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self._allowed = allowed
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return self._allowed[module, name]
        raise UnsafeFileError(
            f"a pickle in the file asks for {module}.{name}",
            where=self._where,
            expected="plain containers, strings and numbers",
            hint="do not open this file with pandas either: it would run that code",
        )

    def persistent_load(self, _pid: Any) -> Any:
        raise UnsafeFileError("a pickle in the file refers to an outside object", where=self._where)


def loads(data: bytes, *, where: object, allowed: Mapping[tuple[str, str], Any] = NOTHING) -> Any:
    """Read one pickle, refusing every global name that is not allowed.

    Parameters
    ----------
    data
        The pickle.
    where
        What to name in messages.
    allowed
        What each allowed (module, name) stands for.

    Raises
    ------
    UnsafeFileError
        If the pickle asks for anything else, or is none.
    """
    if len(data) > MAX_BYTES:
        raise UnsafeFileError(f"a pickle of {len(data)} bytes in an attribute", where=where)
    try:
        return _Unpickler(data, allowed, where).load()
    except UnsafeFileError:
        raise
    except Exception as error:
        raise UnsafeFileError(f"an attribute holds a damaged pickle ({error})", where=where) from error
