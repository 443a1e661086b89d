"""Statistics of filters that add up: of blocks to a record, of records to any group."""

from __future__ import annotations

from filterdb.stats.cube import Cube, merge_records, unpack
from filterdb.stats.moments import Moments, merge
from filterdb.stats.record import CHUNK, SPARSITY_EPS, Read, RecordStats, measure_record
from filterdb.stats.scan import Coordinates, Task, bounds, count, find_range, measure

__all__ = [
    "CHUNK",
    "SPARSITY_EPS",
    "Coordinates",
    "Cube",
    "Moments",
    "Read",
    "RecordStats",
    "Task",
    "bounds",
    "count",
    "find_range",
    "measure",
    "measure_record",
    "merge",
    "merge_records",
    "unpack",
]
