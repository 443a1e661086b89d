"""Tensors of any library as float32 arrays, by what they can do rather than by what they are."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import UsageError, WeightError
from filterdb.types import WeightArray
from filterdb.weights.entries import Entry

MOST_AXES = 32
"""Most axes of a stored array: as many as every numpy has."""


@runtime_checkable
class TensorLike(Protocol):
    """A NumPy array, a PyTorch tensor, or another array that NumPy can read."""

    @property
    def shape(self) -> Any:
        """Its dimensions."""

    @property
    def dtype(self) -> Any:
        """The type of its values."""


def of_tensor(name: str, tensor: Any, *, op_type: str = "", group: int | None = None) -> Entry:
    """Describe a tensor without reading it.

    Raises
    ------
    UsageError
        If it is no tensor.
    WeightError
        If it is one of a lazy layer that has not seen data yet.
    """
    try:
        shape = tuple(int(size) for size in tensor.shape)
        dtype = dtype_name(tensor.dtype)
    except (AttributeError, TypeError) as error:
        raise UsageError(
            f"{type(tensor).__name__} is no tensor", where=name or None, expected="an array of numbers"
        ) from error
    except RuntimeError as error:
        raise WeightError("the weight is not initialized: the layer is lazy") from error
    return Entry(name, shape, dtype, lambda: values_of(tensor), op_type, group)


def dtype_name(dtype: Any) -> str:
    """Return the name of a type of values, the same for all libraries."""
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def values_of(tensor: Any) -> WeightArray:
    """Return the values of a tensor, wherever they are, as a float32 array.

    Raises
    ------
    WeightError
        If it has none, or they are not floating-point numbers.
    """
    return as_float32(_from_torch(tensor) if hasattr(tensor, "detach") else np.asarray(tensor))


def as_float32(array: NDArray[Any]) -> WeightArray:
    """Return floating-point numbers of any width as float32, where they lie if they are that already.

    Raises
    ------
    WeightError
        If they are no floating-point numbers: integers stand for others, and their scale is not known here.
    """
    # Types that NumPy does not know itself, such as bfloat16, have the kind of bytes.
    if array.dtype.kind != "f" and not array.dtype.name.startswith(("bfloat", "float")):
        raise not_floating(array.dtype.name)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def not_floating(dtype: str) -> WeightError:
    """Return the error that says that values are of another type than can be measured."""
    return WeightError(f"the values are of type {dtype}", expected="floating-point numbers")


def _from_torch(tensor: Any) -> NDArray[Any]:
    if getattr(tensor, "is_meta", False):
        raise WeightError("the tensor is on the meta device, where it has no values")
    plain = tensor.detach()
    if getattr(plain, "is_quantized", False):
        plain = plain.dequantize()
    if not plain.is_floating_point():
        raise not_floating(dtype_name(plain.dtype))
    if str(getattr(plain, "layout", "torch.strided")) != "torch.strided":
        plain = plain.to_dense()
    # NumPy has no bfloat16; float() is exact for all that is narrower, and copies no float32.
    return np.asarray(plain.cpu().float().numpy())
