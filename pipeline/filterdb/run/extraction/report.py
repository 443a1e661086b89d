"""What an extraction did and found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from filterdb.extract.metadata import Metadata
    from filterdb.store import Tables

Action = Literal["extracted", "fresh", "nothing"]


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What a run did and found.

    Parameters
    ----------
    action
        ``"fresh"`` where the data set file was up to date already, ``"nothing"`` where no model holds a
        filter and none was written.
    path
        The data set file.
    tables
        What the file holds; for ``"nothing"``, what it would hold.
    content_hash
        The file's content hash.
    parsed, reused
        Models that were parsed, and models taken from an earlier run or file.
    metadata
        The join, for what did not match.
    notes
        What went another way than expected, such as an older file that was damaged.
    """

    action: Action
    path: Path
    tables: Tables
    content_hash: str
    parsed: int
    reused: int
    metadata: Metadata
    notes: tuple[str, ...] = ()

    @property
    def statuses(self) -> Counter[str]:
        """Number of models by status."""
        return Counter(self.tables.models["status"])
