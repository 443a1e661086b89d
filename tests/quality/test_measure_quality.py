"""The quality of any model: every kind of input gives the same numbers, and those of an analysis."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle  # noqa: TID251 - to write what must not be read
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper
from safetensors.numpy import save_file

import reference
from damaged_arrays import HEADERS, npy, patched
from filterdb import measure_quality
from filterdb.config import demo_folder
from filterdb.errors import FilterDBError, ModelError, NotAModelError, UsageError, WeightError
from filterdb.measure import LayerQuality, ModelQuality
from filterdb.onnxgraph import read_layers
from filterdb.quality import METRICS
from filterdb.testing import conv_net, graph_of, model_of, random_weight, tensor, write_model
from filterdb.types import Kernel
from seldom import seldom

SHAPES = [(8, 3, 3, 3), (16, 8, 3, 3), (16, 1, 3, 3), (4, 16, 1, 1), (6, 4, 5, 5)]
NAMES = ["stem", "body.0.conv1", "body.0.dw", "body.1.point", "head"]


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return {
        name: random_weight(shape, seed=i) for i, (name, shape) in enumerate(zip(NAMES, SHAPES, strict=True))
    }


def as_state_dict(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{name}.weight": weight for name, weight in weights.items()}


def as_onnx(path: Path, weights: dict[str, np.ndarray]) -> Path:
    names = [f"{name}.weight" for name in weights]
    return write_model(path / "m.onnx", conv_net(list(weights.values()), names=names))


def same(a: LayerQuality, b: LayerQuality) -> bool:
    """Tell whether two layers have the same bits and words."""
    bits = [np.array(list(x.values())).tobytes() for x in (a, b)]
    return list(a) == list(b) and bits[0] == bits[1] and (a.labels, a.reason) == (b.labels, b.reason)


def assert_same(found: ModelQuality, weights: dict[str, np.ndarray]) -> None:
    assert list(found) == list(weights)
    for name, weight in weights.items():
        assert same(found[name], measure_quality(weight)), name


# What the numbers are.


@pytest.mark.parametrize("shape", [*SHAPES, (12, 6, 1, 7), (5, 4, 1, 9), (64, 3, 7, 7), (2, 1, 2, 2)])
def test_every_metric_of_every_kernel_equals_its_definition(shape: tuple[int, ...]) -> None:
    weight = random_weight(shape, seed=3)
    weight[0, 0] *= np.float32(1e-4)
    found = measure_quality(weight)
    assert list(found) == list(METRICS)
    for name, value in reference.quality(weight).items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-12, nan_ok=True), name
    assert found.shape == shape


def test_kernels_of_other_sizes_have_no_threshold_and_say_so() -> None:
    five, one = measure_quality(np.ones((4, 4, 5, 5), "f4")), measure_quality(random_weight((4, 4, 1, 1)))
    assert "T_H is known for filters of 9 values, not of 25" in five.reason
    assert "filters of one value have no variance entropy" in one.reason
    for layer in (five, one):
        assert math.isnan(layer["variance_entropy_norm"])
        assert math.isnan(layer["variance_entropy_clean_norm"])
        assert layer.labels == {}
    assert (five["variance_entropy"], math.isnan(one["variance_entropy"])) == (0, True)


def test_labels_are_those_of_the_metrics() -> None:
    random = measure_quality(random_weight((64, 64, 3, 3)))
    assert random.labels == {"random": True, "low_diversity": False, "degenerate": True}
    flat = random_weight((64, 64, 3, 3)) * 1e-3 + random_weight((64, 64, 1, 1), seed=1)
    assert measure_quality(flat).labels == {"random": False, "low_diversity": True, "degenerate": False}


@pytest.mark.parametrize("eps", [0.001, 0.2, 1.0])
def test_sparsity_begins_where_it_is_said(eps: float) -> None:
    weight = random_weight((16, 16, 3, 3)) * np.linspace(1e-3, 1, 16, dtype="f4")[:, None, None, None]
    found = measure_quality(weight, sparsity_eps=eps)["sparsity"]
    assert found == pytest.approx(reference.sparse(weight.reshape(-1, 9), eps).mean())


def test_filters_with_nan_and_infinity_are_left_out_and_counted() -> None:
    weight = random_weight((8, 8, 3, 3))
    weight[0, 0, 0, 0], weight[3, 2, 1, 1] = np.nan, np.inf
    found = measure_quality(weight)
    assert (found["n"], found.nonfinite) == (64, 2)
    assert all(math.isfinite(value) for value in found.values())


def test_the_values_are_plain_numbers_for_whoever_writes_them_down() -> None:
    found = measure_quality(random_weight((8, 8, 3, 3)))
    assert {type(value) for name, value in found.items() if name != "n"} == {float}
    assert type(found["n"]) is int
    assert json.loads(json.dumps(found)) == found


def test_results_survive_copies_and_pickles(weights: dict[str, np.ndarray]) -> None:
    found = measure_quality(as_state_dict(weights))
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other == found
        assert other.skipped == found.skipped
        assert other["stem"].labels == found["stem"].labels


def test_the_frame_has_a_row_a_layer(weights: dict[str, np.ndarray]) -> None:
    frame = measure_quality(as_state_dict(weights), kernel="any").to_frame()
    assert list(frame.index) == NAMES
    assert frame["kernel"].tolist() == ["3x3", "3x3", "3x3", "1x1", "5x5"]
    assert frame.loc["stem", list(METRICS)].notna().all()
    assert frame.loc["head", "random"] is None
    assert measure_quality({"x": np.ones(3)}).to_frame().empty


# One implementation: the bits of an analysis.


def analyzed(folder: Path, zoo: Path | str, kernel: str) -> pd.DataFrame:
    for command in (
        ["extract", zoo, "--out", "d.h5", "--kernel", kernel],
        ["analyze", "d.h5", "--out", "results", "--by", "conv_depth"],
    ):
        run = [sys.executable, "-m", "filterdb", *map(str, command)]
        done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    return pd.read_parquet(folder / "results" / "layers.parquet")


@pytest.mark.parametrize("kernel", ["3x3", seldom("5x5")])
def test_onnx_files_give_the_bits_of_an_analysis_of_the_shipped_zoo(tmp_path: Path, kernel: str) -> None:
    layers = analyzed(tmp_path, "package:demo", kernel)
    assert len(layers) > 0
    for model, rows in layers.groupby("model"):
        found = measure_quality(demo_folder() / "zoo" / f"{model}.onnx", kernel=kernel)
        assert list(found) == rows["layer_name"].tolist()
        frame = found.to_frame()
        for name in METRICS:
            assert frame[name].to_numpy().tobytes() == rows[name].to_numpy().tobytes(), (model, name)
        assert frame["reason"].tolist() == rows["reason"].tolist()
        for name in ("random", "low_diversity", "degenerate"):
            assert [bool(value) for value in frame[name]] == rows[name].tolist()


# ONNX.


def test_onnx_layers_have_the_names_and_order_of_a_data_set(
    tmp_path: Path, weights: dict[str, np.ndarray]
) -> None:
    path = as_onnx(tmp_path, weights)
    for kernel in ("3x3", "1x1", "5x5"):
        record, _ = read_layers(path, kernel=Kernel.parse(kernel))
        assert list(measure_quality(path, kernel=kernel)) == [layer.name for layer in record.layers]
    everything = measure_quality(str(path), kernel="any")
    assert_same(everything, weights)
    depthwise = everything["body.0.dw"]
    assert (depthwise.op_type, depthwise.group, depthwise.dtype) == ("Conv", 16, "float32")


def test_onnx_layers_that_are_not_measured_have_a_reason(tmp_path: Path) -> None:
    shapes = {"a": (4, 4, 3, 3), "b": (4, 4, 3), "c": (4, 4, 3, 3), "d": (2, 2, 64, 64), "e": (4, 4, 1, 1)}
    ops = ["Conv", "Conv", "ConvTranspose", "Conv", "Conv"]
    nodes = [helper.make_node(op, ["x", n], [f"y{n}"], name=n) for op, n in zip(ops, shapes, strict=True)]
    stored = [tensor(name, random_weight(shape)) for name, shape in shapes.items()]
    path = write_model(tmp_path / "m.onnx", model_of(graph_of(nodes, outputs=["ya"], weights=stored)))
    found = measure_quality(path)
    assert list(found) == ["a"]
    reasons = {layer.name: layer.reason for layer in found.skipped}
    assert reasons["b"] == "a 1-D convolution"
    assert reasons["c"] == "a transposed convolution"
    assert reasons["e"] == "the kernel is 1x1, not 3x3"
    reasons = {layer.name: layer.reason for layer in measure_quality(path, kernel="any").skipped}
    assert reasons["d"] == "the kernel is 64x64; expected at most 1,024 values"


# State dicts and files of arrays.


def test_a_state_dict_gives_its_weights_of_four_dimensions_by_the_names_of_their_layers(
    weights: dict[str, np.ndarray],
) -> None:
    state = as_state_dict(weights) | {
        "stem.bias": np.ones(8, "f4"),
        "fc.weight": np.ones((3, 4), "f4"),
        "line.weight": np.ones((3, 4, 5), "f4"),
        "volume.weight": np.ones((3, 4, 3, 3, 3), "f4"),
        "codes.weight": np.ones((4, 4, 3, 3), "i1"),
        "hollow.weight": np.ones((4, 0, 3, 3), "f4"),
        "steps": 3,
    }
    found = measure_quality(state, kernel="any")
    assert_same(found, weights)
    assert {layer.name: layer.reason for layer in found.skipped} == {
        "line": "a 1-D convolution",
        "volume": "a 3-D convolution",
        "codes": "the values are of type int8; expected floating-point numbers",
        "hollow": "the weight is empty: its shape is [4, 0, 3, 3]",
    }
    assert list(measure_quality(state)) == NAMES[:3]


def test_names_stay_whole_where_the_short_one_is_taken() -> None:
    weight = random_weight((4, 4, 3, 3))
    assert list(measure_quality({"conv.weight": weight, "conv": weight})) == ["conv.weight", "conv"]
    assert list(measure_quality({"weight": weight})) == ["weight"]


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_values_of_any_width_are_measured_as_float32(dtype: Any) -> None:
    weight = random_weight((8, 8, 3, 3)).astype(dtype)
    assert same(measure_quality(weight), measure_quality(weight.astype(np.float32)))


def test_arrays_in_any_layout_give_the_same_bits() -> None:
    weight = random_weight((8, 6, 3, 3))
    expected = measure_quality(weight)
    read_only = weight.copy()
    read_only.flags.writeable = False
    shifted = np.frombuffer(b"x" + weight.tobytes(), "<f4", offset=1).reshape(weight.shape)
    for other in (np.asfortranarray(weight), weight[::-1][::-1], read_only, shifted):
        assert same(measure_quality(other), expected)


def test_a_checkpoint_around_a_state_dict_is_refused_with_the_way_in(weights: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError) as refused:
        measure_quality({"epoch": 3, "model": as_state_dict(weights)})
    assert refused.value.hint == "its entry 'model' is a mapping: pass that"
    with pytest.raises(UsageError, match="the mapping is empty"):
        measure_quality({})


def test_safetensors_give_what_their_tensors_give(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    path = tmp_path / "model.safetensors"
    save_file(as_state_dict(weights) | {"fc.weight": np.ones((2, 2), "f4")}, path, {"format": "pt"})
    found = measure_quality(path, kernel="any")
    # The library sorts what it writes.
    assert_same(found, {name: weights[name] for name in found})
    assert sorted(found) == sorted(NAMES)


def safetensors_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("F64", "<f8"), ("F16", "<f2"), ("BF16", ml_dtypes.bfloat16), ("F8_E5M2", ml_dtypes.float8_e5m2)],
)
def test_safetensors_of_any_width_are_read_at_any_offset(tmp_path: Path, name: str, dtype: Any) -> None:
    weight = random_weight((8, 8, 3, 3)).astype(dtype)
    size = weight.nbytes
    header = {"c.weight": {"dtype": name, "shape": [8, 8, 3, 3], "data_offsets": [3, 3 + size]}}
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_of(header, b"abc" + weight.tobytes()))
    assert same(measure_quality(path)["c"], measure_quality(weight.astype(np.float32)))


ENTRY = {"dtype": "F32", "shape": [1, 1, 3, 3], "data_offsets": [0, 36]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x00\x00",
        b"\xff" * 8 + b"{}",
        (1 << 40).to_bytes(8, "little") + b"{}",
        safetensors_of(b"not json"),
        safetensors_of(b"\xff\xfe"),
        safetensors_of([1, 2]),
        safetensors_of(b"[" * 100_000),
        safetensors_of(b'{"a": {}, "a": {}}'),
        safetensors_of({"a": 3}),
        safetensors_of({"a": {"dtype": "F32"}}),
        safetensors_of({"a": ENTRY}, b"\0" * 35),
        safetensors_of({"a": ENTRY | {"data_offsets": [36, 0]}}, b"\0" * 36),
        safetensors_of({"a": ENTRY | {"data_offsets": [-36, 0]}}, b"\0" * 36),
        safetensors_of({"a": ENTRY | {"data_offsets": [0, 36, 72]}}, b"\0" * 72),
        safetensors_of({"a": ENTRY | {"shape": [1 << 40, 1 << 40, 3, 3]}}, b"\0" * 36),
        safetensors_of({"a": ENTRY | {"shape": [-1, -1, 3, 3]}}, b"\0" * 36),
        safetensors_of({"a": ENTRY | {"shape": [10**4_000, 1, 3, 3]}}, b"\0" * 36),
        safetensors_of({"a": ENTRY | {"shape": [1.0, True, 3, 3]}}, b"\0" * 36),
        safetensors_of({"a": ENTRY | {"shape": "1133"}}, b"\0" * 36),
    ],
)
def test_damaged_safetensors_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(NotAModelError) as refused:
        measure_quality(path)
    assert refused.value.where == str(path)


def test_safetensors_of_unknown_types_are_skipped_with_the_reason(tmp_path: Path) -> None:
    entries = {"a": ENTRY, "b.weight": ENTRY | {"dtype": "I64"}, "c.weight": ENTRY | {"dtype": "F4"}}
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_of(entries, b"\0" * 36))
    found = measure_quality(path)
    assert list(found) == ["a"]
    assert [layer.reason.partition(";")[0] for layer in found.skipped] == [
        "the values are of type I64",
        "the values are of type F4",
    ]


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_hold_one_layer_named_like_the_file(tmp_path: Path, order: Any) -> None:
    weight = random_weight((6, 4, 5, 5))
    np.save(tmp_path / "conv5.npy", np.asarray(weight, order=order))
    assert_same(measure_quality(tmp_path / "conv5.npy"), {"conv5": weight})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_archives_are_read_by_the_rules_of_state_dicts(
    tmp_path: Path, weights: dict[str, np.ndarray], save: Callable[..., None]
) -> None:
    save(tmp_path / "w.npz", **as_state_dict(weights), bias=np.ones(3))
    assert_same(measure_quality(tmp_path / "w.npz", kernel="any"), weights)


class Hostile:
    """Leaves a file behind when a pickle of it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_no_pickle_in_an_archive_is_read_and_the_weights_beside_it_are(tmp_path: Path) -> None:
    mark, weight = tmp_path / "mark", random_weight((4, 4, 3, 3))
    hostile = np.empty((1, 1, 3, 3), object)
    hostile[...] = Hostile(mark)
    np.savez(tmp_path / "w.npz", good=weight, settings=hostile.reshape(-1), bad=hostile)
    found = measure_quality(tmp_path / "w.npz")
    assert_same(found, {"good": weight})
    assert "only a pickle can keep" in found.skipped[0].reason
    np.save(tmp_path / "w.npy", hostile)
    with pytest.raises(NotAModelError, match="only a pickle can keep"):
        measure_quality(tmp_path / "w.npy")
    for suffix in (".pt", ".pth", ".ckpt", ".pkl", ".bin", ".anything"):
        (tmp_path / f"w{suffix}").write_bytes(pickle.dumps(Hostile(mark)))
        with pytest.raises(NotAModelError, match="pickle") as refused:
            measure_quality(tmp_path / f"w{suffix}")
        assert "weights_only=True" in (refused.value.hint or "")
    assert not mark.exists()


