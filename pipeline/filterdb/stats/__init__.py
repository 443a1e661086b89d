"""Statistics of filters that add up: of blocks to a record, of records to any group."""

from __future__ import annotations

from filterdb.stats.cube import Cube, merge_records
from filterdb.stats.moments import Moments, merge
from filterdb.stats.record import CHUNK, RecordStats, measure_record
from filterdb.stats.scan import Coordinates, Task, count, find_range, measure

__all__ = [
    "CHUNK",
    "Coordinates",
    "Cube",
    "Moments",
    "RecordStats",
    "Task",
    "count",
    "find_range",
    "measure",
    "measure_record",
    "merge",
    "merge_records",
]
