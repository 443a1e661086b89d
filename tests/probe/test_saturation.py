"""`probe saturation`: eigenvalues of the covariance, streamed, against a direct decomposition."""

from __future__ import annotations

import math
from pathlib import Path

import formulas
import numpy as np
import pytest
from models import LAYERS, activations, classifier, image_input, images, one_layer, output, write
from onnx import TensorProto, helper

from filterdb.errors import UsageError
from filterdb.probe import saturation
from filterdb.probe.covariance import Covariance
from filterdb.probe.variance import dimension_of
from filterdb.testing import graph_of, model_of, random_weight, tensor

POOLINGS = ("channelwise", "mean", "max", "median", "flatten")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", classifier())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("rule", ["plain", "delve"])
def test_every_layer_has_the_value_of_a_direct_decomposition(model: Path, pooling: str, rule: str) -> None:
    data = images(300)
    found = saturation(model, data=data, pooling=pooling, rule=rule, batch=32, delta=0.9)
    values = activations(model, {"x": data})
    assert [layer.layer for layer in found.layers] == list(LAYERS)
    for layer in found.layers:
        rows = formulas.rows_of(values[LAYERS[layer.layer]], pooling)
        count, trace, determinant = formulas.saturation(rows, 0.9, delve=rule == "delve")
        assert (layer.dimension, layer.features, layer.observations) == (count, rows.shape[1], len(rows))
        assert layer.saturation == count / rows.shape[1]
        assert layer.trace == pytest.approx(trace, rel=1e-5)
        # Without full rank (the head has ten results of eight features), only rounding is left.
        if layer.layer == "head" or len(rows) <= rows.shape[1]:
            assert layer.determinant < 1e-30
        else:
            assert layer.determinant == pytest.approx(determinant, rel=1e-3)
            assert layer.log_determinant == pytest.approx(math.log(determinant), rel=1e-6)


def test_batches_and_passes_change_nothing_but_rounding(model: Path) -> None:
    data = images(100)
    whole = saturation(model, data=data, batch=100).to_frame()
    parts = saturation(model, data=data, batch=7).to_frame()
    assert parts["dimension"].tolist() == whole["dimension"].tolist()
    assert parts["trace"].tolist() == pytest.approx(whole["trace"].tolist(), rel=1e-12)
    for options in ({"memory": 40_000}, {"memory": 1}, {"threads": 1}):
        other = saturation(model, data=data, batch=100, **options).to_frame()  # type: ignore[arg-type]
        bounded = other["reason"] == ""
        assert other[bounded].equals(whole[bounded])
        assert bounded.sum() == (0 if options == {"memory": 1} else 3)


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 5)) + 1e7
    sums = Covariance(5)
    for start in range(0, 1000, 64):
        sums.add(rows[start : start + 64])
    expected = np.linalg.eigvalsh(np.cov(rows, rowvar=False, bias=True))[::-1]
    assert sums.eigenvalues() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("values", "delta", "plain", "delve"),
    [
        ([1, 1, 1, 1], 0.5, 2, 1),
        ([1, 1, 1, 1], 0.51, 3, 2),
        ([1.0] * 100, 0.99, 99, 98),
        ([9, 1], 0.9, 1, 0),
        ([9, 1], 1, 2, 1),
        ([1, 0, 0], 0.99, 1, 0),
        ([0, 0], 0.99, 0, 0),
    ],
)
def test_dimensions_are_counted_as_the_rules_say(
    values: list[float], delta: float, plain: int, delve: int
) -> None:
    assert dimension_of(np.asarray(values, float), delta, "plain") == plain
    # Where a share is reached exactly, rounding decides what delve finds.
    if values != [1.0] * 100 and values != [9, 1]:
        assert dimension_of(np.asarray(values, float), delta, "delve") == delve


