"""Damaged files: whatever the bytes, the outcome is a record or an error with a name.

The sweep runs in a process of its own, because a parser written in C may take it down with it, and with a
limit on memory, because a few bytes may ask for a lot.

``FILTERDB_MUTATIONS`` sets how many files are damaged.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from filterdb.errors import ModelError
from filterdb.onnxgraph import read_layers
from filterdb.testing import (
    branch_model,
    conv_net,
    dense_model,
    graph_of,
    model_of,
    move_outside,
    random_weight,
    tensor,
    weight_model,
)
from filterdb.types import ModelRecord

NUMBERS = [0, 1, 2, 3, -1, 7, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63)]
OPERATORS = [schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""]
COUNT = int(os.environ.get("FILTERDB_MUTATIONS", "300"))
MEMORY = 4 << 30
# tracemalloc sees what numpy and Python allocate: a few copies of the largest seed, whatever it says it is.
TRACKED = 64 << 20


def synthetic_seeds(folder: Path) -> Iterator[bytes]:
    weight = random_weight((4, 3, 3, 3))
    yield conv_net([(4, 3, 3, 3), (4, 1, 3, 3), (2, 4, 1, 1)]).SerializeToString()
    yield conv_net([(32, 16, 3, 3), (16, 32, 3, 3)]).SerializeToString()
    yield branch_model((4, 3, 3, 3), (4, 3, 5, 5)).SerializeToString()
    yield dense_model(6).SerializeToString()
    stored = [
        tensor("q", np.ones((4, 3, 3, 3), np.int8)),
        tensor("s", np.full(4, 0.1, np.float32)),
        tensor("z", np.zeros(4, np.int8)),
    ]
    dequantize = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0)
    yield weight_model([dequantize], stored, opset=21).SerializeToString()
    nodes = [
        helper.make_node("Constant", [], ["a"], value=tensor("", weight)),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("Pad", ["c", "pads"], ["d"]),
        helper.make_node("Tile", ["d", "times"], ["e"]),
        helper.make_node("Slice", ["e", "from", "to"], ["w"]),
    ]
    numbers = {"shape": [4, 3, 9], "pads": [0] * 6, "times": [1, 2, 1], "from": [0], "to": [3]}
    weights = [tensor(name, np.array(values, np.int64)) for name, values in numbers.items()]
    yield weight_model(nodes, weights).SerializeToString()
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    inner = helper.make_function(
        "f", "A", ["p", "w"], ["q"], [helper.make_node("Conv", ["p", "w"], ["q"])], imports
    )
    call = helper.make_node("A", ["p", "w"], ["q"], domain="f")
    outer = helper.make_function("f", "B", ["p", "w"], ["q"], [call], imports)
    calls = [helper.make_node("B", ["x", "w"], ["y"], domain="f")]
    graph = graph_of(calls, weights=[tensor("w", weight)])
    yield model_of(graph, functions=[inner, outer], domains=["f"]).SerializeToString()
    sparse = weight_model([])
    values, places = tensor("w", np.ones(3, np.float32)), tensor("", np.array([1, 5, 9], np.int64))
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, (4, 3, 3, 3)))
    yield sparse.SerializeToString()
    outside = conv_net([(4, 3, 3, 3)])
    move_outside(outside, folder)
    yield outside.SerializeToString()
    typed = helper.make_tensor("w", TensorProto.FLOAT16, weight.shape, weight.reshape(-1))
    yield weight_model([], [typed]).SerializeToString()


def seeds(folder: Path) -> list[bytes]:
    zoo = Path(os.environ.get("FILTERDB_REAL_ZOO", Path(__file__).parents[3] / "shared" / "zoo"))
    real = [path.read_bytes() for path in sorted(zoo.glob("*.onnx")) if path.stat().st_size < 300_000]
    return [*synthetic_seeds(folder), *real]


def damage(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a copy with damaged bytes, or one that still parses but makes no sense, or both."""
    if rng.random() < 0.5:
        data = disturb(data, rng)
    if rng.random() < 0.4:
        return data
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        if len(out) < 2:
            break
        # Mostly in the structure, which is at the start and between the weights.
        start = rng.randrange(len(out) if rng.random() < 0.5 else min(len(out), 600))
        stop = min(len(out), start + rng.choice([1, 1, 2, 4, 9, 40]))
        first, last, put = patch(out, other, start, stop, rng)
        out[first:last] = put
    return bytes(out or b"\0")


