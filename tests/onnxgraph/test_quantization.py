"""Quantized weights: what the steps and scales mean, against onnxruntime and against formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_oracle import quant_by_hand, runtime_weights

from filterdb.onnxgraph import read_layers
from filterdb.testing import graph_of, model_of, random_weight, tensor, weight_model, write_model

node = helper.make_node
RNG = np.random.default_rng(11)
SHAPE = (4, 3, 3, 3)
RANGES = {
    "int8": (np.int8, -128, 127),
    "uint8": (np.uint8, 0, 255),
    "int16": (np.int16, -32768, 32767),
    "uint16": (np.uint16, 0, 65535),
    "int4": (ml_dtypes.int4, -8, 7),
    "uint4": (ml_dtypes.uint4, 0, 15),
}


def steps(name: str, shape: tuple[int, ...] = SHAPE) -> Any:
    dtype, low, high = RANGES[name]
    return RNG.integers(low, high, shape, endpoint=True).astype(dtype)


def scales(*shape: int) -> Any:
    return RNG.uniform(0.001, 0.1, shape).astype(np.float32)


def dequantize(weights: list[TensorProto], *, opset: int = 21, **options: Any) -> onnx.ModelProto:
    names = [stored.name for stored in weights]
    return weight_model([node("DequantizeLinear", names, ["w"], **options)], weights, opset=opset)


def exact(tmp_path: Path, model: onnx.ModelProto) -> Any:
    path = write_model(tmp_path / "m.onnx", model)
    record, blocks = read_layers(path)
    assert [s.reason for s in record.skipped] == []
    np.testing.assert_array_equal(blocks[0], runtime_weights(path)[0].reshape(-1, 9))
    assert record.layers[0].weight_source == "DequantizeLinear < initializer"
    return record.layers[0]


@pytest.mark.parametrize("name", RANGES)
def test_one_scale_for_the_whole_weight(tmp_path: Path, name: str) -> None:
    zero = tensor("z", steps(name, ()))
    layer = exact(tmp_path, dequantize([tensor("q", steps(name)), tensor("s", scales()), zero]))
    assert layer.weight_dtype == name


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("axis", [0, 1, -4])
def test_one_scale_for_each_channel(tmp_path: Path, name: str, axis: int) -> None:
    size = SHAPE[axis]
    zero = tensor("z", steps(name, (size,)))
    exact(tmp_path, dequantize([tensor("q", steps(name)), tensor("s", scales(size)), zero], axis=axis))


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize(("axis", "block"), [(0, 2), (1, 2), (1, 3), (2, 2)])
def test_one_scale_for_each_block(tmp_path: Path, name: str, axis: int, block: int) -> None:
    shape = [-(-size // block) if place == axis else size for place, size in enumerate(SHAPE)]
    zero = tensor("z", steps(name, tuple(shape)))
    weights = [tensor("q", steps(name)), tensor("s", scales(*shape)), zero]
    exact(tmp_path, dequantize(weights, axis=axis, block_size=block))


def test_a_missing_zero_point_is_zero(tmp_path: Path) -> None:
    exact(tmp_path, dequantize([tensor("q", steps("int8")), tensor("s", scales())]))


def test_whole_numbers_of_32_bits_have_a_scale_but_no_zero_point(tmp_path: Path) -> None:
    values = RNG.integers(-(2**30), 2**30, SHAPE).astype(np.int32)
    exact(tmp_path, dequantize([tensor("q", values), tensor("s", scales())]))


@pytest.mark.parametrize(
    "dtype",
    [
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
    ],
)
def test_small_floats_have_scales_too(tmp_path: Path, dtype: Any) -> None:
    values = random_weight(SHAPE, seed=4).astype(dtype)
    exact(tmp_path, dequantize([tensor("q", values), tensor("s", scales())], opset=19))


def test_a_four_bit_float_is_read_by_its_table(tmp_path: Path) -> None:
    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = RNG.choice(np.concatenate([table, -table]), SHAPE).astype(ml_dtypes.float4_e2m1fn)
    model = dequantize([tensor("q", values), tensor("s", np.float32(0.25))], opset=23)
    _, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, values.astype(np.float32).reshape(-1, 9) * 0.25)


@pytest.mark.parametrize("name", ["int2", "uint2"])
def test_two_bit_numbers_are_unpacked_four_to_a_byte(tmp_path: Path, name: str) -> None:
    low = -2 if name == "int2" else 0
    values = RNG.integers(low, low + 4, (3, 3, 3, 3)).astype(getattr(ml_dtypes, name))
    model = dequantize([tensor("q", values), tensor("s", np.float32(0.5))], opset=25)
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, values.astype(np.float32).reshape(-1, 9) * np.float32(0.5))
    assert record.layers[0].weight_dtype == name


def test_a_scale_of_half_precision_gives_a_weight_of_half_precision(tmp_path: Path) -> None:
    weights = [tensor("q", steps("int8")), tensor("s", np.float16(0.013)), tensor("z", np.int8(3))]
    exact(tmp_path, dequantize(weights))


def test_a_microsoft_dequantize_is_the_same(tmp_path: Path) -> None:
    weights = [tensor("q", steps("uint16")), tensor("s", scales()), tensor("z", np.uint16(7))]
    model = dequantize(weights, opset=17)
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    exact(tmp_path, model)


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("by_channel", [False, True])
def test_a_weight_that_is_quantized_and_dequantized_in_the_graph(
    tmp_path: Path, name: str, by_channel: bool
) -> None:
    size = (4,) if by_channel else ()
    values = random_weight(SHAPE, seed=6, scale=3.0)
    weights = [tensor("a", values), tensor("s", scales(*size)), tensor("z", steps(name, size))]
    nodes = [
        node("QuantizeLinear", ["a", "s", "z"], ["q"], axis=0),
        node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
    ]
    path = write_model(tmp_path / "m.onnx", weight_model(nodes, weights, opset=21))
    record, (block,) = read_layers(path)
    np.testing.assert_array_equal(block, runtime_weights(path)[0].reshape(-1, 9))
    assert record.layers[0].weight_dtype == "float32"
    assert record.layers[0].weight_source == "DequantizeLinear < QuantizeLinear < initializer"


def test_what_comes_out_is_within_half_a_step_of_what_went_in(tmp_path: Path) -> None:
    values = random_weight(SHAPE, seed=8)
    scale = np.float32(np.abs(values).max() / 127)
    weights = [tensor("q", np.rint(values / scale).astype(np.int8)), tensor("s", scale)]
    _, (block,) = read_layers(write_model(tmp_path / "m.onnx", dequantize(weights)))
    assert np.abs(block - values.reshape(-1, 9)).max() <= scale / 2 * (1 + 1e-6)


def qlinear(zero: Any, scale: Any, values: Any, domain: str = "") -> onnx.ModelProto:
    parameters = [tensor("one", np.float32(1)), tensor("nil", np.uint8(0))]
    weights = [tensor("q.weight", values), tensor("s", scale), tensor("z", zero), *parameters]
    conv = node("QLinearConv", ["x", "one", "nil", "q.weight", "s", "z", "one", "nil"], ["y"], domain=domain)
    return model_of(graph_of([conv], weights=weights), domains=[domain] if domain else [])


@pytest.mark.parametrize("name", ["int8", "uint8"])
@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_a_qlinear_convolution_scales_its_own_weight(
    tmp_path: Path, name: str, by_channel: bool, domain: str
) -> None:
    size = (4,) if by_channel else ()
    values, scale, zero = steps(name), scales(*size), steps(name, size)
    path = write_model(tmp_path / "m.onnx", qlinear(zero, scale, values, domain))
    record, (block,) = read_layers(path)
    column = (-1, 1, 1, 1) if by_channel else ()
    expected = (values.astype(np.float32) - zero.reshape(column)) * scale.reshape(column)
    np.testing.assert_array_equal(block, expected.astype(np.float32).reshape(-1, 9))
    assert (record.layers[0].op_type, record.layers[0].weight_dtype) == ("QLinearConv", name)
    assert record.layers[0].name == "q"


def test_a_qlinear_convolution_with_scales_for_other_channels_is_skipped(tmp_path: Path) -> None:
    model = qlinear(np.zeros(5, np.int8), scales(5), steps("int8"))
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model))
    assert "does not fit the weight" in record.skipped[0].reason


def test_an_integer_convolution_has_steps_without_a_scale(tmp_path: Path) -> None:
    values = steps("uint8")
    conv = node("ConvInteger", ["x", "q", "", "z"], ["y"])
    model = model_of(graph_of([conv], weights=[tensor("q", values), tensor("z", np.uint8(7))]))
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, values.astype(np.float32).reshape(-1, 9) - 7)
    assert record.layers[0].weight_dtype == "uint8"


def test_a_scale_that_is_a_graph_input_costs_the_layer(tmp_path: Path) -> None:
    model = qlinear(np.int8(0), np.float32(1), steps("int8"))
    del model.graph.initializer[1]
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model))
    assert record.skipped[0].reason == "the weight's scale or zero point is not constant"
    assert record.kernels == {}


@settings(max_examples=40)
@given(
    bits=st.integers(1, 8),
    signed=st.booleans(),
    narrow=st.booleans(),
    by_channel=st.booleans(),
    zero=st.sampled_from([0.0, 3.0]),
    domain=st.sampled_from(["onnx.brevitas", "qonnx.custom_op.general"]),
)
def test_quant_nodes_follow_their_specification(
    tmp_path_factory: pytest.TempPathFactory,
    bits: int,
    signed: bool,
    narrow: bool,
    by_channel: bool,
    zero: float,
    domain: str,
) -> None:
    if bits == 1 and signed:
        bits = 2
    values = random_weight((2, 2, 3, 3), seed=bits)
    scale = scales(2, 1, 1, 1) if by_channel else scales()
    weights = [
        tensor("a", values),
        tensor("s", scale),
        tensor("z", np.float32(zero)),
        tensor("b", np.float32(bits)),
    ]
    quant = node("Quant", ["a", "s", "z", "b"], ["w"], domain=domain, signed=int(signed), narrow=int(narrow))
    model = weight_model([quant], weights, domains=[domain])
    _, (block,) = read_layers(write_model(tmp_path_factory.mktemp("quant") / "m.onnx", model))
    expected = quant_by_hand(values, scale, np.float32(zero), bits, signed=signed, narrow=narrow)
    np.testing.assert_array_equal(block, expected.reshape(-1, 9))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("ROUND", [-2, 0, 0, 2, 2]),
        ("CEIL", [-1, 0, 1, 2, 3]),
        ("FLOOR", [-2, -1, 0, 1, 2]),
        ("UP", [-2, -1, 1, 2, 3]),
        ("DOWN", [-1, 0, 0, 1, 2]),
        ("HALF_UP", [-2, -1, 1, 2, 3]),
        ("HALF_DOWN", [-1, 0, 0, 1, 2]),
    ],
)
def test_quant_nodes_round_as_they_are_told(tmp_path: Path, mode: str, expected: list[int]) -> None:
    values = np.zeros((1, 1, 3, 3), np.float32)
    values.reshape(-1)[:5] = [-1.5, -0.5, 0.5, 1.5, 2.5]
    weights = [
        tensor("a", values),
        *(tensor(n, np.float32(v)) for n, v in (("s", 1), ("z", 0), ("b", 8))),
    ]
    quant = node("Quant", ["a", "s", "z", "b"], ["w"], domain="onnx.brevitas", rounding_mode=mode)
    model = weight_model([quant], weights, domains=["onnx.brevitas"])
    _, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    assert block[0, :5].tolist() == expected


def test_bipolar_quant_gives_plus_or_minus_the_scale(tmp_path: Path) -> None:
    values = random_weight(SHAPE)
    values[0, 0, 0, 0] = 0
    quant = node("BipolarQuant", ["a", "s"], ["w"], domain="onnx.brevitas")
    model = weight_model(
        [quant], [tensor("a", values), tensor("s", np.float32(0.5))], domains=["onnx.brevitas"]
    )
    _, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    np.testing.assert_array_equal(block, np.where(values >= 0, 0.5, -0.5).reshape(-1, 9))
