"""What a record says beside its filters."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from filterdb.onnxgraph import read_layers
from filterdb.testing import conv_model, conv_net, graph_of, model_of, random_weight, tensor, write_model
from filterdb.types import Kernel, ModelRecord

node = helper.make_node
SQUARE = random_weight((4, 4, 3, 3))


def record_of(tmp_path: Path, model: onnx.ModelProto, **options: Any) -> ModelRecord:
    return read_layers(write_model(tmp_path / "m.onnx", model), **options)[0]


@pytest.mark.parametrize(
    ("weight", "node_name", "expected"),
    [
        ("layer1.0.conv1.weight", "Conv_5", "layer1.0.conv1"),
        ("features.conv.weight_quantized", "Conv_5", "features.conv"),
        ("backbone.kernel", "Conv_5", "backbone.kernel"),
        ("stem/block.conv.weight", "", "stem/block.conv"),
        ("onnx::Conv_123", "Conv_5", "Conv_5"),
        ("123", "/net/Conv", "/net/Conv"),
        ("x.11", "Conv_5", "Conv_5"),
        ("weight", "Conv_5", "Conv_5"),
        ("W", "", "Conv_0"),
    ],
)
def test_a_layer_is_called_by_its_weight_or_its_node_or_its_place(
    tmp_path: Path, weight: str, node_name: str, expected: str
) -> None:
    model = conv_model(SQUARE, name=weight)
    model.graph.node[0].name = node_name
    assert record_of(tmp_path, model).layers[0].name == expected


def test_names_are_unique_even_where_suffixes_are_taken(tmp_path: Path) -> None:
    names = ["same", "same#2", "same", "same", "other", "same#2"]
    values = ["x", *(f"v{place}" for place in range(len(names)))]
    nodes = [
        node("Conv", [a, "w"], [b], name=name) for a, b, name in zip(values, values[1:], names, strict=False)
    ]
    record = record_of(tmp_path, model_of(graph_of(nodes, weights=[tensor("w", SQUARE)])))
    found = [layer.name for layer in record.layers]
    assert len(set(found)) == len(names)
    assert found[:3] == ["same", "same#2", "same#3"]


def test_attributes_are_kept_and_have_their_defaults(tmp_path: Path) -> None:
    plain = record_of(tmp_path, conv_model(SQUARE)).layers[0]
    assert (plain.strides, plain.dilations, plain.group, plain.depthwise) == ((1, 1), (1, 1), 1, False)
    special = record_of(tmp_path, conv_model(SQUARE, strides=[2, 1], dilations=[1, 3], group=2)).layers[0]
    assert (special.strides, special.dilations, special.group) == ((2, 1), (1, 3), 2)


@pytest.mark.parametrize(
    ("shape", "group", "depthwise"),
    [((8, 1, 3, 3), 8, True), ((16, 1, 3, 3), 8, True), ((8, 1, 3, 3), 1, False), ((8, 2, 3, 3), 4, False)],
)
def test_depthwise_means_one_input_channel_for_each_of_many_groups(
    tmp_path: Path, shape: tuple[int, ...], group: int, depthwise: bool
) -> None:
    layer = record_of(tmp_path, conv_model(shape, group=group)).layers[0]
    assert layer.depthwise is depthwise
    assert (layer.out_channels, layer.in_channels) == shape[:2]


def test_filters_are_in_weight_order_with_rows_of_row_major_kernels(tmp_path: Path) -> None:
    weight = np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 3, 3)
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", conv_model(weight)))
    np.testing.assert_array_equal(block[4], weight[1, 1].reshape(-1))
    assert record.layers[0].weights_sha256 == hashlib.sha256(weight.astype("<f4").tobytes()).hexdigest()
    assert record.layers[0].n_filters == 6


@pytest.mark.parametrize("kernel", [(1, 1), (5, 5), (3, 1), (1, 7)])
def test_another_kernel_can_be_extracted(tmp_path: Path, kernel: tuple[int, int]) -> None:
    model = conv_net([(4, 3, 3, 3), (2, 4, *kernel)])
    path = write_model(tmp_path / "m.onnx", model)
    record, blocks = read_layers(path, kernel=Kernel(*kernel))
    assert [layer.name for layer in record.layers] == ["layer1"]
    assert blocks[0].shape == (8, kernel[0] * kernel[1])
    assert record.layers[0].conv_depth_norm == 1.0


def following(*nodes: onnx.NodeProto, outputs: list[str]) -> onnx.ModelProto:
    conv = node("Conv", ["x", "w"], ["c"])
    return model_of(graph_of([conv, *nodes], outputs=outputs, weights=[tensor("w", SQUARE)]))


BN = node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"])


@pytest.mark.parametrize(
    ("nodes", "outputs", "expected"),
    [
        ([BN], ["y"], True),
        ([BN, node("Relu", ["c"], ["z"])], ["y"], False),
        ([BN], ["y", "c"], False),
        ([node("Relu", ["c"], ["y"])], ["y"], False),
        ([], ["c"], False),
    ],
    ids=["only", "one of two", "also a result", "another", "none"],
)
def test_bn_follows_means_the_only_consumer(
    tmp_path: Path, nodes: list[onnx.NodeProto], outputs: list[str], expected: bool
) -> None:
    assert record_of(tmp_path, following(*nodes, outputs=outputs)).layers[0].bn_follows is expected


def test_bn_follows_out_of_a_function_and_into_one(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17)]
    conv = helper.make_function("f", "C", ["a", "w"], ["c"], [node("Conv", ["a", "w"], ["c"])], imports)
    inner = node("BatchNormalization", ["p", "s", "b", "m", "v"], ["q"])
    norm = helper.make_function("f", "N", ["p", "s", "b", "m", "v"], ["q"], [inner], imports)
    calls = [
        node("C", ["x", "w"], ["c"], domain="f"),
        node("N", ["c", "s", "b", "m", "v"], ["y"], domain="f"),
    ]
    model = model_of(graph_of(calls, weights=[tensor("w", SQUARE)]), domains=["f"], functions=[conv, norm])
    assert record_of(tmp_path, model).layers[0].bn_follows


def test_a_kernel_shape_that_contradicts_the_weight_is_noted_and_the_weight_believed(tmp_path: Path) -> None:
    record = record_of(tmp_path, conv_model(SQUARE, kernel_shape=[5, 5]))
    assert len(record.layers) == 1
    assert record.notes[-1] == "conv: kernel_shape is [5, 5], but the weight has [3, 3]"


def test_what_the_file_says_of_itself_is_kept(tmp_path: Path) -> None:
    model = conv_model(SQUARE, opset=19)
    model.producer_name, model.producer_version, model.ir_version = "pytorch", "2.10", 9
    record = record_of(tmp_path, model)
    assert (record.producer, record.ir_version, record.op_set) == ("pytorch 2.10", 9, 19)
    model.producer_name = ""
    assert record_of(tmp_path, model).producer == "2.10"


def test_a_file_without_operator_sets_has_operator_set_zero(tmp_path: Path) -> None:
    model = conv_model(SQUARE)
    del model.opset_import[:]
    assert record_of(tmp_path, model).op_set == 0


def test_the_long_name_of_the_default_domain_is_the_default_domain(tmp_path: Path) -> None:
    model = conv_model(SQUARE)
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    record = record_of(tmp_path, model)
    assert (record.op_set, record.ops, len(record.layers)) == (17, {"Conv": 1}, 1)


def test_the_checker_has_its_say_but_no_vote(tmp_path: Path) -> None:
    model = conv_model(SQUARE)
    assert record_of(tmp_path, model).notes == ()
    model.graph.node[0].attribute.append(helper.make_attribute("nonsense", 1))
    record = record_of(tmp_path, model)
    assert len(record.layers) == 1
    assert record.notes[0].startswith("onnx.checker: Unrecognized attribute: nonsense")


def test_the_checker_says_nothing_of_large_weights_that_it_does_not_see(tmp_path: Path) -> None:
    assert record_of(tmp_path, conv_net([(64, 32, 3, 3), (64, 64, 3, 3)])).notes == ()


def test_the_checker_is_not_asked_about_operators_that_make_it_print(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = conv_model(SQUARE, opset=7)
    model.graph.node.append(node("ImageScaler", ["y"], ["z"], scale=1.0, bias=[1.0]))
    record = record_of(tmp_path, model)
    assert record.notes == ("onnx.checker: not asked, because the model has experimental operators",)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("op", "domain", "reason"),
    [
        ("ConvTranspose", "", "a transposed convolution"),
        ("ConvTransposeWithDynamicPads", "com.microsoft", "a transposed convolution"),
        ("DeformConv", "", "a deformable convolution"),
        ("Conv", "com.microsoft.nchwc", "blocked layout"),
        ("CausalConvWithState", "com.microsoft", "is not known to be a plain convolution"),
    ],
)
def test_relatives_of_convolutions_are_counted_but_not_extracted(
    tmp_path: Path, op: str, domain: str, reason: str
) -> None:
    model = conv_model(SQUARE)
    model.graph.node[0].op_type, model.graph.node[0].domain = op, domain
    record = record_of(tmp_path, model)
    assert reason in record.skipped[0].reason
    assert (record.layers, record.kernels) == ((), {})


@pytest.mark.parametrize("op", ["ConvertToFloat", "Convert", "Unconventional"])
def test_operators_that_merely_sound_like_convolutions_are_none(tmp_path: Path, op: str) -> None:
    model = conv_model(SQUARE)
    model.graph.node[0].op_type, model.graph.node[0].domain = op, "acme"
    record = record_of(tmp_path, model)
    assert (record.layers, record.skipped) == ((), ())


@pytest.mark.parametrize(
    ("op", "domain"),
    [("FusedConv", "com.microsoft"), ("Conv", "com.ms.internal.nhwc"), ("NhwcFusedConv", "com.microsoft")],
)
def test_fused_and_internal_convolutions_keep_the_layout_of_conv(
    tmp_path: Path, op: str, domain: str
) -> None:
    weight = random_weight((4, 2, 3, 3))
    model = conv_model(weight)
    model.graph.node[0].op_type, model.graph.node[0].domain = op, domain
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, weight.reshape(-1, 9))
    assert record.layers[0].op_type == op


def test_an_nhwc_convolution_keeps_its_input_channels_last(tmp_path: Path) -> None:
    weight = random_weight((4, 2, 3, 3))
    model = conv_model(weight.transpose(0, 2, 3, 1).copy())
    model.graph.node[0].op_type, model.graph.node[0].domain = "NhwcConv", "com.microsoft"
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, weight.reshape(-1, 9))
    assert (record.layers[0].out_channels, record.layers[0].in_channels) == (4, 2)
    assert record.kernels == {"(3, 3)": 8}


def test_a_model_without_convolutions_is_a_model(tmp_path: Path) -> None:
    model = model_of(graph_of([node("Relu", ["x"], ["y"])]))
    record = record_of(tmp_path, model)
    assert (record.layers, record.skipped, record.depth) == ((), (), 1)


def test_a_record_survives_a_trip_through_json(tmp_path: Path) -> None:
    import json

    record = record_of(tmp_path, conv_net([(4, 3, 3, 3), (4, 1, 3, 3), (2, 4, 5, 5)]))
    assert ModelRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_the_type_of_a_weight_is_the_type_it_is_stored_in(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["half"], ["w"], to=TensorProto.FLOAT),
        node("Conv", ["x", "w"], ["y"]),
    ]
    model = model_of(graph_of(nodes, weights=[tensor("half", SQUARE.astype(np.float16))]))
    assert record_of(tmp_path, model).layers[0].weight_dtype == "float16"


def test_notes_do_not_pile_up(tmp_path: Path) -> None:
    model = conv_net([(2, 2, 3, 3)] * 40)
    for conv in model.graph.node:
        if conv.op_type == "Conv":
            conv.attribute.append(helper.make_attribute("kernel_shape", [5, 5]))
    record = record_of(tmp_path, model)
    assert len(record.layers) == 40
    assert record.notes[-1] == "and more of the same"
    assert len(record.notes) <= 22