def patch(
    out: bytearray, other: bytes, start: int, stop: int, rng: random.Random
) -> tuple[int, int, bytes | bytearray]:
    cut = rng.randrange(len(other))
    return rng.choice(
        [
            (start, start + 1, bytes([out[start] ^ 1 << rng.randrange(8)])),
            (start, start + 1, bytes([out[start] ^ 1 << rng.randrange(8)])),
            (start, stop, rng.randbytes(stop - start)),
            (start, stop, b"\xff" * (stop - start)),
            (start, stop, b""),
            (start, start, rng.randbytes(stop - start)),
            (start, start, out[start : start + rng.randrange(1, 2_000)]),
            (max(start, 1), len(out), b""),
            (start, stop, other[cut : cut + rng.randrange(1, 5_000)]),
        ]
    )


def disturb(data: bytes, rng: random.Random) -> bytes:
    """Return a model that still parses, with names, operators, types and numbers exchanged."""
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return data
    nodes, stored = list(model.graph.node), list(model.graph.initializer)
    nodes += [node for function in model.functions for node in function.node]
    names = [name for node in nodes for name in (*node.input, *node.output)] + [t.name for t in stored]
    for _ in range(rng.choice([1, 2, 4])):
        if nodes:
            disturb_node(rng.choice(nodes), names, rng)
        if stored:
            disturb_tensor(rng.choice(stored), rng)
    return model.SerializeToString()


def disturb_node(node: onnx.NodeProto, names: list[str], rng: random.Random) -> None:
    node.op_type = rng.choice([node.op_type, rng.choice(OPERATORS)])
    for ends in (node.input, node.output):
        if ends and rng.random() < 0.5:
            ends[rng.randrange(len(ends))] = rng.choice(names)
    for attribute in node.attribute:
        if rng.random() < 0.3:
            attribute.i = rng.choice(NUMBERS)
            attribute.ints.append(rng.choice(NUMBERS))


def disturb_tensor(stored: TensorProto, rng: random.Random) -> None:
    stored.data_type = rng.choice([stored.data_type, rng.randrange(28)])
    if stored.dims and rng.random() < 0.5:
        stored.dims[rng.randrange(len(stored.dims))] = rng.choice(NUMBERS)
    if stored.raw_data and rng.random() < 0.3:
        stored.raw_data = rng.randbytes(len(stored.raw_data))


def sweep(count: int, seed: int) -> Counter[str]:
    """Damage and read that many files in this process; return how it ended, by kind."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = seeds(folder)
        path = folder / "m.onnx"
        for place in range(count):
            path.write_bytes(damage(rng.choice(originals), rng.choice(originals), rng))
            tracemalloc.start()
            try:
                record, _ = read_layers(path)
                assert isinstance(record, ModelRecord)
                kind = "record" if record.layers else "record without layers"
                reasons = " ".join(skipped.reason for skipped in record.skipped)
                if "unexpected" in reasons:
                    print(f"file {place} of seed {seed}: {reasons}", file=sys.stderr)
                    kind = "unexpected reason"
            except ModelError as error:
                kind = type(error).__name__
            except Exception:
                print(f"file {place} of seed {seed}:\n{traceback.format_exc()}", file=sys.stderr)
                kind = "CRASH"
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            outcomes[kind] += 1
            if peak > TRACKED:
                print(f"file {place} of seed {seed}: {peak} bytes", file=sys.stderr)
                outcomes["MEMORY"] += 1
    return outcomes


def run_sweep(count: int, seed: int) -> Counter[str]:
    code = f"import test_mutations as t; t.main({count}, {seed})"
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "pipeline"), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-5000:]}"
    assert "CRASH" not in done.stdout, done.stderr[-5000:]
    assert "MEMORY" not in done.stdout, done.stderr[-5000:]
    return Counter(json.loads(done.stdout))


def main(count: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(sweep(count, seed)))


def test_damaged_files_give_a_record_or_an_error_with_a_name() -> None:
    outcomes = run_sweep(COUNT, seed=1)
    assert sum(outcomes.values()) == COUNT
    assert set(outcomes) <= {
        "record",
        "record without layers",
        "NotAModelError",
        "UnsafeModelError",
        "ModelError",
        "ExternalDataError",
    }
    assert len(outcomes) >= 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 7))
def test_thousands_of_damaged_files_do_as_well(seed: int) -> None:
    run_sweep(1_000, seed)
