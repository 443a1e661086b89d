"""Figures and the page of results."""

from __future__ import annotations
