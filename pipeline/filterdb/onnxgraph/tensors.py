"""Stored tensors as arrays, whatever their type and wherever their bytes lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from filterdb.errors import WeightError
from filterdb.onnxgraph.files import ExternalFiles, MappedFile
from filterdb.onnxgraph.text import as_text
from filterdb.onnxgraph.wire import Blobs
from filterdb.types import Origin

Array = NDArray[Any]

_PACKED = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
# Two bits are newer than the oldest onnx that is supported.
_BITS: Mapping[int, int] = {
    code: _PACKED[name] for name, code in TensorProto.DataType.items() if name in _PACKED
}
SMALL_INTEGERS: Mapping[np.dtype[Any], int] = {
    np.dtype(ml_dtypes.int4): 4,
    np.dtype(ml_dtypes.uint4): 4,
    np.dtype(ml_dtypes.int2): 2,
    np.dtype(ml_dtypes.uint2): 2,
}
"""Whole numbers of less than a byte, and their bits."""
MOST_AXES = 64
"""More than numpy has; what has more has no shape worth multiplying."""
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True, slots=True)
class TensorReader:
    """Turns the tensors of one model into arrays; checks sizes before it allocates anything.

    Parameters
    ----------
    file
        The model file.
    blobs
        Where the tensors are that the parsed message holds only tokens of.
    external
        The files beside the model.
    limit
        Most bytes of one array.
    """

    file: MappedFile
    blobs: Blobs
    external: ExternalFiles
    limit: int

    def array(self, tensor: TensorProto) -> Array:
        """Return the values in their stored type; not writable where they need no conversion."""
        shape, dtype = shape_of(tensor), dtype_of(tensor)
        count = math.prod(shape)
        self._check_dense_size(shape, dtype)
        raw = self._bytes(tensor, count, dtype)
        if raw is None:
            return _from_typed_fields(tensor)
        bits = _BITS.get(tensor.data_type)
        if bits is None:
            return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
        return _unpacked(raw, bits, count, dtype).reshape(shape)

    def check(self, tensor: TensorProto | SparseTensorProto) -> tuple[int, ...]:
        """Return the shape of a tensor after making sure that its values are there."""
        shape = shape_of(tensor)
        if isinstance(tensor, TensorProto):
            self._bytes(tensor, math.prod(shape), dtype_of(tensor))
        else:
            self._check_dense_size(shape, dtype_of(tensor.values))
        return shape

    def origin_of(self, array: Array) -> Origin | None:
        """Return where an array lies in the files, or nothing where it was computed or copied."""
        offset = self.file.offset_of(array)
        return self.external.origin_of(array) if offset is None else Origin("", offset)

    def release(self) -> None:
        """Let the system drop what was read of all files."""
        self.file.release()
        self.external.release()

    def sparse(self, sparse: SparseTensorProto) -> Array:
        """Return a sparse tensor as a dense array."""
        shape = shape_of(sparse)
        self._check_dense_size(shape, dtype_of(sparse.values))
        values, indices = self.array(sparse.values), self.array(sparse.indices).astype(np.int64)
        count = math.prod(shape)
        if indices.ndim == 2:
            if indices.shape[1] != len(shape):
                raise WeightError("the indices of a sparse tensor do not fit its shape")
            inside = bool((indices >= 0).all() and (indices < np.array(shape)).all())
            flat = indices @ np.array([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)
        else:
            inside = bool(((indices >= 0) & (indices < count)).all())
            flat = indices
        if not inside or flat.shape != values.shape:
            raise WeightError("the indices of a sparse tensor do not fit its shape")
        dense = np.zeros(count, values.dtype)
        dense[flat] = values
        return dense.reshape(shape)

    def _check_dense_size(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if math.prod(shape) * dtype.itemsize > self.limit:
            raise WeightError(f"a tensor of shape {list(shape)} is beyond the limit of {self.limit} bytes")

    def _bytes(self, tensor: TensorProto, count: int, dtype: np.dtype[Any]) -> memoryview | None:
        """Return a tensor's bytes, or None where its values are in typed fields."""
        bits = _BITS.get(tensor.data_type)
        need = count * dtype.itemsize if bits is None else -(-count * bits // 8)
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor, need)
        if tensor.HasField("raw_data"):
            return self._inline(tensor, need)
        _check_typed_fields(tensor, count)
        return None

    def _inline(self, tensor: TensorProto, need: int) -> memoryview:
        raw = tensor.raw_data
        span = self.blobs.find(raw)
        view = memoryview(raw) if span is None else self.file.view[span.start : span.start + span.length]
        if len(view) != need:
            raise WeightError(
                f"tensor {tensor.name!r} of shape {list(tensor.dims)} needs {need} bytes, but has {len(view)}"
            )
        return view

    def _external(self, tensor: TensorProto, need: int) -> memoryview:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        try:
            offset, length = int(entries.get("offset") or 0), int(entries.get("length") or need)
        except ValueError:
            raise WeightError(
                f"tensor {tensor.name!r}: offset or length of external data is no number"
            ) from None
        if length != need:
            raise WeightError(
                f"tensor {tensor.name!r} of shape {list(tensor.dims)} needs {need} bytes, but its external"
                f" data has {length}"
            )
        return self.external.read(as_text(entries.get("location", "")), offset, length)


