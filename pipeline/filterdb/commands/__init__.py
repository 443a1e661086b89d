"""The commands, by what they are about: parse, call a stage, say what happened."""

from __future__ import annotations