def npy_of(shape: tuple[int, ...], data: bytes) -> bytes:
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def test_arrays_that_promise_more_than_they_hold_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    liar = npy_of((1 << 20, 1 << 20, 3, 3), b"\0" * 36)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("liar.npy", liar)
        archive.writestr("good.npy", npy_of((1, 1, 3, 3), b"\0" * 36))
    found = measure_quality(tmp_path / "w.npz")
    assert list(found) == ["good"]
    assert "the archive has 36" in found.skipped[0].reason
    (tmp_path / "w.npy").write_bytes(liar)
    with pytest.raises(NotAModelError, match="the file has 36"):
        measure_quality(tmp_path / "w.npy")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY", b"no array at all"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damaged_files_of_arrays_are_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(NotAModelError) as refused:
        measure_quality(path)
    assert refused.value.where == str(path)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_that_are_none_are_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "w.npy").write_bytes(npy(header))
    patched(tmp_path / "w.npz", npy(header))
    with pytest.raises(NotAModelError):
        measure_quality(tmp_path / "w.npy")
    # An archive may hold arrays that are no weights.
    if header not in (HEADERS["objects"], HEADERS["many types"]):
        with pytest.raises(NotAModelError):
            measure_quality(tmp_path / "w.npz")


@pytest.mark.parametrize("options", [{"encrypted": True}, *({"method": n} for n in (8, 12, 14, 99))], ids=str)
def test_archives_that_cannot_be_unpacked_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    patched(tmp_path / "w.npz", npy_of((1, 1, 3, 3), bytes(36)), **options)
    with pytest.raises(ModelError, match="cannot be read"):
        measure_quality(tmp_path / "w.npz")


