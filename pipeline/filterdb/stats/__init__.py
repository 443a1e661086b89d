"""Statistics of filters that add up: of parts to a record, of records to any group."""

from __future__ import annotations

from filterdb.stats.counts import coefficient_counts
from filterdb.stats.moments import Moments, finite_rows, merge, moments_of, scaled

__all__ = ["Moments", "coefficient_counts", "finite_rows", "merge", "moments_of", "scaled"]
