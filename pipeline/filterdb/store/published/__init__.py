"""Published CNN-Filter-DB files, opened as they are; ``docs/published.md`` says what comes out."""

from __future__ import annotations

from filterdb.store.published.check import check_published
from filterdb.store.published.file import PublishedFile, open_dataset
from filterdb.store.published.part import PublishedPart

__all__ = ["PublishedFile", "PublishedPart", "check_published", "open_dataset"]
