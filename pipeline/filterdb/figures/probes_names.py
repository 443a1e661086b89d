"""Names of layers in figures of probes: what tells them apart stays, what all have in common goes first."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from filterdb.errors import printable
from filterdb.figures import labels

_PARTS: Final = re.compile(r"[./]")


def shown(names: Sequence[str], operators: Sequence[str], longest: int) -> list[str]:
    """Return names of layers that fit, all different.

    An operator at the end goes, where names stay different; of names that are too long, what they begin with
    alike goes; what is still too long is cut in the middle.

    Parameters
    ----------
    names
        The names, in the order of execution.
    operators
        Their operators, empty where they are not known.
    longest
        Width that a name may have in characters.
    """
    clean = [printable(" ".join(name.split())).strip("/") for name in names]
    short = _without_beginnings(_without_operators(clean, operators), longest)
    return labels.shortened([labels.ends(name, longest) for name in short], longest)


def _without_operators(names: Sequence[str], operators: Sequence[str]) -> list[str]:
    """Take away the last part of a path where it is the operator's name, as exporters write it."""
    bare = []
    for name, operator in zip(names, operators, strict=True):
        head, _, last = name.rpartition("/")
        bare.append(head if head and operator and re.sub(r"_\d+$", "", last) == operator else name)
    counts = Counter(bare)
    return [short if counts[short] == 1 else name for name, short in zip(names, bare, strict=True)]


def _without_beginnings(names: Sequence[str], longest: int) -> list[str]:
    """Take away the parts that names which are too long begin with alike, also from those that are not."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_PARTS.split(name)[0]].append(name)
    result = {name: name for name in names}
    for members in groups.values():
        end = _common(members)
        if end and any(labels.columns(name) > longest for name in members):
            result |= {name: f"…{name[end:]}" for name in members}
    short = [result[name] for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def _common(names: Sequence[str]) -> int:
    """Return how many characters the parts have that all names begin with; one name has nothing in common."""
    if len(set(names)) == 1:
        return 0
    low, high = min(names), max(names)  # what these two begin with, all between them do
    alike = takewhile(lambda place: low[place] == high[place], range(min(len(low), len(high))))
    return max((place + 1 for place in alike if _PARTS.match(low[place])), default=0)
