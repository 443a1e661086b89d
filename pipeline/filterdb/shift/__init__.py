"""Distribution shifts: coordinates, divergence, the axes that groups lie on, and how far to trust them."""

from __future__ import annotations

from filterdb.shift.axes import DECILES, MISSING, Axis, combine, depth_deciles, make_axis, part, restrict
from filterdb.shift.basis import Basis, fit_basis
from filterdb.shift.coordinates import (
    DEFAULT_BINS,
    FIXED_LIMITS,
    CoordinateSystem,
    Policy,
    component_weights,
)
from filterdb.shift.divergence import ShiftMatrix, arrange, densities, kl_symmetric, shift_matrix
from filterdb.shift.drift import AxisShift, axis_matrix, axis_shift, cross_shift, group_table
from filterdb.shift.expressions import evaluate
from filterdb.shift.relabel import relabel
from filterdb.shift.resampling import Resampling
from filterdb.shift.uncertainty import uncertainty

__all__ = [
    "DECILES",
    "DEFAULT_BINS",
    "FIXED_LIMITS",
    "MISSING",
    "Axis",
    "AxisShift",
    "Basis",
    "CoordinateSystem",
    "Policy",
    "Resampling",
    "ShiftMatrix",
    "arrange",
    "axis_matrix",
    "axis_shift",
    "combine",
    "component_weights",
    "cross_shift",
    "densities",
    "depth_deciles",
    "evaluate",
    "fit_basis",
    "group_table",
    "kl_symmetric",
    "make_axis",
    "part",
    "relabel",
    "restrict",
    "shift_matrix",
    "uncertainty",
]