def shape_of(tensor: TensorProto | SparseTensorProto) -> tuple[int, ...]:
    """Return the declared shape."""
    if len(tensor.dims) > MOST_AXES:
        raise WeightError(f"a tensor has {len(tensor.dims)} dimensions, more than {MOST_AXES}")
    shape = tuple(int(size) for size in tensor.dims)
    if any(size < 0 for size in shape):
        raise WeightError(f"a tensor has the shape {list(shape)}")
    return shape


def dtype_of(tensor: TensorProto) -> np.dtype[Any]:
    """Return the numpy type of a tensor's values."""
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise WeightError(f"tensor {tensor.name!r} holds no numbers")
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except KeyError:
        raise WeightError(f"tensor {tensor.name!r} has the unknown data type {tensor.data_type}") from None


def all_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of a model, at any nesting."""
    graphs = [model.graph]
    nodes = [function.node for function in model.functions]
    attributes = [attribute for function in model.functions for attribute in function.attribute_proto]
    while graphs or nodes or attributes:
        if graphs:
            graph = graphs.pop()
            nodes.append(graph.node)
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        elif nodes:
            attributes = [attribute for node in nodes.pop() for attribute in node.attribute]
        for attribute in attributes:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)
            if attribute.HasField("g"):
                graphs.append(attribute.g)
            graphs.extend(attribute.graphs)
        attributes = []


def external_locations(model: onnx.ModelProto) -> list[str]:
    """Return where a model says that its weights are kept."""
    found = set()
    for tensor in all_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            found.add(as_text(next((e.value for e in tensor.external_data if e.key == "location"), "")))
    return sorted(found)


def _check_typed_fields(tensor: TensorProto, count: int) -> None:
    have = max(len(getattr(tensor, name)) for name in _TYPED_FIELDS)
    need = count * 2 if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else count
    bits = _BITS.get(tensor.data_type)
    if have != (need if bits is None else -(-need * bits // 8)):
        raise WeightError(
            f"tensor {tensor.name!r} of shape {list(tensor.dims)} needs {need} values, but has {have}"
        )


def _from_typed_fields(tensor: TensorProto) -> Array:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise WeightError(f"tensor {tensor.name!r} cannot be read: {error}") from error


def _unpacked(raw: memoryview, bits: int, count: int, dtype: np.dtype[Any]) -> Array:
    packed = np.frombuffer(raw, np.uint8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (packed[:, None] >> shifts & ((1 << bits) - 1)).reshape(-1)[:count]
    return values.view(dtype) if dtype == ml_dtypes.float4_e2m1fn else from_low_bits(values, dtype)


def from_low_bits(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return whole numbers as a type of two or four bits, from which the bits above are cut off."""
    bits = SMALL_INTEGERS[dtype]
    low = values & ((1 << bits) - 1)
    if dtype.name.startswith("u"):
        return low.astype(dtype)
    half = 1 << (bits - 1)
    return ((low.astype(np.int8) ^ half) - half).astype(dtype)
