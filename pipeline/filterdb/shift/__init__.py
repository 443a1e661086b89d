"""Distribution shifts: the basis, the bins, the divergence, and the axes that groups lie on."""

from __future__ import annotations

from filterdb.shift.axes import Axis, make_axis
from filterdb.shift.basis import Basis, fit_basis
from filterdb.shift.divergence import ShiftMatrix, densities, kl_symmetric, shift_matrix

__all__ = [
    "Axis",
    "Basis",
    "ShiftMatrix",
    "densities",
    "fit_basis",
    "kl_symmetric",
    "make_axis",
    "shift_matrix",
]
