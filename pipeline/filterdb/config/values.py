"""Words that a configuration and a command line are written in: sizes, schedulers, and the shipped zoo."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from filterdb.errors import nearest
from filterdb.types import Kernel

DEMO = "package:demo"
"""Stands for the zoo that ships with the package, wherever it is installed."""

LOCAL_SCHEDULERS = ("local", "threads", "processes")
"""Schedulers without a Dask cluster."""

SCHEDULERS = (*LOCAL_SCHEDULERS, "cluster")
"""All schedulers that have a name; others have an address."""


def as_list(value: object) -> object:
    """Take one word for a list of one."""
    return [value] if isinstance(value, str) else value


def as_kernel(value: object) -> object:
    """Take text such as ``3x3`` for a kernel."""
    if isinstance(value, str):
        return Kernel.parse(value)
    if not isinstance(value, Kernel):
        raise ValueError("a kernel is written like 3x3")  # noqa: TRY004 - what pydantic expects
    return value


def as_bytes(value: object) -> object:
    """Take text such as ``4GiB`` for a number of bytes; ``auto`` stays."""
    return parse_size(value) if isinstance(value, str) and value != "auto" else value


def checked_name(name: str) -> str:
    """Refuse what cannot name a folder."""
    if name.startswith(".") or not name.isprintable() or len(name) > 100 or set(name) & set("/\\"):
        raise ValueError("the name of a folder, without slashes")
    return name


def checked_scheduler(name: str) -> str:
    """Refuse what is neither the name nor the address of a scheduler."""
    if name in SCHEDULERS or re.fullmatch(r"[a-z]+://\S+", name):
        return name
    close = nearest(name, SCHEDULERS)
    meant = f"; did you mean {close!r}?" if close else ""
    raise ValueError(f"{', '.join(SCHEDULERS)}, or an address such as tcp://10.0.0.1:8786{meant}")


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a size in bytes such as ``"4 GiB"`` or ``"500MB"``.

    Parameters
    ----------
    text
        A number with a unit; bytes where there is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]) or len(match[1]) > 24:
        raise ValueError(f"a size is written like 4GiB or 500MB, got {text!r}")
    base = 1024 if match[3] else 1000
    return int(Fraction(match[1]) * base ** " KMGT".index(match[2].upper() or " "))


def demo_folder() -> Path:
    """Return the folder of the zoo that ships with the package."""
    return Path(__file__).parent.parent / "demo"


def resolve_zoo(entry: str) -> Path:
    """Return the folder or file that an entry of ``zoo`` stands for."""
    return demo_folder() / "zoo" if entry == DEMO else Path(entry).expanduser()


def resolve_metadata(entry: str | None) -> Path | None:
    """Return the file that ``metadata`` stands for."""
    if entry is None:
        return None
    return demo_folder() / "models.csv" if entry == DEMO else Path(entry).expanduser()
