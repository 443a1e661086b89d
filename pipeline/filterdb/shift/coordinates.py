"""The coordinates of an analysis: a basis, the bins that coefficients are counted in, and their weights.

Distances can be compared only where all three are the same. So they are one value with an identity, which
travels as ``basis.json`` and serves other data too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.shift.basis import Basis
from filterdb.types import Kernel

F64 = NDArray[np.float64]
Policy = Literal["paper", "fixed"]

POLICIES: Final = ("paper", "fixed")
DEFAULT_BINS: Final = 70
MAX_BINS: Final = 10_000
FIXED_LIMITS: Final = (-3.0, 3.0)
"""The range of the policy ``fixed``, whatever the coefficients are."""

FORMAT: Final = "filterdb coordinates"
FORMAT_VERSION: Final = 1

SAME: Final = 1e-9
"""Numbers that differ by no more were computed from the same data, on another type of processor."""

_ORTHONORMAL: Final = 1e-6
_KEYS: Final = (
    "kernel",
    "policy",
    "n",
    "mean",
    "components",
    "explained_variance_ratio",
    "range",
    "bins",
    "weights",
    "coordinates",
)


@dataclass(frozen=True, slots=True)
class CoordinateSystem:
    """Where filters are measured, and how their coefficients are counted and weighed.

    Parameters
    ----------
    kernel
        Size of the filters.
    policy
        Where range and weights come from: :func:`component_weights` says which.
    basis
        Mean and components.
    low, high
        The range that the bins divide.
    bins
        Bins a component.
    weights
        Weight of each component in a distance.
    """

    kernel: Kernel
    policy: Policy
    basis: Basis
    low: float
    high: float
    bins: int
    weights: F64

    @property
    def width(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / self.bins

    @property
    def identity(self) -> str:
        """A hash of all that a distance depends on, to the last bit."""
        parts = {
            "kernel": str(self.kernel),
            "mean": self.basis.mean.tolist(),
            "components": self.basis.components.tolist(),
            "range": [self.low, self.high],
            "bins": self.bins,
            "weights": self.weights.tolist(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def differences(self, other: CoordinateSystem) -> tuple[str, ...]:
        """Name what keeps distances in these coordinates and in others from being compared.

        Parameters
        ----------
        other
            The other coordinates. Numbers may differ by :data:`SAME`.
        """
        if self.kernel != other.kernel:
            return ("kernel",)
        compared = {
            "basis": (
                np.vstack([self.basis.mean, self.basis.components]),
                np.vstack([other.basis.mean, other.basis.components]),
            ),
            "range": (np.array([self.low, self.high]), np.array([other.low, other.high])),
            "bins": (np.array(self.bins), np.array(other.bins)),
            "weights": (self.weights, other.weights),
        }
        return tuple(name for name, (a, b) in compared.items() if not np.allclose(a, b, rtol=0, atol=SAME))

    def to_json(self) -> dict[str, Any]:
        """Return the coordinates as plain containers: what ``basis.json`` holds."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "kernel": str(self.kernel),
            "policy": self.policy,
            "n": self.basis.n,
            "mean": self.basis.mean.tolist(),
            "components": self.basis.components.tolist(),
            "explained_variance_ratio": self.basis.explained.tolist(),
            "range": [self.low, self.high],
            "bins": self.bins,
            "weights": self.weights.tolist(),
            "coordinates": self.identity,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CoordinateSystem:
        """Rebuild coordinates from :meth:`to_json`, whoever has written them.

        Raises
        ------
        ValueError
            With a sentence that says what is wrong with them.
        """
        _check_format(data)
        if missing := [name for name in _KEYS if name not in data]:
            raise ValueError(f"the key {missing[0]!r} is missing")
        kernel = _kernel(data["kernel"])
        k = kernel.size
        low, high = _numbers(data, "range", (2,)).tolist()
        bins, n = _whole(data, "bins", 2, MAX_BINS), _whole(data, "n", 0, 1 << 62)
        if data["policy"] not in POLICIES:
            raise ValueError(f"the policy is {data['policy']!r}, and not one of {', '.join(POLICIES)}")
        if not low < high:
            raise ValueError(f"the range ends at {high}, which is not above its start, {low}")
        components = _numbers(data, "components", (k, k))
        if np.abs(components @ components.T - np.eye(k)).max() > _ORTHONORMAL:
            raise ValueError("the components are not orthonormal")
        explained = _shares(data, "explained_variance_ratio", k)
        basis = Basis(n, _numbers(data, "mean", (k,)), components, explained)
        found = cls(kernel, data["policy"], basis, low, high, bins, _shares(data, "weights", k))
        if data["coordinates"] != found.identity:
            raise ValueError("its content is not what its key 'coordinates' vouches for: it was changed")
        return found


def component_weights(basis: Basis, policy: Policy) -> F64:
    """Return the weight of each component in a distance.

    Parameters
    ----------
    basis
        The basis.
    policy
        ``paper``: the share of variance that the component explains, and the range is that of all
        coefficients. ``fixed``: all the same, and the range is :data:`FIXED_LIMITS`.
    """
    k = len(basis.mean)
    return basis.explained if policy == "paper" else np.full(k, 1 / k)


def _check_format(data: Mapping[str, Any]) -> None:
    if data.get("format") != FORMAT:
        raise ValueError(f"its key 'format' is {str(data.get('format'))[:40]!r}, and not {FORMAT!r}")
    if data.get("format_version") != FORMAT_VERSION:
        found = str(data.get("format_version"))[:40]
        raise ValueError(f"its format version is {found}, and this filterdb reads version {FORMAT_VERSION}")


def _kernel(value: object) -> Kernel:
    if not isinstance(value, str):
        raise ValueError(f"the kernel is {str(value)[:40]!r}, and not a text such as '3x3'")  # noqa: TRY004
    return Kernel.parse(value)


def _whole(data: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = data[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name!r} is {str(value)[:40]}, and not a whole number from {least:,} to {most:,}")
    return value


def _numbers(data: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> F64:
    try:
        # An array of objects would take texts and nested lists of any shape.
        values = np.array(data[name], dtype=None)
    except ValueError:
        values = np.array(None)
    size = " x ".join(map(str, shape))
    if values.dtype.kind not in "if":
        raise ValueError(f"{name!r} is not {size} numbers")
    if values.shape != shape:
        found = " x ".join(map(str, values.shape)) or "1"
        raise ValueError(f"{name!r} is {found} numbers, and not {size}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name!r} holds a NaN or an infinity")
    return values.astype(np.float64)


def _shares(data: Mapping[str, Any], name: str, k: int) -> F64:
    values = _numbers(data, name, (k,))
    if (values < 0).any() or abs(values.sum() - 1) > _ORTHONORMAL:
        raise ValueError(f"{name!r} are not shares, which add up to 1")
    return values
