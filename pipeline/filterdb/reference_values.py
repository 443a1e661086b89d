"""What was published of CNN-Filter-DB, to stand beside what is computed from the same files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_RECOMPUTED: Final = "recomputed from the published file by a third party"
_IMAGE: Final = "read off the published image"
_NOTEBOOK: Final = "the notebook of that version"


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """One published number, or several that belong together.

    Parameters
    ----------
    version
        The version of CNN-Filter-DB that it is of.
    name
        What it is: of which axis, and which summary of its pairs of groups.
    values
        The numbers.
    source
        Where they come from.
    precision
        How far a right result may lie from them; ``None`` where that is not known.
    """

    version: str
    name: str
    values: tuple[float, ...]
    source: str
    precision: float | None


def _drift(axis: str, mean: float, median: float, largest: float) -> tuple[ReferenceValue, ...]:
    named = {"mean": mean, "median": median, "largest": largest}
    return tuple(
        ReferenceValue("v1.0.0", f"drift by {axis}, {name}", (value,), _IMAGE, 0.01)
        for name, value in named.items()
    )


REFERENCE_VALUES: Final = (
    ReferenceValue("v1.0.0", "models", (647,), _RECOMPUTED, 0),
    ReferenceValue("v1.0.0", "records", (21_436,), _RECOMPUTED, 0),
    ReferenceValue("v1.0.0", "filters", (1_464_797_156,), "the paper", 0),
    ReferenceValue(
        "v1.0.0",
        "explained variance ratio",
        (0.39815, 0.18326, 0.11704, 0.09853, 0.06576, 0.05522, 0.03008, 0.02823, 0.02374),
        _RECOMPUTED,
        5e-6,
    ),
    ReferenceValue(
        "v1.0.0",
        "mean of the scaled filters",
        (
            *(-0.04262863, -0.04113670, -0.04461834, -0.04071190, -0.03574134),
            *(-0.04268694, -0.04350573, -0.04138637, -0.04486743),
        ),
        _RECOMPUTED,
        5e-9,
    ),
    *_drift("Task", 0.171, 0.109, 0.70),
    *_drift("Visual Category", 0.429, 0.418, 1.36),
    *_drift("depth_decile", 0.046, 0.018, 0.19),
    ReferenceValue(
        "v0.1.0",
        "cumulative explained variance ratio",
        (0.40, 0.56, 0.67, 0.76, 0.84, 0.89, 0.93, 0.96, 1.0),
        _NOTEBOOK,
        0.005,
    ),
    ReferenceValue("v0.1.0", "drift by Task, mean", (0.39,), f"{_NOTEBOOK}, a box plot by eye", None),
    ReferenceValue("v0.1.0", "drift by Task, median", (0.18,), f"{_NOTEBOOK}, a box plot by eye", None),
)
"""The largest drift is of face detection and GAN discriminators by task, of textures and plants by category,
and of the first two deciles and the last by depth. The mean that the notebook of v0.1.0 prints, -0.031983 in
all nine places, is left out: a float32 sum that is stuck at 2^24.
"""
