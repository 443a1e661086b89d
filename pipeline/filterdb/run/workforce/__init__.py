"""Processes and clusters that do the work, and may die while they do."""

from __future__ import annotations