def test_an_archive_of_many_arrays_is_listed_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        for place in range(3_000):
            archive.writestr(f"{place}.npy", npy_of((1, 1, 3, 3), bytes(36)))
    start = time.monotonic()
    assert len(measure_quality(tmp_path / "w.npz")) == 3_000
    assert time.monotonic() - start < 30  # to list it for each of them takes minutes


def test_a_tensor_of_a_million_axes_is_refused(tmp_path: Path) -> None:
    entry = ENTRY | {"shape": [1 << 30] * 1_000_000}
    (tmp_path / "m.safetensors").write_bytes(safetensors_of({"a": entry}, bytes(36)))
    start = time.monotonic()
    with pytest.raises(NotAModelError, match="1000000 axes"):
        measure_quality(tmp_path / "m.safetensors")
    assert time.monotonic() - start < 20


def test_a_data_set_is_sent_where_data_sets_are_measured(tmp_path: Path) -> None:
    (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(NotAModelError) as refused:
        measure_quality(tmp_path / "d.h5")
    assert "filterdb analyze" in (refused.value.hint or "")


def test_files_are_known_by_their_content_where_the_name_says_nothing(tmp_path: Path) -> None:
    weight = random_weight((4, 4, 3, 3))
    save_file({"c.weight": weight}, tmp_path / "blob")
    assert_same(measure_quality(tmp_path / "blob"), {"c": weight})
    onnx.save(conv_net([weight], names=["c.weight"]), tmp_path / "other.bin")
    assert_same(measure_quality(tmp_path / "other.bin"), {"c": weight})


@pytest.mark.parametrize("name", ["nothing.onnx", "nothing.safetensors", "nothing.npz", "."])
def test_files_that_are_not_there_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError) as refused:
        measure_quality(tmp_path / name)
    assert refused.value.where == str(tmp_path / name)


