"""Cases that take long and tell little more than the others: they are left to `make soak`."""

from __future__ import annotations

from typing import Any

import pytest


def seldom(*values: Any) -> Any:
    """Mark the values of one case of a parametrized test."""
    return pytest.param(*values, marks=pytest.mark.soak)
