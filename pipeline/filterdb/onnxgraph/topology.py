"""How deep every node lies, and which values are constant."""

from __future__ import annotations

from dataclasses import dataclass

from filterdb.errors import NotAModelError
from filterdb.onnxgraph.graph import Graph, Node, Value
from filterdb.onnxgraph.text import clean

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


@dataclass(frozen=True, slots=True)
class Topology:
    """The result of `measure`.

    Parameters
    ----------
    depth
        Nodes on the longest path.
    steps
        Nodes and edges that were looked at.
    """

    depth: int
    steps: int


def measure(graph: Graph) -> Topology:
    """Set the depth of every node, and mark the values that are constant.

    A node with bodies or a called function is passed twice: before its bodies, and after them.

    Raises
    ------
    NotAModelError
        If nodes depend on each other in a circle.
    """
    order, steps = _order(graph.nodes)
    reach: dict[Value, int] = {}
    for step in order:
        if step >= 0:
            _enter(graph.nodes[step], reach)
        else:
            _leave(graph.nodes[~step], reach)
    deepest = max((node.depth for node in graph.nodes if not node.called), default=-1)
    return Topology(deepest + 1, steps)


def _order(nodes: list[Node]) -> tuple[list[int], int]:
    """Return a topological order: a node's index to enter it, the index inverted to leave its bodies."""
    waits: dict[int, int] = {}
    after: dict[int, list[int]] = {}
    for node in nodes:
        for step, needs in _needs(node):
            waits[step] = len(needs)
            for need in needs:
                after.setdefault(need, []).append(step)
    ready = [step for step, count in waits.items() if count == 0]
    ready.reverse()
    order: list[int] = []
    steps = len(waits)
    while ready:
        step = ready.pop()
        order.append(step)
        for later in after.get(step, ()):
            steps += 1
            waits[later] -= 1
            if waits[later] == 0:
                ready.append(later)
    if len(order) < len(waits):
        raise _cycle(nodes, {step for step, count in waits.items() if count > 0}, after)
    return order, steps


def _needs(node: Node) -> list[tuple[int, list[int]]]:
    enter = [step for value in node.inputs if (step := _producer(value)) is not None]
    if node.frame.holder is not None:
        enter.append(node.frame.holder.index)
    if not node.bodies:
        return [(node.index, enter)]
    results = [value for body in node.bodies for value in body.outputs]
    leave = [step for value in results if (step := _producer(value)) is not None]
    return [(node.index, enter), (~node.index, [*leave, node.index])]


def _producer(value: Value | None) -> int | None:
    if value is None or value.node is None:
        return None
    return ~value.node.index if value.node.bodies else value.node.index


def _enter(node: Node, reach: dict[Value, int]) -> None:
    floor = node.frame.floor
    known = [value for value in node.inputs if value is not None]
    depths = [1 + reach.get(value, floor - 1) for value in known if not value.constant]
    constant = not depths
    if node.called:
        # A call is no node of its own: its body stands in its place, and sees the values that are passed.
        node.depth = floor
        for body in node.bodies:
            body.floor = floor
        return
    if node.bodies:
        node.depth = max([floor, *depths])
        for body in node.bodies:
            body.floor = node.depth
        return
    node.depth = 0 if constant else max([floor, *depths])
    for value in node.outputs:
        if value is not None:
            value.constant = constant and node.op not in RANDOM
            reach[value] = node.depth


def _leave(node: Node, reach: dict[Value, int]) -> None:
    results = [value for body in node.bodies for value in body.outputs if value is not None]
    deepest = max([node.depth, *(reach.get(v, -1) for v in results if not v.constant)])
    fixed = all(value is None or value.constant for value in node.inputs)
    if node.called:
        _leave_call(node, reach)
        return
    for place, value in enumerate(node.outputs):
        if value is not None:
            value.constant = _constant_result(node, place, fixed)
            reach[value] = deepest
    if node.outputs and all(value is None or value.constant for value in node.outputs) and fixed:
        node.depth = 0


def _leave_call(node: Node, reach: dict[Value, int]) -> None:
    results = node.bodies[0].outputs
    for place, value in enumerate(node.outputs):
        inner = results[place] if place < len(results) else None
        if value is not None:
            value.constant = inner is not None and inner.constant
            if inner is not None and inner in reach:
                reach[value] = reach[inner]


def _constant_result(node: Node, place: int, fixed: bool) -> bool:
    inner = [body.outputs[place] if place < len(body.outputs) else None for body in node.bodies]
    if any(value is None or not value.constant for value in inner):
        return False
    return fixed and node.op == "If"


def _cycle(nodes: list[Node], stuck: set[int], after: dict[int, list[int]]) -> NotAModelError:
    before: dict[int, int] = {}
    for step in stuck:
        for later in after.get(step, ()):
            if later in stuck:
                before[later] = step
    step = next(iter(before))
    seen: list[int] = []
    while step not in seen[-1000:] and len(seen) < 1000:
        seen.append(step)
        step = before[step]
    circle = seen[seen.index(step) :] if step in seen else seen
    names = [nodes[s if s >= 0 else ~s] for s in reversed(circle)]
    shown = " -> ".join(clean(node.name, 60) or f"{node.op} {node.index}" for node in names[:6])
    return NotAModelError(
        f"the graph has a cycle through the nodes {shown}{' ...' if len(names) > 6 else ''}",
        expected="a graph without cycles",
    )
