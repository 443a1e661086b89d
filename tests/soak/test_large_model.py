"""A model of more than 2 GiB, which no protobuf message can hold: its weights lie beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import filterdb
from filterdb.config import RunConfig
from filterdb.run.extraction.extract import extract
from filterdb.testing import graph_of, model_of, random_weight, write_model

pytestmark = pytest.mark.soak

GIB = 1 << 30


def external(name: str, shape: tuple[int, ...], offset: int) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", offset), ("length", 4 * int(np.prod(shape)))):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_a_model_over_two_gib_costs_the_memory_of_one_layer(tmp_path: Path) -> None:
    first, last = random_weight((16, 3, 3, 3), seed=1), random_weight((8, 16, 3, 3), seed=2)
    with (tmp_path / "weights.bin").open("wb") as file:
        file.write(first.tobytes())
        file.truncate(3 * GIB)
        file.seek(3 * GIB)
        file.write(last.tobytes())
    nodes = [
        helper.make_node("Conv", ["x", "first.weight"], ["a"], kernel_shape=[3, 3]),
        helper.make_node("MatMul", ["a", "head.weight"], ["b"]),
        helper.make_node("Conv", ["b", "last.weight"], ["y"], kernel_shape=[3, 3]),
    ]
    weights = [
        external("first.weight", first.shape, 0),
        external("head.weight", (GIB // 4, 2), GIB),
        external("last.weight", last.shape, 3 * GIB),
    ]
    write_model(tmp_path / "large.onnx", model_of(graph_of(nodes, weights=weights)))
    config = RunConfig(zoo=(str(tmp_path),), workers=1).with_extract(memory=512 << 20)
    report = extract(config, tmp_path / "out" / "dataset.h5")
    assert report.statuses == {"ok": 1}
    with filterdb.open(tmp_path / "out" / "dataset.h5") as db:
        assert db.models["size"][0] > 3 * GIB
        assert np.array_equal(db.filters(), np.concatenate([first.reshape(-1, 9), last.reshape(-1, 9)]))
