"""Real files of many exporters: each is probed, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from filterdb.config import demo_folder
from filterdb.errors import FilterDBError
from filterdb.onnxgraph.probing import open_inside
from filterdb.probe import SaturationResult, cka, saturation
from filterdb.probe.options import Setup
from filterdb.probe.runtime import Runtime

DEMO = sorted((demo_folder() / "zoo").glob("*.onnx"))
# Custom operators, attributes without types, and what does not parse or has nothing to look at.
REFUSED = {
    "espcn_quant_model.onnx": "not a registered function",
    "pytorch_superresolution_with_pre_post_processing_op18.onnx": "not a registered function",
    "super_resolution.onnx": "Missing opset",
    "if_conv2d.onnx": "requires 1 inputs",
    "qlstm_qlinearconv_in_scan.onnx": "lies in a body of Scan",
    "conv-float.onnx": "Missing model IR version",
    "corrupt-model.onnx": "no protobuf message",
    "protobuf_text_format.onnx": "this is text",
}
SLOW = {"fns-candy.onnx"}


def made_up(path: Path, rows: int = 4, *, free: int = 64) -> dict[str, np.ndarray]:
    """Random values for every input of a model, of some size where it is not fixed."""
    rng = np.random.default_rng(0)
    feeds = {}
    ports = Runtime(open_inside(path), []).inputs
    first = next((port.shape[0] for port in ports if port.shape), None)
    for port in ports:
        wide = free if len(port.shape) > 2 else 4096
        sizes = tuple(wide if size is None else size for size in port.shape)
        if port.shape and port.shape[0] in (None, first):
            sizes = (rows, *sizes[1:])
        values = rng.integers(0, 5, sizes) if np.dtype(port.dtype).kind in "iu" else rng.normal(size=sizes)
        feeds[port.name] = np.asarray(values, port.dtype)
    return feeds


@pytest.mark.real_zoo
def test_every_real_model_is_probed_or_refused_by_name(real_zoo: Path) -> None:
    paths = [path for path in sorted(real_zoo.glob("*.onnx")) if path.name not in SLOW]
    outcomes = {path: outcome(path) for path in paths}
    refused = {path.name: str(error) for path, error in outcomes.items() if isinstance(error, FilterDBError)}
    assert {name: reason in refused.get(name, "") for name, reason in REFUSED.items()} == dict.fromkeys(
        REFUSED, True
    )
    assert set(refused) == set(REFUSED), refused
    for path, found in outcomes.items():
        if isinstance(found, FilterDBError):
            assert found.where, path
        else:
            assert found.layers
            assert all(layer.reason or 0 < layer.saturation <= 1 for layer in found.layers), path
    assert len(outcomes) == 37 - len(SLOW)


def outcome(path: Path) -> SaturationResult | FilterDBError:
    try:
        return saturation(path, data=made_up(path), batch=4)
    except FilterDBError as error:
        return error


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
def test_every_model_of_the_demo_zoo_is_probed_with_no_data_of_its_own(path: Path) -> None:
    if path.stem == "broken":
        with pytest.raises(FilterDBError, match="cut off or damaged"):
            saturation(path)
        return
    found = saturation(path, limit=16)
    assert not found.skipped
    weighted = [
        layer.name for layer in open_inside(path).layers if layer.kind in ("conv", "linear", "recurrent")
    ]
    assert [layer.layer for layer in found.layers] == weighted
    assert all(layer.reason or 0 < layer.saturation <= 1 for layer in found.layers)


def test_a_trained_model_and_its_untrained_twin_are_less_alike_than_each_is_itself() -> None:
    zoo = demo_folder() / "zoo"
    twins = (zoo / "den-handwriting-plain-fit.onnx", zoo / "den-handwriting-plain-fit-untrained.onnx")
    found = cka(*twins, limit=256)
    assert found.values.shape == (8, 8)
    assert found.values.max() < 1 - 1e-6
    assert found.values[-1, -1] < 0.9
    assert cka(twins[0], limit=256).values.diagonal() == pytest.approx(1, abs=1e-9)


def test_values_do_not_depend_on_which_layers_are_chosen() -> None:
    path = demo_folder() / "zoo" / "cls-shapes-resnet-fit.onnx"
    whole = saturation(path, limit=32).to_frame().drop(columns="position")
    for place in (0, len(whole) // 2):
        one = saturation(path, limit=32, layers=[whole["layer"][place]]).to_frame().drop(columns="position")
        assert one.iloc[0].drop("tail").equals(whole.iloc[place].drop("tail"))


def test_the_setup_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Setup().batch = 3  # type: ignore[misc]
