"""The filters of a model that PyTorch exported are those that PyTorch holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from filterdb.onnxgraph import read_layers  # noqa: E402

pytestmark = [
    pytest.mark.oracle,
    # Deprecations inside the exporters are theirs to heed.
    pytest.mark.filterwarnings("ignore"),
]


class Residual(torch.nn.Module):
    """A stem, a residual block with normalization, a depthwise layer and a 1x1 head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.first = torch.nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.deep = torch.nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.head = torch.nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.second(torch.relu(self.norm(self.first(x))))
        return self.head(torch.relu(self.deep(x)))


def export(model: torch.nn.Module, path: Path, **options: object) -> None:
    torch.onnx.export(
        model, (torch.zeros(1, 3, 16, 16),), str(path), training=torch.onnx.TrainingMode.TRAINING, **options
    )


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 11), (False, 17), (True, 18), (True, 20)])
def test_both_exporters_keep_every_bit(tmp_path: Path, dynamo: bool, opset: int) -> None:
    torch.manual_seed(0)
    model = Residual().train()
    path = tmp_path / "model.onnx"
    options = {"dynamo": dynamo, "opset_version": opset}
    # Both would fuse the normalization into the weight before it, and then the file holds other filters.
    options |= {"optimize": False} if dynamo else {"do_constant_folding": False}
    export(model, path, **options)
    record, filters = read_layers(path)
    expected = [model.stem, model.first, model.second, model.deep]
    assert [layer.name for layer in record.layers] == ["stem", "first", "second", "deep"]
    for layer, got, conv in zip(record.layers, filters, expected, strict=True):
        assert np.array_equal(got, conv.weight.detach().numpy().reshape(-1, 9)), layer.name
        assert layer.group == conv.groups
        assert layer.strides == conv.stride
        assert layer.dilations == conv.dilation
    assert [layer.depthwise for layer in record.layers] == [False, False, False, True]


def test_a_half_precision_model_gives_the_values_of_its_halves(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = Residual().eval().half()
    path = tmp_path / "half.onnx"
    torch.onnx.export(model, (torch.zeros(1, 3, 16, 16).half(),), str(path), dynamo=True, optimize=False)
    record, filters = read_layers(path)
    assert {layer.weight_dtype for layer in record.layers} == {"float16"}
    assert np.array_equal(filters[0], model.stem.weight.detach().float().numpy().reshape(-1, 9))
