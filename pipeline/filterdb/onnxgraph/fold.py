"""The value of a constant, computed only when a layer asks for it.

Memory stays bounded by the largest step: what a step has used up is dropped at once, and only small
constants are remembered between layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx

from filterdb.errors import WeightError
from filterdb.onnxgraph.graph import Node, Value
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.operators import evaluate
from filterdb.onnxgraph.tensors import Array, TensorReader

_SMALL = 1 << 16
_KEPT = 1 << 24
_CONDITIONS = 16


class Folder:
    """Computes constants of one model.

    Parameters
    ----------
    tensors
        Reads what is stored.
    limits
        Bounds of what one weight may cost.
    """

    def __init__(self, tensors: TensorReader, limits: Limits) -> None:
        self._tensors = tensors
        self._limits = limits
        self._kept: dict[Value, Array] = {}
        self._kept_bytes = 0
        self._conditions = 0

    def array(self, value: Value) -> Array:
        """Return the value of a constant.

        Raises
        ------
        WeightError
            If it is not constant, cannot be computed, or asks for too much.
        """
        value = self.source(value)
        order, uses = self._plan(value)
        results: dict[Value, Array] = {}
        spent = 0
        for step in order:
            if step in results:
                continue
            made = self._compute(step, results, uses)
            spent += sum(array.nbytes for array in made.values())
            if spent > self._limits.fold_bytes:
                raise WeightError(f"computing the weight takes more than {self._limits.fold_bytes} bytes")
            results.update(made)
            for used in self.inputs(step):
                uses[used] -= 1
                if uses[used] == 0:
                    results.pop(used, None)
        return results[value]

    def source(self, value: Value) -> Value:
        """Follow calls and decided conditions to the value inside."""
        value = value.origin()
        while value.node is not None and value.node.bodies and value.constant:
            value = self._branch(value.node, value).origin()
        return value

    def inputs(self, value: Value) -> list[Value]:
        """Return what a value is computed from."""
        if value.node is None:
            return []
        return [self.source(item) for item in value.node.inputs if item is not None]

    def _plan(self, target: Value) -> tuple[list[Value], Counter[Value]]:
        order: list[Value] = []
        uses: Counter[Value] = Counter({target: 1})
        seen: set[Value] = {target}
        stack: list[tuple[Value, list[Value]]] = [(target, self._inputs_to_fold(target))]
        uses.update(stack[0][1])
        while stack:
            value, waiting = stack[-1]
            if not waiting:
                order.append(value)
                stack.pop()
                continue
            item = waiting.pop()
            if item not in seen:
                seen.add(item)
                needs = self._inputs_to_fold(item)
                uses.update(needs)
                stack.append((item, needs))
        return order, uses

    def _inputs_to_fold(self, value: Value) -> list[Value]:
        if not value.constant:
            raise WeightError(f"{value.name!r} is not constant")
        return [] if value in self._kept else self.inputs(value)

    def _compute(self, value: Value, results: dict[Value, Array], uses: Counter[Value]) -> dict[Value, Array]:
        if value in self._kept:
            return {value: self._kept[value]}
        if value.tensor is not None:
            return {value: self.stored(value.tensor)}
        node = value.node
        if node is None:
            raise WeightError(f"{value.name!r} has no value")
        arrays = [None if item is None else results[self.source(item)] for item in node.inputs]
        made = evaluate(node, arrays, self._tensors, self._limits.constant_bytes)
        found: dict[Value, Array] = {}
        for output, array in zip(node.outputs, made, strict=False):
            if output is not None and uses[output] > 0:
                found[output] = array
                self._keep(output, array)
        if value not in found:
            raise WeightError(f"{node.op} gives no output {value.name!r}")
        return found

    def stored(self, tensor: onnx.TensorProto | onnx.SparseTensorProto) -> Array:
        """Return a stored tensor's values."""
        if isinstance(tensor, onnx.SparseTensorProto):
            return self._tensors.sparse(tensor)
        return self._tensors.array(tensor)

    def check(self, tensor: onnx.TensorProto | onnx.SparseTensorProto) -> tuple[int, ...]:
        """Return a stored tensor's shape, without its values."""
        return self._tensors.check(tensor)

    def _keep(self, value: Value, array: Array) -> None:
        if array.nbytes <= _SMALL and self._kept_bytes + array.nbytes <= _KEPT and array.base is None:
            self._kept[value] = array
            self._kept_bytes += array.nbytes

    def _branch(self, node: Node, value: Value) -> Value:
        condition = node.inputs[0] if node.inputs else None
        bodies = dict(zip(_graph_names(node), node.bodies, strict=False))
        if node.op != "If" or condition is None or set(bodies) != {"then_branch", "else_branch"}:
            raise WeightError(f"the weight is a result of {node.op}")
        if self._conditions >= _CONDITIONS:
            raise WeightError("conditions depend on each other too deeply")
        self._conditions += 1
        try:
            chosen = bool(np.all(self.array(condition)))
        finally:
            self._conditions -= 1
        place = next(i for i, output in enumerate(node.outputs) if output is value)
        result = bodies["then_branch" if chosen else "else_branch"].outputs[place]
        if result is None:
            raise WeightError(f"the weight is a result of {node.op} that its body does not give")
        return result


def _graph_names(node: Node) -> Sequence[str]:
    return [name for name, bound in node.attributes().items() if bound.proto.HasField("g")]
