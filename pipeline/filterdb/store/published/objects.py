"""Read the object arrays that pandas pickled into older files, with stand-ins for every part of numpy.

An object array is pickled as calls of numpy's own functions. Those are no place for what a stranger wrote:
``numpy.dtype`` takes a state that can make it believe that plain bytes are pointers. So the few names that
such a pickle needs stand for the classes below, which note down what they are told; the array is made from
the notes, after they have been checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb import schema
from filterdb.errors import CorruptDataError, UnsafeFileError
from filterdb.store import safepickle
from filterdb.store.guard import Room

MAX_BYTES: Final = 1 << 26
"""The texts of 21,000 records take some 5 MB."""

MAX_CELLS: Final = 1 << 26

_CELL_BYTES: Final = 8
_INTEGERS: Final = range(-(2**63), 2**64)

_CODE: Final = re.compile(r"[|<>=]?(?:[biuf][1248]?|\?|O[48]?|[SU]\d{1,5})")
_ENCODINGS: Final = frozenset({"latin1", "latin-1"})
_SCALARS: Final = (str, bool, int, float, type(None))


def read_object_array(data: bytes, *, where: object, room: Room | None = None) -> NDArray[Any]:
    """Read a pickled array of text, numbers and missing cells.

    Parameters
    ----------
    data
        The pickle, of any protocol and of any numpy since Python 2.
    where
        What to name in messages.
    room
        What the array may take of the memory that its table may have; as much as a table where not given.

    Raises
    ------
    UnsafeFileError
        If it asks for any name that an array of such cells does not need.
    CorruptDataError
        If it holds anything else.
    """
    room = room or Room(where)
    # Each byte of a pickle may refer to a cell.
    room.spend(_CELL_BYTES * len(data), "a pickled column")
    budget = _Budget(len(data), where)
    found = safepickle.loads(data, where=where, allowed=_stand_ins(budget), limit=MAX_BYTES)
    try:
        return _made(found, room)
    except (TypeError, ValueError, UnicodeError) as error:
        raise CorruptDataError(
            f"a pickled column is {error}",
            where=where,
            expected="an array of text, numbers and missing cells",
        ) from error


def _stand_ins(budget: _Budget) -> Mapping[tuple[str, str], Any]:
    def encode(text: str, encoding: str = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in _ENCODINGS:
            raise TypeError("bytes that are no text in latin1")
        budget.spend(len(text))
        return text.encode("latin-1")

    def scalar(kind: _Kind, data: bytes | str) -> Any:
        budget.spend(len(data))
        return _numbers(kind, data, 1)[0].item()

    made = {
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _Call(_Kind),
        ("_codecs", "encode"): _Call(encode),
    }
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
        made |= {(module, "_reconstruct"): _Call(_Array), (module, "scalar"): _Call(scalar)}
    return made


class _Budget:
    """How many bytes a pickle may have made: a call costs it six bytes, whatever comes of it."""

    def __init__(self, size: int, where: object) -> None:
        self._left, self._where = 2 * size + 65_536, where

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise UnsafeFileError("a pickle in the file makes far more than it holds", where=self._where)


class _Call:
    """A function that a pickle may call, and not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise TypeError("a pickle that changes a function")


_NDARRAY: Final = _Call(lambda *_: None)


class _Kind:
    """A numpy dtype: its code, and the byte order that its state gives."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or _CODE.fullmatch(code) is None:
            raise TypeError("an array of another type")
        self._code, self._order = code.lstrip("|<>="), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if (
            len(state) < 5
            or state[1] not in ("|", "<", ">", "=")
            or any(part is not None for part in state[2:5])
        ):
            raise TypeError("an array of records")
        self._order = state[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("O") if self.objects else np.dtype(self._order + self._code)

    @property
    def objects(self) -> bool:
        return self._code.startswith("O")


class _Array:
    """A numpy array: what its state says, not looked at yet."""

    __slots__ = ("state",)

    def __init__(self, kind: object, *_: object) -> None:
        if kind is not _NDARRAY:
            raise TypeError("an array of another class")
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _made(found: object, room: Room) -> NDArray[Any]:
    if not isinstance(found, _Array):
        raise TypeError("no array")
    if not isinstance(found.state, tuple) or len(found.state) != 5:
        raise TypeError("an array without content")
    _, shape, kind, fortran, data = found.state
    if (
        not isinstance(kind, _Kind)
        or not 1 <= len(shape) <= 2
        or not all(type(n) is int and n >= 0 for n in shape)
    ):
        raise TypeError("an array of another kind")
    count = math.prod(shape)
    if count > MAX_CELLS:
        raise ValueError(f"an array of {count} cells")
    if not kind.objects:
        order: Literal["F", "C"] = "F" if fortran else "C"
        return _numbers(kind, data, count).reshape(shape, order=order)
    if type(data) is not list or len(data) != count:
        raise ValueError("an array of another length")
    _check_cells(data, room)
    # Numpy lists objects row by row, whatever their order in memory was.
    return np.fromiter(data, object, count).reshape(shape)


def _check_cells(cells: list[Any], room: Room) -> None:
    for cell in cells:
        if isinstance(cell, str):
            # Each time that it is referred to: a column of text holds it as often.
            room.spend(_size(cell), "the texts of a pickled column")
        elif not isinstance(cell, _SCALARS):
            raise TypeError(f"a cell that is neither text nor number: {type(cell).__name__}")
        elif isinstance(cell, int) and cell not in _INTEGERS:
            # Longer ones are hashed and printed again for every cell, which takes minutes.
            raise ValueError("one with an integer of more than 64 bits")


def _size(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > schema.MAX_CELL_BYTES:
        raise ValueError(f"one with a text of {size:,} bytes; {schema.MAX_CELL_BYTES:,} are the most")
    return size


def _numbers(kind: _Kind, data: bytes | str, count: int) -> NDArray[Any]:
    # Python 2 had no bytes of its own.
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(raw, bytes) or kind.objects or len(raw) != count * kind.dtype.itemsize:
        raise ValueError("a number of another length")
    return np.frombuffer(raw, kind.dtype)
