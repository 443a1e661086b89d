"""Distribution shifts: the basis, the bins, the divergence, and the axes that groups lie on."""

from __future__ import annotations

from filterdb.shift.axes import Axis, combine, make_axis, restrict
from filterdb.shift.basis import Basis, fit_basis
from filterdb.shift.divergence import ShiftMatrix, densities, kl_symmetric, shift_matrix
from filterdb.shift.expressions import evaluate
from filterdb.shift.uncertainty import Resampling, uncertainty

__all__ = [
    "Axis",
    "Basis",
    "Resampling",
    "ShiftMatrix",
    "combine",
    "densities",
    "evaluate",
    "fit_basis",
    "kl_symmetric",
    "make_axis",
    "restrict",
    "shift_matrix",
    "uncertainty",
]
