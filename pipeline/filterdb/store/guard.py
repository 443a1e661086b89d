"""Refuse HDF5 files that reach outside themselves, or claim far more than they hold.

External links, external storage and virtual data sets make HDF5 read other files, and filters make it
load other libraries. A small file may declare a table of terabytes. Nothing of that is read before it has
been looked at here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Final

import h5py

from filterdb.errors import CorruptDataError, UnsafeFileError

MAX_OBJECTS: Final = 1_000
MAX_CHUNK_BYTES: Final = 1 << 28
MAX_NESTING: Final = 8
"""Types of types: a table is records of arrays of numbers, which makes three."""

MAX_TABLE_BYTES: Final = 1 << 30
"""Of a frame in the fixed layout: the 120 numbers of a million records. Published tables take some 50 MB."""

DEFLATE_RATIO: Final = 1_040
"""Deflate cannot shrink anything to less than 1/1032."""

_KNOWN_FILTERS: Final = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE})


def refuse_unsafe(file: h5py.File, path: Path, *, aliases: Collection[str] = ()) -> None:
    """Walk the whole tree without following anything but plain links, each object once.

    Parameters
    ----------
    file
        The open file.
    path
        Its name, for messages.
    aliases
        Names in the root of which one may be a soft link to another; such a link is not followed.

    Raises
    ------
    UnsafeFileError
        If anything in it refers to another file, or needs code that HDF5 would have to load.
    """
    stack, seen = [file], {_identity(file)}
    while stack:
        group = stack.pop()
        if len(group) > MAX_OBJECTS:
            raise UnsafeFileError(f"{group.name} holds {len(group)} objects", where=path)
        for name in group:
            label = f"{group.name.rstrip('/')}/{name}"
            if label.lstrip("/") in aliases and _target(group, name) in set(aliases) - {name}:
                continue
            _refuse_link(group, name, label, path)
            member = group[name]
            if _identity(member) in seen:
                continue
            seen.add(_identity(member))
            if len(seen) > MAX_OBJECTS:
                raise UnsafeFileError(f"the file holds more than {MAX_OBJECTS:,} objects", where=path)
            if isinstance(member, h5py.Group):
                stack.append(member)
            elif isinstance(member, h5py.Dataset):
                # First of all, because all else may ask for the type as numpy has it.
                _refuse_nesting(member.id.get_type(), label, path)
                _refuse_storage(member, label, path)


def _identity(node: h5py.Group | h5py.Dataset | h5py.Datatype) -> tuple[int, int]:
    info = h5py.h5o.get_info(node.id)
    return (info.fileno, info.addr)


def _target(group: h5py.Group, name: str) -> str | None:
    link = group.get(name, getlink=True)
    return link.path.lstrip("/") if isinstance(link, h5py.SoftLink) else None


def _refuse_link(group: h5py.Group, name: str, label: str, path: Path) -> None:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
        raise UnsafeFileError(f"{label} is {kind} link", where=path, expected="objects of this file only")


def _refuse_nesting(kind: h5py.h5t.TypeID, label: str, path: Path) -> None:
    """Refuse types of types of types: h5py makes dtypes of gigabytes of a few thousand of them."""
    level = [kind]
    for _ in range(MAX_NESTING):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise UnsafeFileError(
        f"{label} is of types nested more than {MAX_NESTING} deep",
        where=path,
        expected="numbers, text, or records of them",
    )


def _inner(kind: h5py.h5t.TypeID) -> list[h5py.h5t.TypeID]:
    if isinstance(kind, h5py.h5t.TypeCompoundID):
        return [kind.get_member_type(place) for place in range(kind.get_nmembers())]
    return [kind.get_super()] if isinstance(kind, h5py.h5t.TypeVlenID | h5py.h5t.TypeArrayID) else []


def _refuse_storage(dataset: h5py.Dataset, label: str, path: Path) -> None:
    if dataset.is_virtual:
        raise UnsafeFileError(
            f"{label} is a virtual data set, which reads other files",
            where=path,
            expected="values of this file only",
        )
    if dataset.external:
        raise UnsafeFileError(
            f"{label} keeps its values in another file", where=path, expected="values of this file only"
        )
    plist = dataset.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code = plist.get_filter(index)[0]
        if code not in _KNOWN_FILTERS:
            raise UnsafeFileError(
                f"{label} uses HDF5 filter {code}", where=path, expected="none, or gzip with shuffle"
            )


def check_extent(dataset: h5py.Dataset, *, where: Path) -> None:
    """Check that the bytes a dataset declares can come from the bytes that the file holds for it.

    Parameters
    ----------
    dataset
        The dataset.
    where
        The file.

    Raises
    ------
    CorruptDataError
        If it declares more, so that nothing is allocated for it.
    """
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), where.stat().st_size)
    compressed = dataset.id.get_create_plist().get_nfilters() > 0
    if declared > stored * (DEFLATE_RATIO if compressed else 1):
        raise CorruptDataError(
            f"{dataset.name} declares {declared:,} bytes and holds {stored:,}",
            where=where,
            expected="values for every row",
        )
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if dataset.chunks and chunk > MAX_CHUNK_BYTES:
        raise CorruptDataError(
            f"a chunk of {dataset.name} takes {chunk:,} bytes",
            where=where,
            expected=f"{MAX_CHUNK_BYTES:,} at most",
        )


class Room:
    """How many bytes the parts of one table may take, all together: a small file may link to one part often.

    Parameters
    ----------
    where
        The file, for messages.
    size
        How many bytes.
    """

    def __init__(self, where: object, size: int = MAX_TABLE_BYTES) -> None:
        self._where, self._size, self._left = where, size, size

    def spend(self, count: int, name: str) -> None:
        """Take some of it, before there is anything in memory that needs it.

        Parameters
        ----------
        count
            How many bytes.
        name
            What needs them.

        Raises
        ------
        CorruptDataError
            If there are not so many left.
        """
        self._left -= count
        if self._left < 0:
            raise CorruptDataError(
                f"the table is too large: there is no room left for {name}",
                where=self._where,
                expected=f"{self._size:,} bytes at most, in all of its columns",
            )
