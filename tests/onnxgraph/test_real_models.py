"""Real files of many exporters: counts as an independent script counted, values as onnxruntime uses them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_oracle import convolutions, fingerprints, initializer, quant_by_hand, runtime_weights

from filterdb.errors import NotAModelError
from filterdb.onnxgraph import open_model, read_layers
from filterdb.types import Kernel

pytestmark = pytest.mark.real_zoo
BROKEN = {"corrupt-model.onnx", "protobuf_text_format.onnx"}
QUANT_NODES = {"espcn_quant_model.onnx"}
GENERATED = {"light_squeezenet.onnx"}


def rows(zoo: Path) -> list[dict[str, str]]:
    with (zoo / "index.csv").open() as file:
        return list(csv.DictReader(file))


def readable(zoo: Path) -> list[dict[str, str]]:
    return [row for row in rows(zoo) if row["file"] not in BROKEN]


def test_every_file_holds_as_many_3x3_filters_as_the_index_says(real_zoo: Path) -> None:
    found = {row["file"]: read_layers(real_zoo / row["file"])[0].n_filters for row in readable(real_zoo)}
    assert found == {row["file"]: int(row["n_3x3_filters"]) for row in readable(real_zoo)}


def test_every_file_has_as_many_convolutions_as_the_index_says(real_zoo: Path) -> None:
    for row in readable(real_zoo):
        record, _ = read_layers(real_zoo / row["file"])
        assert len(record.layers) + len(record.skipped) == int(row["n_conv"]), row["file"]
        kinds = Counter(layer.op_type for layer in (*record.layers, *record.skipped))
        expected = dict(entry.split(":") for entry in row["conv_ops"].split(";"))
        assert kinds == {op: int(count) for op, count in expected.items()}, row["file"]


def test_every_filter_of_every_file_is_what_onnxruntime_uses_to_the_last_bit(real_zoo: Path) -> None:
    for row in readable(real_zoo):
        if row["file"] in QUANT_NODES | GENERATED:
            continue
        record, blocks = read_layers(real_zoo / row["file"])
        expected = runtime_weights(real_zoo / row["file"])
        assert Counter(layer.weights_sha256 for layer in record.layers) == fingerprints(expected), row["file"]
        assert fingerprints(blocks) == fingerprints(expected), row["file"]


@pytest.mark.parametrize("kernel", [(1, 1), (5, 5)])
def test_other_kernels_are_what_onnxruntime_uses_as_well(real_zoo: Path, kernel: tuple[int, int]) -> None:
    for row in readable(real_zoo):
        if row["file"] in QUANT_NODES | GENERATED:
            continue
        _, blocks = read_layers(real_zoo / row["file"], kernel=Kernel(*kernel))
        assert fingerprints(blocks) == fingerprints(runtime_weights(real_zoo / row["file"], kernel)), row[
            "file"
        ]


def test_weights_behind_quant_nodes_are_whole_steps_of_their_scales(real_zoo: Path) -> None:
    path = real_zoo / "espcn_quant_model.onnx"
    model = onnx.load(path)
    quants = {node.output[0]: node for node in model.graph.node if node.op_type == "Quant"}
    expected = []
    for found in convolutions(model):
        node = quants[found.node.input[1]]
        options = {attribute.name: attribute.i for attribute in node.attribute}
        values, scale, zero, bits = (initializer(model, name) for name in node.input)
        if values.shape[2:] == (3, 3):
            flags = {"signed": bool(options["signed"]), "narrow": bool(options["narrow"])}
            expected.append(quant_by_hand(values, scale, zero, int(bits), **flags))
    record, blocks = read_layers(path)
    assert {layer.weight_source for layer in record.layers} == {"Quant < initializer"}
    for block, weight in zip(blocks, expected, strict=True):
        np.testing.assert_array_equal(block, weight.reshape(-1, 9))


def test_counts_by_kernel_agree_with_a_plain_walk_over_the_files(real_zoo: Path) -> None:
    for row in readable(real_zoo):
        record, _ = read_layers(real_zoo / row["file"])
        listed = dict(entry.split(":") for entry in row["kernels"].split(";") if row["kernels"])
        planar = {f"({k.replace('x', ', ')})" for k in listed if k.count("x") == 1}
        if row["file"] in GENERATED or "Transpose" in row["conv_ops"]:
            planar &= set(record.kernels)
        assert set(record.kernels) == planar, row["file"]


def test_operator_counts_agree_with_a_plain_walk_over_the_files(real_zoo: Path) -> None:
    def count(graph: onnx.GraphProto, into: Counter[str]) -> Counter[str]:
        for node in graph.node:
            standard = node.domain in ("", "ai.onnx")
            into[node.op_type if standard else f"{node.domain}::{node.op_type}"] += 1
            for attribute in node.attribute:
                for body in [attribute.g, *attribute.graphs]:
                    count(body, into)
        return into

    for row in readable(real_zoo):
        record, _ = read_layers(real_zoo / row["file"])
        model = onnx.load(real_zoo / row["file"], load_external_data=False)
        assert {**record.ops, **record.other_ops} == count(model.graph, Counter()), row["file"]
        assert record.ir_version == model.ir_version


def test_file_hashes_are_those_of_the_index_where_nothing_lies_outside(real_zoo: Path) -> None:
    for row in readable(real_zoo):
        with open_model(real_zoo / row["file"]) as model:
            outside = "external_data" in row["flags"]
            assert (model.sha256 != row["sha256"]) == outside, row["file"]


def test_the_two_broken_files_are_named_for_what_they_are(real_zoo: Path) -> None:
    with pytest.raises(NotAModelError, match=r"no protobuf message|cut off"):
        open_model(real_zoo / "corrupt-model.onnx")
    with pytest.raises(NotAModelError, match="text format"):
        open_model(real_zoo / "protobuf_text_format.onnx")


def test_generated_weights_are_skipped_and_not_counted(real_zoo: Path) -> None:
    record, _ = read_layers(real_zoo / "light_squeezenet.onnx")
    assert record.kernels == {}
    assert {s.reason for s in record.skipped} == {"generated by ConstantOfShape, not a trained weight"}


def test_a_file_gives_the_same_record_every_time(real_zoo: Path) -> None:
    for name in ("FastestDet.onnx", "PP_OCR_v2_cls.onnx", "if_conv2d.onnx"):
        assert read_layers(real_zoo / name)[0] == read_layers(real_zoo / name)[0]


def test_depths_grow_along_the_graph_and_are_scaled_to_one(real_zoo: Path) -> None:
    for row in readable(real_zoo):
        record, _ = read_layers(real_zoo / row["file"])
        depths = [layer.conv_depth for layer in record.layers]
        assert depths == sorted(depths), row["file"]
        assert all(0.0 <= layer.conv_depth_norm <= 1.0 for layer in record.layers), row["file"]
        assert record.depth <= sum(record.ops.values()) + sum(record.other_ops.values())
