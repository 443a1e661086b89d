"""Scans of the filters of a data set, in batches, by whatever does the work."""

from __future__ import annotations
