"""`measure_quality` takes the place of torchconvquality's: same call, same layers, same keys, same values."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
oracle = pytest.importorskip("torchconvquality")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

from filterdb import measure_quality  # noqa: E402
from filterdb.quality import METRICS  # noqa: E402

pytestmark = pytest.mark.oracle

AGREE = 1e-5


def basic_block(inner: int, outer: int) -> nn.Module:
    return nn.ModuleDict(
        {
            "conv1": nn.Conv2d(inner, outer, 3, padding=1, bias=False),
            "bn1": nn.BatchNorm2d(outer),
            "conv2": nn.Conv2d(outer, outer, 3, padding=1, bias=False),
            "downsample": nn.Sequential(nn.Conv2d(inner, outer, 1), nn.BatchNorm2d(outer)),
            "dw": nn.Conv2d(outer, outer, 3, groups=outer),
            "grouped": nn.Conv2d(outer, outer, 3, groups=4),
        }
    )


class Net(nn.Module):
    """Blocks with what real models have: other kernels, groups, transposed and 1-D layers, a shared layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7)
        self.layer1 = nn.Sequential(basic_block(16, 16), basic_block(16, 16))
        self.layer2 = nn.Sequential(basic_block(16, 32), basic_block(32, 32))
        self.again = self.layer1[0]["conv1"]
        self.up = nn.ConvTranspose2d(32, 16, 3)
        self.line = nn.Conv1d(8, 8, 3)
        self.five = nn.Conv2d(8, 8, 5)
        self.tied = nn.Conv2d(16, 16, 3)
        self.tied.weight = self.layer1[1]["conv1"].weight
        self.fc = nn.Linear(8, 8)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        weight = model.layer2[0]["conv2"].weight
        weight[:8] *= 1e-4
        weight[8:] += torch.randn(24, 32, 1, 1)
    return model


def assert_agree(found: dict[str, Any], expected: dict[str, dict[str, float]]) -> None:
    assert list(found) == list(expected)
    for name, metrics in expected.items():
        assert list(found[name])[: len(metrics)] == list(metrics)
        for key, value in metrics.items():
            assert found[name][key] == pytest.approx(float(value), rel=AGREE, abs=AGREE), (name, key)


def from_the_readme(measure_quality: Callable[[Any], dict[str, Any]], model: nn.Module) -> dict[str, Any]:
    """The example of torchconvquality's README, where the import is the argument."""
    quality_dict = measure_quality(model)
    return quality_dict  # noqa: RET504 - as it is written there


def test_replacing_the_import_is_the_whole_migration(model: nn.Module) -> None:
    expected = from_the_readme(oracle.measure_quality, model)
    assert len(expected) == 17
    found = from_the_readme(measure_quality, model)
    assert_agree(found, expected)
    assert all(list(layer) == list(METRICS) for layer in found.values())
    assert_agree(measure_quality(model=model), expected)


