"""The configuration of a run: YAML with one section a stage, checked before anything starts."""

from __future__ import annotations

from filterdb.config.run_config import RunConfig
from filterdb.config.sections import (
    AnalyzeConfig,
    ExtractConfig,
    FiguresConfig,
    LabelsConfig,
    ProbeConfig,
    RelabelRule,
)
from filterdb.config.values import (
    DEMO,
    LOCAL_SCHEDULERS,
    SCHEDULERS,
    demo_folder,
    parse_size,
    resolve_metadata,
    resolve_zoo,
)

__all__ = [
    "DEMO",
    "LOCAL_SCHEDULERS",
    "SCHEDULERS",
    "AnalyzeConfig",
    "ExtractConfig",
    "FiguresConfig",
    "LabelsConfig",
    "ProbeConfig",
    "RelabelRule",
    "RunConfig",
    "demo_folder",
    "parse_size",
    "resolve_metadata",
    "resolve_zoo",
]