# PyTorch modules, by what they can do. The real ones are in tests/oracles.


class Part:
    """As much of a PyTorch module as is asked for."""

    def __init__(self, weight: Any = None, **parts: Part) -> None:
        self.parts = parts
        if weight is not None:
            self.weight = weight

    def named_modules(self, prefix: str = "") -> Any:
        yield prefix, self
        for name, part in self.parts.items():
            yield from part.named_modules(f"{prefix}.{name}".lstrip("."))

    def named_parameters(self, *, recurse: bool) -> Any:
        assert not recurse
        yield from {"weight": self.weight}.items() if hasattr(self, "weight") else ()


class Conv2d(Part):
    groups = 4


class Wider(Conv2d):
    pass


class ConvTranspose2d(Part):
    pass


class Uninitialized:
    dtype = "float32"

    @property
    def shape(self) -> Any:
        raise RuntimeError("a lazy layer has no shape yet")


def test_modules_give_their_convolutions_by_nested_names_and_report_the_rest() -> None:
    weight = random_weight((8, 2, 3, 3))
    model = Part(
        stem=Conv2d(weight),
        block=Part(conv=Wider(weight), up=ConvTranspose2d(weight), wrapper=Conv2d(inner=Conv2d(weight))),
        lazy=Conv2d(Uninitialized()),
        own=Part(weight),
        head=Part(np.ones((3, 4), "f4")),
    )
    found = measure_quality(model)
    assert_same(found, dict.fromkeys(["stem", "block.conv", "block.wrapper.inner"], weight))
    assert (found["block.conv"].op_type, found["block.conv"].group) == ("Wider", 4)
    assert [(layer.name, layer.reason.partition(";")[0]) for layer in found.skipped] == [
        ("block.up", "a transposed convolution"),
        ("lazy", "the weight is not initialized: the layer is lazy"),
        ("own.weight", "not the weight of a Conv2d"),
    ]
    assert list(measure_quality(Conv2d(weight))) == [""]


