"""The layout that models run in: no value depends on which layers are given out, nor is another number."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import image_input, images, output, write
from onnx import helper
from test_probe_real_models import DEMO, REFUSED, SLOW, made_up

from filterdb.errors import ModelError
from filterdb.onnxgraph.blocked import LaidOut
from filterdb.onnxgraph.probing import InnerModel, open_inside
from filterdb.probe import engine, saturation
from filterdb.probe.engine import Activations
from filterdb.probe.layout import laid_out
from filterdb.probe.options import Setup
from filterdb.probe.runtime import Runtime
from filterdb.testing import graph_of, model_of, move_outside, random_weight, tensor
from seldom import seldom

BLOCKED = "com.microsoft.nchwc"


def tensors_of(model: InnerModel) -> list[str]:
    return list(dict.fromkeys(layer.tensor for layer in model.layers if layer.tensor))


def feeds_of(path: Path, rows: int = 2) -> dict[str, np.ndarray]:
    """Random rows, as many as the model takes at once."""
    ports = Runtime(open_inside(path), []).inputs
    fixed = next((port.shape[0] for port in ports if port.shape), None)
    return made_up(path, fixed or rows, free=16 if path in DEMO else 64)


def values(
    model: InnerModel, graph: LaidOut | None, tensors: list[str], feeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    runtime = Runtime(model, tensors, graph=graph, threads=1)
    usable = [name for name in tensors if name not in runtime.unusable]
    return dict(zip(usable, runtime.run(feeds, usable), strict=True))


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes() for name in a
    )


def require_independent(
    model: InnerModel, graph: LaidOut, feeds: dict[str, np.ndarray], alone: int = 100
) -> None:
    tensors = tensors_of(model)
    whole = values(model, graph, tensors, feeds)
    rng = np.random.default_rng(0)
    # Each layer alone; of the largest models, some.
    subsets = [[str(name)] for name in rng.permutation(list(whole))[:alone]]
    subsets += [[name for name in whole if rng.random() < share] for share in (0.1, 0.5, 0.5, 0.9)]
    for some in filter(None, subsets):
        found = values(model, graph, some, feeds)
        assert same(found, {name: whole[name] for name in some}), some


def near(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-5) -> bool:
    """Tell whether values are the same but for what a sum in another order leaves in float32."""
    found, expected = found.astype("f8"), expected.astype("f8")
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    return np.allclose(found, expected, rtol=1e-5, atol=tolerance * scale + 1e-6, equal_nan=True)


def require_close(
    model: InnerModel, graph: LaidOut, feeds: dict[str, np.ndarray], tolerance: float = 2e-5
) -> None:
    tensors = tensors_of(model)
    found, written = values(model, graph, tensors, feeds), values(model, None, tensors, feeds)
    assert found.keys() == written.keys()
    for name, expected in written.items():
        assert found[name].shape == expected.shape, name
        assert found[name].dtype == expected.dtype, name
        assert near(found[name], expected, tolerance), name


def require_rows_apart(model: InnerModel, graph: LaidOut, feeds: dict[str, np.ndarray]) -> None:
    """What comes of a row is what comes of it among other rows."""
    tensors = tensors_of(model)
    rows = len(next(iter(feeds.values())))
    whole = values(model, graph, tensors, feeds)
    for first, last in ((0, 1), (1, rows)):
        part = values(model, graph, tensors, {name: data[first:last] for name, data in feeds.items()})
        for name, found in part.items():
            assert near(found, whole[name][first:last]), name


@pytest.mark.parametrize(
    "path", [*DEMO[::2], *(seldom(path) for path in DEMO[1::2])], ids=lambda path: path.stem
)
def test_no_bit_of_a_demo_model_depends_on_which_layers_are_chosen(path: Path) -> None:
    if path.stem == "broken":
        pytest.skip("it is no model")
    model = open_inside(path)
    graph = laid_out(model)
    if graph is None:
        pytest.skip("it runs as it is written")
    feeds = feeds_of(path)
    require_independent(model, graph, feeds)
    require_close(model, graph, feeds)
    if graph.by_row:
        require_rows_apart(model, graph, feeds)


def test_most_demo_models_are_laid_out_and_many_row_by_row() -> None:
    graphs = [laid_out(open_inside(path)) for path in DEMO if path.stem != "broken"]
    # How many have enough channels depends on the processor.
    if not any(graphs):
        pytest.skip("this processor has no blocked layout")
    assert sum(graph is not None for graph in graphs) > len(graphs) // 2
    assert sum(graph is not None and graph.by_row for graph in graphs) > len(graphs) // 4


@pytest.mark.real_zoo
@pytest.mark.parametrize("alone", [15, seldom(100)])
def test_no_bit_of_a_real_model_depends_on_which_layers_are_chosen(real_zoo: Path, alone: int) -> None:
    seen: Counter[bool] = Counter()
    for path in sorted(real_zoo.glob("*.onnx")):
        if path.name in SLOW or path.name in REFUSED:
            continue
        model = open_inside(path)
        graph = laid_out(model)
        seen[graph is not None] += 1
        if graph is not None:
            feeds = feeds_of(path)
            require_independent(model, graph, feeds, alone)
            # One takes logarithms of what is all but zero.
            require_close(model, graph, feeds, 2e-4)
            if graph.by_row:
                require_rows_apart(model, graph, feeds)
    assert sum(seen.values()) == 37 - len(SLOW) - len(REFUSED)


def residual() -> onnx.ModelProto:
    """Two convolutions, a sum that is fused into the second where nobody else wants it, and a ReLU."""
    nodes = [
        helper.make_node("Conv", ["x", "one.weight"], ["c"], name="one", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "two.weight", "two.bias"], ["d"], name="two", pads=[1] * 4),
        helper.make_node("Add", ["d", "r"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["y"], name="last"),
    ]
    weights = [
        tensor("one.weight", random_weight((16, 16, 3, 3))),
        tensor("two.weight", random_weight((16, 16, 3, 3), seed=1)),
        tensor("two.bias", random_weight((16,), seed=2)),
    ]
    inputs = [image_input(None, 16, 12, 12)]
    return model_of(graph_of(nodes, inputs=inputs, outputs=[output("y", 4)], weights=weights))


def laid(path: Path) -> LaidOut:
    graph = laid_out(open_inside(path))
    if graph is None:
        pytest.skip("this processor has no blocked layout")
    return graph


def test_nothing_is_fused_and_only_unwanted_copies_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", residual())
    graph = laid(path)
    every, few = (onnx.load_model_from_string(graph.with_outputs(names)) for names in ("crds", ""))
    assert [info.name for info in few.graph.output] == ["y"]
    assert {info.name for info in every.graph.output} == set("crdsy")
    ops = Counter(node.op_type for node in every.graph.node)
    assert (ops["Conv"], ops["Add"], ops["Relu"]) == (2, 1, 2)
    assert not any(
        node.op_type == "Conv"
        and (len(node.input) > 3 or any(a.name == "activation" for a in node.attribute))
        for node in every.graph.node
    )
    left = [node.SerializeToString() for node in few.graph.node]
    rest = [node for node in every.graph.node if node.SerializeToString() not in left]
    assert [(node.domain, node.op_type) for node in rest] == [(BLOCKED, "ReorderOutput")] * 4
    feeds = {"x": images(3, channels=16, size=12)}
    require_independent(open_inside(path), graph, feeds)
    require_close(open_inside(path), graph, feeds)


def test_external_data_gives_the_same_bits_and_stays_where_it_is(tmp_path: Path) -> None:
    inner, model = write(tmp_path / "inner.onnx", residual()), residual()
    (tmp_path / "away").mkdir()
    move_outside(model, tmp_path / "away")
    outer = write(tmp_path / "away" / "outer.onnx", model)
    feeds = {"x": images(3, channels=16, size=12)}
    found = [values(open_inside(path), laid(path), ["c", "d", "s"], feeds) for path in (inner, outer)]
    assert same(*found)
    assert sorted(path.name for path in outer.parent.iterdir()) == ["outer.onnx", "weights.bin"]


def test_what_draws_numbers_runs_as_it_is_written(tmp_path: Path) -> None:
    model = residual()
    model.graph.node.insert(3, helper.make_node("RandomNormalLike", ["d"], ["noise"], name="noise"))
    assert laid_out(open_inside(write(tmp_path / "m.onnx", model))) is None
    dense = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = model_of(
        graph_of([dense], inputs=[image_input(None, 6)], weights=[tensor("w", random_weight((6, 4)))])
    )
    assert laid_out(open_inside(write(tmp_path / "dense.onnx", model))) is None


def test_a_layout_that_does_not_run_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged:
        by_row = True

        def with_outputs(self, _: object) -> bytes:
            return b"no model"

    path, data = write(tmp_path / "m.onnx", residual()), images(40, channels=16, size=12)
    monkeypatch.setattr(engine, "laid_out", lambda _: None)
    written = saturation(path, data=data, kind="all")
    monkeypatch.setattr(engine, "laid_out", lambda _: Damaged())
    assert saturation(path, data=data, kind="all") == written
    node = helper.make_node("Conv", ["x", "w"], ["y"], domain="strange")
    strange = write(
        tmp_path / "s.onnx",
        model_of(graph_of([node], weights=[tensor("w", random_weight((4, 16, 3, 3)))]), domains=["strange"]),
    )
    with pytest.raises(ModelError, match="strange"):
        saturation(strange, data=data, kind="all")


def test_rows_that_are_apart_go_through_in_parts_of_which_no_bit_depends_on_the_batch(tmp_path: Path) -> None:
    path, data = write(tmp_path / "m.onnx", residual()), images(100, channels=16, size=12)
    if not laid(path).by_row:
        pytest.fail("each row of a residual net is by itself")
    assert Activations(open_inside(path), data, Setup(batch=100)).at_once() == 32
    found = [saturation(path, data=data, batch=batch, kind="all").layers for batch in (32, 64, 96)]
    assert found[0] == found[1] == found[2]
    assert all(layer.observations == 14_400 for layer in found[0])


def test_rows_that_are_not_apart_stay_together(tmp_path: Path) -> None:
    model = residual()
    del model.graph.node[4]
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["s"], ["mean"], name="mean", axes=[0]),
            helper.make_node("Sub", ["s", "mean"], ["y"], name="centred"),
        ]
    )
    path, data = write(tmp_path / "m.onnx", model), images(80, channels=16, size=12)
    assert not laid(path).by_row
    found = Activations(open_inside(path), data, Setup(batch=80, layers=("centred",)))
    assert found.at_once() == 80
    whole = values(open_inside(path), None, ["y"], {"x": data})["y"]
    (layer,) = saturation(path, data=data, batch=80, layers=["centred"]).layers
    assert layer.trace == pytest.approx(whole.astype("f8").var(axis=(0, 2, 3)).sum(), rel=1e-5)
