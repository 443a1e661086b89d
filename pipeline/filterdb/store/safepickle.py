"""Read the pickles that pandas and PyTables leave in HDF5 attributes, without running any code.

A pickle is a program. The only instruction of it that reaches outside is the one that looks up a global
name, so an unpickler that refuses every name but a few constructors of plain data is harmless. What is
left is its appetite: a program of ten bytes can ask for a memo of gigabytes, and one of a hundred for a key
whose hash takes years, so the instructions are read before any of them is obeyed.
"""

from __future__ import annotations

import io
import pickle  # noqa: TID251 - the one place that touches pickles, in order to refuse them
import pickletools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from filterdb.errors import CorruptDataError, UnsafeFileError

MAX_BYTES: Final = 1 << 24
"""Far more than any attribute holds."""

MAX_CONTAINERS: Final = 10_000
"""Lists, and empty dictionaries and sets, of one pickle: one of a byte takes 64 in memory."""

NOTHING: Final[Mapping[tuple[str, str], Any]] = MappingProxyType({})
"""Allow no global name at all: lists, tuples, strings and numbers only."""

_NUMBERING: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_CONTAINERS: Final = frozenset({"EMPTY_DICT", "EMPTY_LIST", "LIST", "EMPTY_SET"})
_KEYED: Final = frozenset({"DICT", "SETITEM", "SETITEMS", "ADDITEMS", "FROZENSET"})
"""A pair of the same pair, and so on, is hashed as often as it unfolds. Nothing that we read has keys."""
_EXPECTED: Final = "lists, tuples, strings and numbers"
_FORBIDDEN: Final = frozenset({"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"})


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
            expected=_EXPECTED,
            hint="do not open this file with pandas either: it would run that code",
        )

    def persistent_load(self, _pid: Any) -> Any:
        raise UnsafeFileError("a pickle in the file refers to an outside object", where=self._where)


def loads(
    data: bytes,
    *,
    where: object,
    allowed: Mapping[tuple[str, str], Any] = NOTHING,
    limit: int = MAX_BYTES,
) -> Any:
    """Read one pickle, refusing every global name that is not allowed.

    Parameters
    ----------
    data
        The pickle.
    where
        What to name in messages.
    allowed
        What each allowed (module, name) stands for. A pickle may call it with anything, and set its state:
        it must be ready for both.
    limit
        How many bytes the pickle may have.

    Raises
    ------
    UnsafeFileError
        If the pickle asks for anything else.
    CorruptDataError
        If it is none.
    """
    if len(data) > limit:
        raise UnsafeFileError(f"a pickle of {len(data)} bytes", where=where)
    try:
        _check_instructions(data, where)
        return _Unpickler(data, allowed, where).load()
    except UnsafeFileError:
        raise
    except Exception as error:
        raise CorruptDataError(f"a damaged pickle ({error})", where=where) from error


def _check_instructions(data: bytes, where: object) -> None:
    containers = 0
    for instruction, argument, _ in pickletools.genops(data):
        # The unpickler makes room for the highest memo number that it meets.
        if instruction.name in _NUMBERING and int(argument or 0) > len(data):
            raise UnsafeFileError(f"a pickle of {len(data)} bytes numbers {argument} objects", where=where)
        if instruction.name in _FORBIDDEN:
            raise UnsafeFileError("a pickle in the file refers to an outside object", where=where)
        if instruction.name in _KEYED:
            raise UnsafeFileError(
                "a pickle in the file fills a dictionary or a set", where=where, expected=_EXPECTED
            )
        containers += instruction.name in _CONTAINERS
        if containers > MAX_CONTAINERS:
            raise UnsafeFileError(
                f"a pickle of {len(data)} bytes makes more than {MAX_CONTAINERS:,} containers", where=where
            )
