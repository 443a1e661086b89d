"""The stages, and everything they run on: processes, Dask, staging, progress, provenance."""

from __future__ import annotations