@pytest.mark.parametrize("eps", [0.001, 0.05, 0.5])
def test_the_threshold_of_sparsity_has_the_same_name_and_meaning(model: nn.Module, eps: float) -> None:
    found = measure_quality(model, sparsity_eps=eps)
    for name, metrics in oracle.measure_quality(model, sparsity_eps=eps).items():
        assert found[name]["sparsity"] == pytest.approx(metrics["sparsity"], abs=1e-7)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda model: model.eval(), id="eval"),
        pytest.param(nn.DataParallel, id="DataParallel"),
        pytest.param(lambda model: nn.Conv2d(8, 8, 3), id="a layer alone"),
        pytest.param(lambda model: nn.Linear(8, 8), id="no convolution"),
    ],
)
def test_layers_have_its_names_however_the_model_is_wrapped(
    model: nn.Module, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    wrapped = wrap(model)
    assert_agree(measure_quality(wrapped), oracle.measure_quality(wrapped))


def test_memory_in_another_order_changes_no_bit(model: nn.Module) -> None:
    expected = measure_quality(model)
    assert measure_quality(model.to(memory_format=torch.channels_last)) == expected


def test_other_layers_are_reported_with_reasons(model: nn.Module) -> None:
    reasons = {layer.name: layer.reason for layer in measure_quality(model).skipped}
    assert reasons["up"] == "a transposed convolution"
    assert reasons["line"] == "a 1-D convolution"
    assert reasons["five"] == "the kernel is 5x5, not 3x3"
    everything = measure_quality(model, kernel="any")
    assert math.isnan(everything["five"]["variance_entropy_norm"])
    assert everything["layer1.0.dw"].group == 16
    assert (everything["five"].op_type, everything["five"].dtype) == ("Conv2d", "float32")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_models_of_any_precision_are_measured_as_float32(model: nn.Module, dtype: Any) -> None:
    narrowed = model.to(dtype)
    assert measure_quality(narrowed)["tied"].dtype == str(dtype).removeprefix("torch.")
    found, expected = measure_quality(narrowed), measure_quality(narrowed.float())
    assert found == expected


def test_a_state_dict_and_a_tensor_give_what_the_module_gives(model: nn.Module, tmp_path: Path) -> None:
    from safetensors.torch import save_model

    module = measure_quality(model, kernel="any")
    state = measure_quality(model.state_dict(), kernel="any")
    # A state dict names a shared layer twice, and cannot tell a transposed convolution from a plain one.
    assert set(state) - set(module) == {"again", "up"}
    assert {name: state[name] for name in module} == module
    assert dict(measure_quality(model.layer1[0]["dw"].weight)) == module["layer1.0.dw"]
    save_model(model, str(tmp_path / "m.safetensors"))
    stored = measure_quality(tmp_path / "m.safetensors", kernel="any")
    assert {name: layer for name, layer in stored.items() if name in module}.items() <= module.items()


def test_checkpoints_are_refused_and_their_content_is_taken(model: nn.Module, tmp_path: Path) -> None:
    from filterdb.errors import NotAModelError

    for name in ("m.pt", "m.bin", "m"):
        torch.save(model.state_dict(), tmp_path / name)
        with pytest.raises(NotAModelError, match="pickle"):
            measure_quality(tmp_path / name)
    state = torch.load(tmp_path / "m.pt", weights_only=True)
    assert measure_quality(state)["tied"] == measure_quality(model)["tied"]


class Branded(nn.Conv2d):
    """A subclass, which torchconvquality leaves out."""


def test_subclasses_parametrizations_and_pruning_are_measured_as_they_compute() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(Branded(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    parametrizations.weight_norm(model[1])
    prune.random_unstructured(model[2], "weight", amount=0.5)
    found = measure_quality(model)
    assert list(found) == ["0", "1", "2", "3"]
    assert found.skipped == ()
    for name, layer in found.items():
        assert layer == measure_quality(model[int(name)].weight)


def test_tensors_without_values_cost_only_their_layer() -> None:
    with torch.device("meta"):
        ghost = nn.Conv2d(4, 4, 3)
    model = nn.Sequential(ghost, nn.LazyConv2d(4, 3), nn.Conv2d(4, 4, 3))
    found = measure_quality(model)
    assert list(found) == ["2"]
    reasons = {layer.name: layer.reason for layer in found.skipped}
    assert "meta device" in reasons["0"]
    assert "the layer is lazy" in reasons["1"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_models_are_measured_too(model: nn.Module) -> None:
    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    traced = torch.jit.trace(block, torch.zeros(1, 3, 9, 9))
    assert measure_quality(traced) == measure_quality(block)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_model_exported_to_onnx_has_the_same_numbers(tmp_path: Path) -> None:
    block = nn.Sequential()
    block.add_module("first", nn.Conv2d(3, 16, 3))
    block.add_module("second", nn.Conv2d(16, 16, 3, groups=16))
    path = tmp_path / "m.onnx"
    torch.onnx.export(block.eval(), (torch.zeros(1, 3, 9, 9),), str(path), dynamo=True, optimize=False)
    assert measure_quality(path) == measure_quality(block)


def test_every_value_is_finite_where_its_is(model: nn.Module) -> None:
    for metrics in measure_quality(model).values():
        assert np.isfinite(list(metrics.values())).all()
