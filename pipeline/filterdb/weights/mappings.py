"""Which of many named arrays are weights of 2-D convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from filterdb.errors import UsageError, WeightError
from filterdb.weights.entries import Entry, Found
from filterdb.weights.tensors import of_tensor

_SUFFIX = ".weight"
_RANKS = {3: "a 1-D convolution", 5: "a 3-D convolution"}


def of_mapping(tensors: Mapping[str, Any]) -> Found:
    """Find the convolution weights of a state dict: its entries of four dimensions.

    Parameters
    ----------
    tensors
        Tensors or arrays by name.

    Raises
    ------
    UsageError
        If it is no mapping of names to tensors, such as a checkpoint that holds the state dict.
    """
    entries: list[Entry] = []
    unread: list[tuple[str, str]] = []
    for name, value in tensors.items():
        try:
            entries.append(of_tensor(str(name), value))
        except WeightError as error:
            unread.append((str(name), error.reason))
        except UsageError:
            # State dicts hold other things too, such as the settings of quantized layers.
            continue
    if not entries and not unread:
        inner = [name for name, value in tensors.items() if isinstance(value, Mapping)]
        raise UsageError(
            "the mapping holds no tensor" if tensors else "the mapping is empty",
            expected="names and tensors, as model.state_dict() returns them",
            hint=f"its entry {inner[0]!r} is a mapping: pass that" if inner else None,
        )
    found = choose(entries)
    for name, reason in unread:
        found.skip(name.removesuffix(_SUFFIX), reason)
    return found


def choose(entries: Iterable[Entry]) -> Found:
    """Find the convolution weights among named arrays: those of four dimensions.

    A transposed convolution looks like a plain one here. Arrays called ``*.weight`` that have three or five
    dimensions are taken for 1-D and 3-D convolutions, and reported; all others belong to other layers.
    """
    entries = list(entries)
    taken = {entry.name for entry in entries}
    found = Found()
    for entry in entries:
        short = entry.name.removesuffix(_SUFFIX)
        if len(entry.shape) == 4:
            found.layers.append(entry if short in taken else replace(entry, name=short))
        elif short != entry.name and len(entry.shape) in _RANKS:
            found.skip(short, _RANKS[len(entry.shape)], shape=entry.shape)
    return found
