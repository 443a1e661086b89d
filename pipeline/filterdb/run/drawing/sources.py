"""What code draws: another version of it makes other figures and pages of the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

_KINDS: Final = (".py", ".css", ".html", ".j2", ".jinja", ".js")


@cache
def fingerprint(*packages: str) -> str:
    """Return a hash of the sources of packages, their templates included.

    Parameters
    ----------
    packages
        Their names.
    """
    digest = hashlib.sha256()
    for package in packages:
        for name, file in _sources(resources.files(package), package):
            content = file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        place = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, place)
        elif entry.name.endswith(_KINDS):
            yield place, entry
