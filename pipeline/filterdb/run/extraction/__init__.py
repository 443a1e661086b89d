"""From a zoo to a data set file."""

from __future__ import annotations
