"""From the files of a zoo to records: discovery, metadata, and the work on one model."""

from __future__ import annotations
