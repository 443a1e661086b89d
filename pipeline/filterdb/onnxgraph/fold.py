"""The value of a constant, computed only when a layer asks for it.

Memory stays bounded by the largest step: what a step has used up is dropped at once, and only small
constants are remembered between layers.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import numpy as np
from onnx import SparseTensorProto, TensorProto

from filterdb.errors import WeightError
from filterdb.onnxgraph.graph import Node, Value
from filterdb.onnxgraph.limits import Limits
from filterdb.onnxgraph.operators import evaluate
from filterdb.onnxgraph.tensors import Array, TensorReader

_SMALL = 1 << 16
_KEPT = 1 << 24
_CONDITIONS = 16
# What a step costs even where it makes no bytes, as Identity does: so a chain is not walked over and over.
_STEP = 1 << 14
# Most bytes that one weight may hold at a time, in largest constants.
_LIVE = 3

Plan: TypeAlias = list[tuple[Value, list[Value]]]


class Folder:
    """Computes constants of one model.

    Parameters
    ----------
    tensors
        Reads what is stored.
    limits
        Bounds of what one weight may cost, and all of them.
    """

    def __init__(self, tensors: TensorReader, limits: Limits) -> None:
        self._tensors = tensors
        self._limits = limits
        self._kept: dict[Value, Array] = {}
        self._kept_bytes = 0
        self._decided: dict[Node, bool] = {}
        self._deciding = 0
        self._spent = 0

    def spend(self, steps: float) -> None:
        """Take steps from what the model may cost as a whole.

        Parameters
        ----------
        steps
            How many; a fraction for what is cheaper than following a value to the one it is made of.

        Raises
        ------
        WeightError
            If there is not enough left.
        """
        self._pay(int(steps * _STEP))

    def _pay(self, cost: int) -> None:
        self._spent += cost
        if self._spent > self._limits.model_bytes:
            raise WeightError(
                f"computing the weights of the model takes more than {self._limits.model_bytes} bytes"
            )

    def array(self, value: Value) -> Array:
        """Return the value of a constant.

        Raises
        ------
        WeightError
            If it is not constant, cannot be computed, or asks for too much.
        """
        target = self.source(value)
        self.spend(1)
        plan = self._plan(target)
        uses = Counter(need for _, needs in plan for need in needs)
        uses[target] += 1
        results: dict[Value, Array] = {}
        spent = live = 0
        for step, needs in plan:
            if step not in results:
                made = self._compute(step, results, uses)
                results.update(made)
                size = sum(array.nbytes for array in made.values())
                spent, live = spent + size, live + size
                if step.node is not None and step not in self._kept:
                    self._pay(size)
                if live > _LIVE * self._limits.constant_bytes:
                    raise WeightError(f"computing the weight holds {live} bytes at a time")
                if spent > self._limits.fold_bytes:
                    raise WeightError(f"computing the weight takes more than {self._limits.fold_bytes} bytes")
            for need in needs:
                uses[need] -= 1
                if uses[need] == 0 and need in results:
                    live -= results.pop(need).nbytes
        return results[target]

    def source(self, value: Value) -> Value:
        """Follow results of calls, and of conditions that are constant, to the value inside."""
        value = value.origin()
        while value.node is not None and value.node.bodies and value.constant:
            value = self._branch(value.node, value).origin()
        return value

    def stored_shape(self, tensor: TensorProto | SparseTensorProto) -> tuple[int, ...]:
        """Return a stored tensor's shape, after making sure that its values are there."""
        return self._tensors.check(tensor)

    def _plan(self, target: Value) -> Plan:
        """Return what to compute, each after all that it needs."""
        plan: Plan = []
        seen = {target}
        needs = self._needs(target)
        stack = [(target, needs, iter(needs))]
        while stack:
            value, needs, waiting = stack[-1]
            item = next(waiting, None)
            if item is None:
                self.spend(1)
                plan.append((value, needs))
                stack.pop()
            elif item not in seen:
                seen.add(item)
                inner = self._needs(item)
                stack.append((item, inner, iter(inner)))
        return plan

    def _needs(self, value: Value) -> list[Value]:
        if not value.constant:
            raise WeightError(f"{value.name!r} is not constant")
        if value.node is None or value in self._kept:
            return []
        return [self.source(item) for item in value.node.inputs if item is not None]

    def _compute(self, value: Value, results: dict[Value, Array], uses: Counter[Value]) -> dict[Value, Array]:
        if value in self._kept:
            return {value: self._kept[value]}
        if value.tensor is not None:
            return {value: self._stored(value.tensor)}
        node = value.node
        if node is None:
            raise WeightError(f"{value.name!r} has no value")
        arrays = [None if item is None else results[self.source(item)] for item in node.inputs]
        made = evaluate(node, arrays, self._tensors, self._limits.constant_bytes, self._pay)
        found: dict[Value, Array] = {}
        for output, array in zip(node.outputs, made, strict=False):
            if output is not None and uses[output] > 0:
                found[output] = array
                self._keep(output, array)
        if value not in found:
            raise WeightError(f"{node.op} gives no output {value.name!r}")
        return found

    def _stored(self, tensor: TensorProto | SparseTensorProto) -> Array:
        if isinstance(tensor, SparseTensorProto):
            return self._tensors.sparse(tensor)
        return self._tensors.array(tensor)

    def _keep(self, value: Value, array: Array) -> None:
        # A view would keep alive what it is a view of.
        if array.base is None and array.nbytes <= _SMALL and self._kept_bytes + array.nbytes <= _KEPT:
            self._kept[value] = array
            self._kept_bytes += array.nbytes

    def _branch(self, node: Node, value: Value) -> Value:
        names = [name for name, bound in node.attributes().items() if bound.proto.HasField("g")]
        bodies = dict(zip(names, node.bodies, strict=False))
        if node.op != "If" or set(bodies) != {"then_branch", "else_branch"}:
            raise WeightError(f"the weight is a result of {node.op}")
        body = bodies["then_branch" if self._decide(node) else "else_branch"]
        result = body.outputs[node.outputs.index(value)]
        if result is None:
            raise WeightError(f"the weight is a result of {node.op} that its body does not give")
        return result

    def _decide(self, node: Node) -> bool:
        if node not in self._decided:
            condition = node.inputs[0] if node.inputs else None
            if condition is None or self._deciding >= _CONDITIONS:
                raise WeightError("the weight depends on a condition that cannot be decided")
            self._deciding += 1
            try:
                self._decided[node] = bool(np.all(self.array(condition)))
            finally:
                self._deciding -= 1
        return self._decided[node]
