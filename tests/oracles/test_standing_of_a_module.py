"""One PyTorch model stands at one place: as a module, as a state dict, and exported to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from filterdb import Standing, compare_model, measure_quality  # noqa: E402
from filterdb.config import RunConfig  # noqa: E402
from filterdb.run.analysis.analyze import analyze  # noqa: E402
from filterdb.run.extraction.extract import extract  # noqa: E402
from filterdb.testing import conv_net, write_model  # noqa: E402

pytestmark = pytest.mark.oracle

PLACED = ["n", "sparsity", "variance_entropy", "orthogonality", "norm_l2_norm", "outside"]


class Net(nn.Module):
    """A chain, so that the order of its layers is their depth; a kernel of another size has its place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 16, 5, padding=2)
        self.body = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 8, 3, groups=8))

    def forward(self, x: Any) -> Any:
        return self.body(self.wide(self.stem(x)).relu())


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = Net().eval()
    with torch.no_grad():
        model.body[0].weight[:12] *= 1e-4
    return model


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of eight small models of two tasks."""
    folder = tmp_path_factory.mktemp("standing")
    rows = ["Name,Task"]
    for seed in range(8):
        shapes = [(16, 3, 3, 3), (16, 16, 3, 3), (8, 16, 3, 3)]
        write_model(folder / "zoo" / f"m{seed}.onnx", conv_net(shapes, seed=seed))
        rows.append(f"m{seed},{'ab'[seed % 2]}")
    (folder / "models.csv").write_text("\n".join(rows))
    config = RunConfig(zoo=(str(folder / "zoo"),), metadata=str(folder / "models.csv"), workers=1)
    config = config.with_analyze(by=("Task",), permutations=1, draws=1)
    extract(config, folder / "dataset.h5")
    analyze(folder / "dataset.h5", folder / "results", config)
    return folder / "results"


@pytest.fixture(scope="module", params=[False, True], ids=["torchscript exporter", "dynamo exporter"])
def exported(request: pytest.FixtureRequest, model: nn.Module, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    options = {"dynamo": True, "optimize": False} if request.param else {"dynamo": False}
    torch.onnx.export(model, (torch.zeros(1, 3, 12, 12),), str(path), **options)
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_module_state_dict_and_onnx_have_the_same_metrics(model: nn.Module, exported: Path) -> None:
    for kernel, names in (("3x3", ["stem", "body.0", "body.2"]), ("5x5", ["wide"])):
        module = measure_quality(model, kernel=kernel)
        assert list(module) == names
        assert measure_quality(model.state_dict(), kernel=kernel) == module
        assert measure_quality(exported, kernel=kernel) == module
    assert measure_quality(model)["body.0"]["sparsity"] == 0.5


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_module_state_dict_and_onnx_stand_at_the_same_place(
    model: nn.Module, exported: Path, results: Path
) -> None:
    found = [compare_model(one, results) for one in (model, model.state_dict(), exported)]
    module, state, onnx = found
    assert module.layers.index.tolist() == ["stem", "body.0", "body.2"]
    assert [layer.name for layer in module.skipped] == ["wide"]
    for other in (state, onnx):
        assert_same(other, module)
    assert (module.facts["depth"], state.facts["depth"], onnx.facts["depth"]) == ("order", "order", "graph")
    # The weights decide the numbers: another seed stands elsewhere.
    torch.manual_seed(1)
    assert not compare_model(Net(), results).nearest["D"].equals(module.nearest["D"])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_module_that_is_in_the_data_set_is_known_by_its_weights(
    model: nn.Module, exported: Path, tmp_path: Path
) -> None:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "known.onnx").write_bytes(exported.read_bytes())
    for data in exported.parent.glob("*.data"):
        (zoo / data.name).write_bytes(data.read_bytes())
    write_model(zoo / "other.onnx", conv_net([(16, 3, 3, 3), (8, 16, 3, 3)], seed=9))
    config = RunConfig(zoo=(str(zoo),), workers=1).with_analyze(by=("model",), permutations=1, draws=1)
    extract(config, tmp_path / "dataset.h5")
    analyze(tmp_path / "dataset.h5", tmp_path / "results", config)
    found = compare_model(model, tmp_path / "results")
    assert "the model is in the data set, as known" in found.findings[0]
    assert found.facts["left_out"] == 3


def assert_same(other: Standing, module: Standing) -> None:
    assert other.cube.rows.tobytes() == module.cube.rows.tobytes()
    pd.testing.assert_frame_equal(other.layers[PLACED], module.layers[PLACED])
    pd.testing.assert_frame_equal(other.nearest, module.nearest)
    pd.testing.assert_frame_equal(other.drift["Task"], module.drift["Task"])
