"""`probe cka` gives what torch_cka gives for the PyTorch twin of a model, as far as its float32 goes."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
oracle = pytest.importorskip("torch_cka")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from filterdb.probe import cka  # noqa: E402

pytestmark = pytest.mark.oracle

FLOAT32 = 2e-4
"""How far torch_cka's float32 sums are from its own formula, which the second test has in float64."""


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 6, 3),
        nn.Flatten(),
        nn.Linear(6 * 9 * 9, 10),
    )
    return nn.Sequential(OrderedDict(body=body)).eval()


LAYERS = ["body.0", "body.2", "body.4", "body.6"]


def exported(model: nn.Module, path: Path) -> Path:
    example = torch.zeros(2, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
            opset_version=17,
        )
    return path


def from_torch_cka(a: nn.Module, b: nn.Module, data: Any, batch: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compared = oracle.CKA(a, b, model1_layers=LAYERS, model2_layers=LAYERS, device="cpu")
        loader = DataLoader(TensorDataset(data), batch_size=batch, drop_last=True)
        compared.compare(loader)
    return compared.export()["CKA"].numpy()


@pytest.mark.parametrize("batch", [8, 50])
def test_every_pair_of_layers_has_the_value_of_torch_cka(tmp_path: Path, batch: int) -> None:
    a, b = net(0), net(1)
    data = torch.randn(107, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    paths = [exported(model, tmp_path / f"{name}.onnx") for name, model in (("a", a), ("b", b))]
    found = cka(*paths, data=data.numpy(), batch=batch, shuffle=False)
    assert found.a.layers == tuple(LAYERS)
    assert found.values == pytest.approx(from_torch_cka(a, b, data, batch), abs=FLOAT32)


def test_in_double_precision_both_agree_to_the_last_digits(tmp_path: Path) -> None:
    a, b = net(2), net(3)
    data = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    paths = [exported(model, tmp_path / f"{name}.onnx") for name, model in (("a", a), ("b", b))]
    found = cka(*paths, data=data.numpy(), batch=16, shuffle=False)
    # The same formula on the same weights; only torch_cka's sums are float64 here.
    torch.set_default_dtype(torch.float64)
    try:
        expected = from_torch_cka(a.double(), b.double(), data.double(), 16)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.values == pytest.approx(expected, abs=1e-6)
