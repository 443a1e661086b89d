"""`probe saturation` with delve's rule gives what delve gives on one batch of the same activations."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("delve")

from delve import metrics, torchcallback  # noqa: E402
from delve.torch_utils import TorchCovarianceMatrix  # noqa: E402
from torch import nn  # noqa: E402

from filterdb.onnxgraph.probing import open_inside  # noqa: E402
from filterdb.probe import saturation  # noqa: E402
from filterdb.probe.covariance import Covariance  # noqa: E402
from filterdb.probe.engine import Activations  # noqa: E402
from filterdb.probe.options import Setup  # noqa: E402
from filterdb.probe.variance import dimension_of  # noqa: E402

pytestmark = pytest.mark.oracle


def net() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 10, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(40, 24),
        nn.ReLU(),
        nn.Linear(24, 10),
    )
    return nn.Sequential(OrderedDict(body=body)).eval()


def exported(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net(), (torch.zeros(2, 3, 11, 11),), path,
            dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}, opset_version=17,
        )  # fmt: skip
    return path


def of_delve(values: np.ndarray, delta: float, pooling: str) -> tuple[float, int, float]:
    """Delve's own pooling, covariance and metrics, on given activations."""
    # Only what it needs to record activations: no hooks, no files, no graphics card.
    tracker = torchcallback.CheckLayerSat.__new__(torchcallback.CheckLayerSat)
    tracker.__dict__.update(
        conv_method=pooling,
        device="cpu",
        interpolation_strategy=None,
        timeseries_method="last_timestep",
        logs={"eval-covariance-matrix": {}},
        stats=["lsat"],
        record=True,
    )
    layer = SimpleNamespace(name="layer")
    tracker._record_stat(torch.from_numpy(values), False, layer, "eval", "covariance-matrix")
    covariance = tracker.logs["eval-covariance-matrix"]["layer"].fix()
    return (
        metrics.compute_saturation(covariance, delta),
        metrics.compute_intrinsic_dimensionality(covariance, delta),
        float(metrics.compute_cov_trace(covariance)),
    )


@pytest.mark.parametrize("pooling", ["channelwise", "mean", "max", "median", "flatten"])
@pytest.mark.parametrize("delta", [0.5, 0.9, 0.99])
def test_one_batch_gives_the_same_directions(tmp_path: Path, pooling: str, delta: float) -> None:
    path = exported(tmp_path / "m.onnx")
    data = torch.randn(96, 3, 11, 11, generator=torch.Generator().manual_seed(1)).numpy()
    found = saturation(path, data=data, delta=delta, pooling=pooling, rule="delve", batch=96)
    activations = Activations(open_inside(path), data, Setup(batch=96))
    values = {
        tap.layer.name: value for tap, value in activations.open(activations.taps).read(activations.rows)
    }
    assert list(values) == ["body.0", "body.2", "body.6", "body.8"]
    for layer in found.layers:
        share, dimension, trace = of_delve(values[layer.layer], delta, pooling)
        assert (layer.saturation, layer.dimension) == (share, dimension), layer.layer
        # Means of places are float32 in delve.
        assert layer.trace == pytest.approx(trace, rel=1e-6 if pooling == "mean" else 1e-9)


def test_a_thousand_random_covariances_have_the_dimension_of_delve() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        width, rows = rng.integers(1, 20), rng.integers(2, 60)
        values = rng.normal(size=(rows, width)) * rng.lognormal(0, 2, width)
        delta = rng.uniform(0.05, 1.0)
        theirs = TorchCovarianceMatrix(device="cpu")
        theirs.update(torch.from_numpy(values), False)
        ours = Covariance(int(width))
        ours.add(values)
        expected = metrics.compute_intrinsic_dimensionality(theirs.fix(), delta)
        assert dimension_of(ours.eigenvalues(), delta, "delve") == expected


def test_no_variance_gives_zero_by_both() -> None:
    zero = torch.zeros((4, 4), dtype=torch.float64)
    assert metrics.compute_saturation(zero, 0.99) == 0
    assert dimension_of(np.zeros(4), 0.99, "delve") == 0
