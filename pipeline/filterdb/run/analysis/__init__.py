"""From a data set file to results, and what results answer."""

from __future__ import annotations
