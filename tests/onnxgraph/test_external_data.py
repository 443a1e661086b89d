"""Weights beside the model: read where they are honest, refused where they are not."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from filterdb.onnxgraph import Limits, open_model, read_layers
from filterdb.onnxgraph.load import load
from filterdb.testing import conv_net, move_outside, point_outside, write_model
from filterdb.types import Kernel

SHAPES = [(8, 3, 3, 3), (8, 8, 3, 3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the model, inside another that it must not reach."""
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    inner = tmp_path / "zoo"
    inner.mkdir()
    return inner


def outside(folder: Path, location: str = "weights.bin") -> onnx.ModelProto:
    model = conv_net(SHAPES)
    move_outside(model, folder, location)
    return model


def one_layer_lost(path: Path) -> str:
    """Extract a model whose first layer is bad, and return why."""
    record, blocks = read_layers(path)
    assert [layer.name for layer in record.layers] == ["layer1"]
    assert len(blocks) == 1
    (layer,) = record.skipped
    return layer.reason


@pytest.mark.parametrize("location", ["weights.bin", "data/part/weights.bin", "gewichte ü.bin", "./w.bin"])
def test_weights_in_a_file_beside_the_model_are_read(folder: Path, location: str) -> None:
    inside, _ = read_layers(write_model(folder / "inside.onnx", conv_net(SHAPES)))
    record, _ = read_layers(write_model(folder / "m.onnx", outside(folder, location)))
    assert [layer.weights_sha256 for layer in record.layers] == [
        layer.weights_sha256 for layer in inside.layers
    ]
    assert record.layers[0].weight_source == "initializer"


def test_a_file_without_offset_and_length_is_read_from_its_start(folder: Path) -> None:
    model = conv_net(SHAPES[:1])
    raw = model.graph.initializer[0].raw_data
    (folder / "w.bin").write_bytes(raw)
    point_outside(model.graph.initializer[0], "w.bin")
    _, (block,) = read_layers(write_model(folder / "m.onnx", model))
    np.testing.assert_array_equal(block, np.frombuffer(raw, np.float32).reshape(-1, 9))


def test_the_hash_covers_every_file_that_holds_weights(folder: Path) -> None:
    path = write_model(folder / "m.onnx", outside(folder))
    with open_model(path) as model:
        first, size = model.sha256, model.size
    assert size == path.stat().st_size + (folder / "weights.bin").stat().st_size
    own = hashlib.sha256(path.read_bytes()).digest()
    data = hashlib.sha256((folder / "weights.bin").read_bytes()).digest()
    name = b"weights.bin"
    parts = (len(name).to_bytes(8, "little"), name, (32).to_bytes(8, "little"), data)
    assert first == hashlib.sha256(own + b"".join(parts)).hexdigest()
    changed = bytearray((folder / "weights.bin").read_bytes())
    changed[0] ^= 1
    (folder / "weights.bin").write_bytes(changed)
    with open_model(path) as model:
        assert model.sha256 != first


def test_a_missing_file_costs_its_layers_and_the_hash_still_exists(folder: Path) -> None:
    path = write_model(folder / "m.onnx", outside(folder))
    (folder / "weights.bin").unlink()
    record, blocks = read_layers(path)
    assert not blocks
    assert {s.reason for s in record.skipped} == {
        "external data 'weights.bin' is missing; expected the file beside the model"
    }
    assert len(record.sha256) == 64
    assert record.size == path.stat().st_size
    assert record.kernels == {}


HOSTILE: list[tuple[str, str, str]] = [
    ("parent", "../secret.bin", "leads out of the model's folder"),
    ("parent in the middle", "data/../../secret.bin", "leads out of the model's folder"),
    ("absolute", "/etc/passwd", "an absolute path"),
    ("Windows drive", "C:/secret.bin", "an absolute path"),
    ("backslash", "..\\secret.bin", "leads out of the model's folder"),
    ("share", "\\\\server\\secret.bin", "an absolute path"),
    ("empty", "", "no file name"),
    ("dot", ".", "no file name"),
    ("zero byte", "a\0b", "no file name"),
    ("folder", "data", "a folder"),
    ("symbolic link", "link.bin", "a symbolic link"),
    ("link to a folder", "linked/secret.bin", "a symbolic link"),
    ("hard link", "hard.bin", "2 names (hard links)"),
    ("pipe", "pipe", "a device or a pipe"),
    ("dangling link", "dangling", "a symbolic link"),
    ("too long", "n" * 5_000, "cannot be opened"),
    ("file as a folder", "m.onnx/w.bin", "cannot be opened"),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("location", "reason"), [c[1:] for c in HOSTILE], ids=[c[0] for c in HOSTILE])
