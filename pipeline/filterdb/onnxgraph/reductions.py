"""Sums in the order in which onnxruntime adds, because float32 sums depend on it.

onnxruntime's CPU kernels add in one of two orders. Sums and means over trailing axes, and everything
over all axes, go through Eigen's vectorized reduction: two packets of four, from the first
address that is a multiple of 16 bytes. All others run through the reduced values one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from filterdb.onnxgraph.call import Call, normal_axis
from filterdb.onnxgraph.tensors import Array

_PACKET = 4


def _reduction(
    combine: np.ufunc,
    *,
    before: Callable[[Array], Array] | None = None,
    after: Callable[[Array, int], Array] | None = None,
    vectorized: bool = False,
) -> Callable[[Call], Sequence[Array]]:
    """Return an operator.

    Parameters
    ----------
    combine
        What is done to two values.
    before
        What is done to each value first.
    after
        What is done to a result and the number of values in it.
    vectorized
        It runs through Eigen's reduction along trailing axes too.
    """

    def apply(call: Call) -> Sequence[Array]:
        array = call.array(0)
        axes = call.numbers("axes", 1)
        if axes is None and call.node.number("noop_with_empty_axes", 0):
            return [array]
        stored = array.dtype
        if stored.itemsize == 2 and stored.kind not in "iu":
            array = array.astype(np.float32)  # onnxruntime has no kernels for half precision
        rank = array.ndim
        chosen = sorted({normal_axis(axis, rank, call.name) for axis in axes or range(rank)})
        kept = [axis for axis in range(rank) if axis not in chosen]
        values = array if before is None else before(array)
        count = math.prod(array.shape[axis] for axis in chosen)
        rows = values.transpose(*kept, *chosen).reshape(-1, count)
        trailing = all(array.shape[axis] == 1 for axis in kept if chosen and axis > chosen[0])
        if array.dtype == np.float32 and (not kept or (vectorized and trailing)):
            # Squares and magnitudes are not in memory, so that no address decides where packets start.
            result = _by_packets(combine, rows, aligned=before is None)
        else:
            result = combine.accumulate(rows, axis=1, dtype=array.dtype)[:, -1]
        result = (result if after is None else after(result, count)).astype(stored, copy=False)
        keep = call.node.number("keepdims", 1)
        shape = [1 if axis in chosen else size for axis, size in enumerate(array.shape)]
        return [result.reshape(shape if keep else [array.shape[axis] for axis in kept])]

    return apply


def _by_packets(combine: np.ufunc, rows: Array, *, aligned: bool) -> Array:
    count = rows.shape[1]
    starts = -np.arange(len(rows)) * count % _PACKET if aligned else np.zeros(len(rows), np.int64)
    result = np.empty(len(rows), rows.dtype)
    for start in np.unique(starts):
        chosen = starts == start
        result[chosen] = _row_by_packets(combine, rows[chosen], min(int(start), count))
    return result


def _row_by_packets(combine: np.ufunc, rows: Array, start: int) -> Array:
    count = rows.shape[1]
    packets = (count - start) // _PACKET
    end = start + packets * _PACKET
    if packets == 0:
        return np.asarray(combine.accumulate(rows, axis=1)[:, -1])
    parts = rows[:, start:end].reshape(len(rows), packets, _PACKET)
    total = parts[:, 0]
    if packets > 1:
        pairs = packets // 2 * 2
        total = combine.accumulate(parts[:, 0:pairs:2], axis=1)[:, -1]
        total = combine(total, combine.accumulate(parts[:, 1:pairs:2], axis=1)[:, -1])
        if packets > pairs:
            total = combine(total, parts[:, pairs])
    result = combine(combine(total[:, 0], total[:, 2]), combine(total[:, 1], total[:, 3]))
    for place in (*range(start), *range(end, count)):
        result = combine(result, rows[:, place])
    return np.asarray(result)


def _extreme(function: Callable[..., Any]) -> Callable[[Call], Sequence[Array]]:
    def apply(call: Call) -> Sequence[Array]:
        array = call.array(0)
        axes = call.numbers("axes", 1)
        if axes is None and call.node.number("noop_with_empty_axes", 0):
            return [array]
        return [np.asarray(function(array, axis=axes, keepdims=bool(call.node.number("keepdims", 1))))]

    return apply


def _divided(total: Array, count: int) -> Array:
    return np.asarray(total / np.asarray(count, total.dtype))


def _root(total: Array, _: int) -> Array:
    return np.asarray(np.sqrt(total))


OPERATORS: Mapping[str, Any] = {
    "ReduceSum": _reduction(np.add, vectorized=True),
    "ReduceMean": _reduction(np.add, after=_divided, vectorized=True),
    "ReduceProd": _reduction(np.multiply),
    "ReduceL1": _reduction(np.add, before=np.abs),
    "ReduceL2": _reduction(np.add, before=np.square, after=_root),
    "ReduceSumSquare": _reduction(np.add, before=np.square),
    "ReduceMax": _extreme(np.max),
    "ReduceMin": _extreme(np.min),
}