def constant_model() -> object:
    nodes = [
        helper.make_node("Conv", ["x", "zero.weight"], ["a"], name="zero"),
        helper.make_node("Conv", ["x", "zero.weight", "bias"], ["b"], name="constant"),
        helper.make_node("Conv", ["x", "inf.weight"], ["c"], name="inf"),
        helper.make_node("Sum", ["a", "b", "c"], ["y"]),
    ]
    weights = [
        tensor("zero.weight", np.zeros((3, 1, 3, 3), "f4")),
        tensor("bias", np.asarray([0.1, 2, -7], "f4")),
        tensor("inf.weight", np.full((3, 1, 3, 3), np.inf, "f4")),
    ]
    return model_of(graph_of(nodes, inputs=[image_input(None, 1, 8, 8)], weights=weights))


def test_dead_layers_stay_in_the_table_with_nan_and_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "constant.onnx", constant_model())  # type: ignore[arg-type]
    table = saturation(path, data=np.abs(images(5)) + 1).to_frame()
    assert table["reason"].tolist() == [
        "all its activations are zero",
        "its activations do not vary",
        "its activations hold NaN or infinity",
    ]
    assert table["saturation"].isna().all()
    delve = saturation(path, data=np.abs(images(5)) + 1, rule="delve").to_frame()
    assert delve["saturation"].tolist()[:2] == [0, 0]


def test_one_row_of_data_does_not_vary_and_does_not_crash(model: Path) -> None:
    found = saturation(model, data=images(1))
    assert [math.isnan(layer.saturation) for layer in found.layers] == [False, False, True]


@pytest.mark.parametrize("spatial", [(9,), (5, 6), (3, 4, 5)])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_convolutions_of_any_dimension_and_transposed_ones_are_included(
    tmp_path: Path, op: str, spatial: tuple[int, ...]
) -> None:
    weight = random_weight((2, 2, *[3] * len(spatial)), scale=0.5)
    node = helper.make_node(op, ["x", "up.weight"], ["y"])
    sizes = (None, 2, *spatial)
    model = one_layer(node, [tensor("up.weight", weight)], *sizes, rank=len(sizes))
    path = write(tmp_path / "m.onnx", model)
    data = np.random.default_rng(0).normal(size=(40, 2, *spatial)).astype("f4")
    layer = saturation(path, data=data, delta=0.8).layers[0]
    rows = formulas.rows_of(activations(path, {"x": data})["y"], "channelwise")
    count, trace, _ = formulas.saturation(rows, 0.8)
    assert (layer.op_type, layer.dimension) == (op, count)
    assert layer.trace == pytest.approx(trace, rel=1e-5)


def test_of_sequences_the_last_step_counts(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "proj.weight"], ["y"])
    weight = random_weight((6, 4), scale=0.5)
    path = write(tmp_path / "m.onnx", one_layer(node, [tensor("proj.weight", weight)], None, 5, 6, rank=3))
    data = np.random.default_rng(0).normal(size=(30, 5, 6)).astype("f4")
    layer = saturation(path, data=data, delta=0.7).layers[0]
    rows = formulas.rows_of(activations(path, {"x": data})["y"], "channelwise", sequence=True)
    assert (layer.layer, layer.dimension, layer.observations) == (
        "proj",
        formulas.saturation(rows, 0.7)[0],
        30,
    )


def test_recurrent_layers_have_their_rows_behind_their_time(tmp_path: Path) -> None:
    width, steps = 3, 4
    weights = [
        tensor("w", random_weight((1, 4 * width, 2), scale=1.0)),
        tensor("r", random_weight((1, 4 * width, width), seed=1, scale=1.0)),
    ]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2], name="turn"),
        helper.make_node("LSTM", ["t", "w", "r"], ["y"], hidden_size=width, name="lstm"),
    ]
    graph = graph_of(nodes, inputs=[image_input(None, steps, 2)], outputs=[output("y", 4)], weights=weights)
    path = write(tmp_path / "m.onnx", model_of(graph))
    data = np.random.default_rng(0).normal(size=(30, steps, 2)).astype("f4")
    layer = saturation(path, data=data, delta=0.8).layers[0]
    last = activations(path, {"x": data})["y"][steps - 1, 0]
    assert (layer.op_type, layer.features, layer.observations) == ("LSTM", width, 30)
    assert layer.trace == pytest.approx(formulas.saturation(last.astype("f8"), 0.8)[1], rel=1e-5)


