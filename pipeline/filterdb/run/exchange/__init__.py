"""Data set files made of others, and what travels."""

from __future__ import annotations