def test_a_location_that_no_honest_model_has_costs_only_its_layer(
    folder: Path, location: str, reason: str
) -> None:
    (folder / "data").mkdir()
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    (folder / "linked").symlink_to(folder.parent, target_is_directory=True)
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "hard.bin").hardlink_to(folder.parent / "secret.bin")
    os.mkfifo(folder / "pipe")
    model = conv_net(SHAPES)
    point_outside(model.graph.initializer[0], location, offset=0, length=864)
    path = write_model(folder / "m.onnx", model)
    assert reason in one_layer_lost(path)
    with open_model(path) as opened:
        assert len(opened.sha256) == 64
        assert opened.size == path.stat().st_size


RANGES: list[tuple[str, dict[str, Any], str]] = [
    ("beyond the end", {"offset": 9_500, "length": 864}, "has 10000 bytes, but a tensor is said to have 864"),
    ("far beyond the end", {"offset": 2**62, "length": 864}, "at offset 4611686018427387904"),
    ("negative offset", {"offset": -8, "length": 864}, "at offset -8"),
    ("wrong length", {"offset": 0, "length": 860}, "needs 864 bytes, but its external data has 860"),
    ("huge length", {"offset": 0, "length": 2**63}, "needs 864 bytes"),
    ("no number", {"offset": "many", "length": 864}, "is no number"),
]


@pytest.mark.parametrize(("place", "reason"), [c[1:] for c in RANGES], ids=[c[0] for c in RANGES])
def test_a_range_that_is_not_in_the_file_costs_only_its_layer(
    folder: Path, place: dict[str, Any], reason: str
) -> None:
    (folder / "w.bin").write_bytes(bytes(10_000))
    model = conv_net(SHAPES)
    point_outside(model.graph.initializer[0], "w.bin", **place)
    assert reason in one_layer_lost(write_model(folder / "m.onnx", model))


def test_an_empty_file_is_too_short_for_a_weight(folder: Path) -> None:
    (folder / "w.bin").touch()
    model = conv_net(SHAPES)
    point_outside(model.graph.initializer[0], "w.bin")
    assert "has 0 bytes" in one_layer_lost(write_model(folder / "m.onnx", model))


def test_a_bad_file_that_no_convolution_needs_costs_nothing(folder: Path) -> None:
    model = conv_net(SHAPES)
    model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
    model.graph.initializer[-1].name = "unused"
    point_outside(model.graph.initializer[-1], "../secret.bin")
    record, blocks = read_layers(write_model(folder / "m.onnx", model))
    assert len(blocks) == 2
    assert not record.skipped


def test_a_file_of_many_names_is_mapped_and_read_once(folder: Path) -> None:
    model = conv_net(SHAPES)
    data = b"".join(weight.raw_data for weight in model.graph.initializer)
    (folder / "w.bin").write_bytes(data)
    offset = 0
    for weight, location in zip(model.graph.initializer, ["w.bin", ".//./w.bin"], strict=True):
        length = len(weight.raw_data)
        point_outside(weight, location, offset=offset, length=length)
        offset += length
    path = write_model(folder / "m.onnx", model)
    with open_model(path) as opened:
        assert opened.size == path.stat().st_size + len(data)
        assert len(opened.extract(Kernel(3, 3), lambda *_: None).layers) == 2
        assert [location for location, _ in opened.stamps] == ["", "w.bin"]


def test_a_file_that_cannot_be_mapped_costs_its_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int, size: int, **options: Any) -> mmap.mmap:
        if size == (folder / "w.bin").stat().st_size:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(handle, size, **options)

    path = write_model(folder / "m.onnx", outside(folder, "w.bin"))
    real = mmap.mmap
    monkeypatch.setattr("filterdb.onnxgraph.files.mmap.mmap", fail)
    assert "cannot be mapped into memory" in read_layers(path)[0].skipped[0].reason


def test_external_data_may_lie_under_another_root(folder: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "elsewhere" / "m.onnx", outside(folder))
    with open_model(path, root=folder) as model:
        assert len(model.extract(Kernel(3, 3), lambda *_: None).layers) == 2


def test_weights_beyond_two_gigabytes_are_read_without_reading_the_rest(folder: Path) -> None:
    model = conv_net(SHAPES)
    raw = model.graph.initializer[0].raw_data
    offset = 3 << 30
    with (folder / "w.bin").open("wb") as file:  # sparse: takes no space on disk
        file.seek(offset)
        file.write(raw)
    point_outside(model.graph.initializer[0], "w.bin", offset=offset, length=len(raw))
    path = write_model(folder / "m.onnx", model)
    loaded = load(path, root=None, limits=Limits())
    values = loaded.tensors.array(loaded.model.graph.initializer[0])
    np.testing.assert_array_equal(values.reshape(-1), np.frombuffer(raw, np.float32))