def test_the_tail_is_the_end_that_is_far_less_saturated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for place in range(8):
        # The last four map everything onto one direction.
        weight = (
            rng.normal(size=(12, 12)) if place < 4 else np.outer(rng.normal(size=12), rng.normal(size=12))
        )
        if place == 7:
            weight = rng.normal(size=(12, 12))[:, :2]
        weights.append(tensor(f"l{place}.weight", weight.astype("f4")))
        nodes.append(helper.make_node("MatMul", [value, f"l{place}.weight"], [f"v{place}"]))
        value = f"v{place}"
    nodes.append(helper.make_node("Softmax", [value], ["y"]))
    graph = graph_of(nodes, inputs=[image_input(None, 12)], outputs=[output("y")], weights=weights)
    path = write(tmp_path / "m.onnx", model_of(graph))
    found = saturation(path, data=rng.normal(size=(200, 12)).astype("f4"))
    assert [layer.tail for layer in found.layers] == [False] * 4 + [True] * 3 + [False]


def test_a_covariance_that_does_not_fit_costs_no_other_layer(model: Path) -> None:
    table = saturation(model, data=images(20), pooling="flatten", memory=150_000).to_frame()
    wide = table["reason"].str.contains("features needs")
    assert wide.tolist() == [True, False, False]
    assert table["saturation"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"delta": 0}, "delta is 0"),
        ({"delta": 1.2}, "delta is 1.2"),
        ({"pooling": "men"}, "pooling mean"),
        ({"rule": "delf"}, "rule delve"),
        ({"batch": 0}, "batch is 0"),
        ({"kind": "convs"}, "kind conv"),
        ({"normalise": "unit"}, "normalize=..."),
    ],
)
def test_options_that_cannot_be_are_refused(model: Path, options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        saturation(model, data=images(4), **options)  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_integers_of_a_quantized_layer_span_as_many_directions_as_what_they_stand_for(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).integers(-100, 100, (5, 1, 3, 3)).astype(np.int8)
    node = helper.make_node(
        "QLinearConv", ["x", "s", "z", "q.weight", "ws", "wz", "ys", "yz"], ["y"], name="q"
    )
    stored = [
        tensor("s", np.float32(0.02)), tensor("z", np.uint8(128)), tensor("q.weight", weight),
        tensor("ws", np.float32(0.01)), tensor("wz", np.int8(0)), tensor("ys", np.float32(0.3)),
        tensor("yz", np.uint8(120)),
    ]  # fmt: skip
    graph = graph_of(
        [node],
        inputs=[image_input(None, 1, 8, 8, kind=TensorProto.UINT8)],
        outputs=[output("y", 4, TensorProto.UINT8)],
        weights=stored,
    )
    path = write(tmp_path / "q.onnx", model_of(graph))
    data = np.random.default_rng(1).integers(0, 256, (50, 1, 8, 8)).astype(np.uint8)
    layer = saturation(path, data=data, delta=0.9).layers[0]
    rows = formulas.rows_of(activations(path, {"x": data})["y"], "channelwise")
    assert layer.dimension == formulas.saturation(rows, 0.9)[0]
    assert saturation(path, limit=50).layers[0].observations == 50 * 36


@pytest.mark.parametrize("rule", ["plain", "delve"])
def test_another_delta_needs_no_other_run(model: Path, rule: str) -> None:
    data = images(60)
    found = saturation(model, data=data, rule=rule)
    for delta in (0.3, 0.9, 1.0):
        again = saturation(model, data=data, rule=rule, delta=delta)
        assert found.at(delta).layers == again.layers
        assert found.at(delta).facts() == again.facts()
    assert [len(values) for values in found.spectra] == [layer.features for layer in found.layers]
    with pytest.raises(UsageError, match="delta is 2"):
        found.at(2)


def test_a_layer_without_saturation_has_none_for_another_delta(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "c.weight"], ["y"])
    dead = tensor("c.weight", np.zeros((3, 1, 3, 3), np.float32))
    path = write(tmp_path / "m.onnx", one_layer(node, [dead], None, 1, 8, 8, rank=4))
    (layer,) = saturation(path, data=images(6)).at(0.5).layers
    assert math.isnan(layer.saturation)
    assert layer.reason == "all its activations are zero"
