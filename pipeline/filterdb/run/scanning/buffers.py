"""Memory that a thread keeps: fresh memory costs more than what is read into it."""

from __future__ import annotations

import threading

import numpy as np

from filterdb.types import Filters

_held = threading.local()


def thread_buffer(rows: int, width: int) -> Filters:
    """Return memory for filters; whoever asks next in the same thread gets the same again.

    Parameters
    ----------
    rows
        How many there must be room for, at least.
    width
        Values of one filter.
    """
    held: Filters | None = getattr(_held, "filters", None)
    if held is None or held.shape[0] < rows or held.shape[1] != width:
        held = _held.filters = np.empty((rows, width), dtype=np.float32)
    return held
