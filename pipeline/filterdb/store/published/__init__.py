"""Published CNN-Filter-DB files, opened as they are; ``docs/published.md`` says what comes out."""

from __future__ import annotations

from filterdb.store.published.check import check_published
from filterdb.store.published.file import PublishedFile, open_dataset

__all__ = ["PublishedFile", "check_published", "open_dataset"]
