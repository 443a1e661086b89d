"""From the configuration to what a probe is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from filterdb.config import ProbeConfig
from filterdb.probe.worker import What

_SHARED: Final = ("kind", "batch", "limit", "seed", "threads", "size", "normalize", "resize", "layers")


def options_of(what: What, settings: ProbeConfig) -> dict[str, Any]:
    """Return the keyword arguments of a probe.

    Parameters
    ----------
    what
        The probe.
    settings
        The configuration.
    """
    shared = {name: getattr(settings, name) for name in _SHARED}
    shared |= {"memory": settings.activations, "data": _path(settings.data)}
    if what == "cka":
        return {**shared, "shuffle": settings.shuffle}
    if what == "saturation":
        return {**shared, **settings.saturation.model_dump()}
    return {**shared, **settings.sparsity.model_dump(), "labels": _path(settings.labels)}


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()