# The page.


def test_the_page_shows_what_commands_and_sessions_print(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root / "tools"))
    import write_docs

    shutil.copy(demo_folder() / "zoo" / "disc-handwriting-invres-fit.onnx", tmp_path / "model.onnx")
    page = (root / "docs" / "quality.md").read_text("utf-8")
    assert write_docs.readme(page, tmp_path) == page
    command = [sys.executable, "-m", "filterdb", "quality", "model.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert f"$ filterdb quality model.onnx\n{done.stdout}```" in page


# Wrong usage.


@pytest.mark.parametrize("thing", [None, 3, [1, 2], object()])
def test_what_has_no_weights_is_refused(thing: Any) -> None:
    with pytest.raises(UsageError, match="has no weights"):
        measure_quality(thing)


def test_arrays_that_are_no_weight_are_refused() -> None:
    with pytest.raises(UsageError, match=r"the array has the shape \[3, 3\]"):
        measure_quality(np.ones((3, 3), "f4"))
    with pytest.raises(WeightError, match="int64"):
        measure_quality(np.ones((2, 2, 3, 3), "i8"))
    with pytest.raises(WeightError, match="empty"):
        measure_quality(np.ones((0, 2, 3, 3), "f4"))


@pytest.mark.parametrize(
    "options", [{"kernel": "3 by 3"}, {"kernel": 3}, {"sparsity_eps": 0}, {"sparsity_eps": math.nan}]
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(FilterDBError) as refused:
        measure_quality(np.ones((2, 2, 3, 3), "f4"), **options)
    assert refused.value.exit_code == 2
