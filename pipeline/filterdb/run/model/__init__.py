"""One model: its quality, and where it stands in a data set."""

from __future__ import annotations
