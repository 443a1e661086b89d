"""What is no model says what it is; what is one is read without its weights."""

from __future__ import annotations

import hashlib
import io
import os
import pickle  # noqa: TID251 - to write what must be refused
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import filterdb.onnxgraph as onnxgraph
from filterdb.errors import FilterDBError, ModelError, NotAModelError, UnsafeModelError
from filterdb.onnxgraph import Limits, open_model, read_layers
from filterdb.onnxgraph.load import load
from filterdb.onnxgraph.wire import Blobs, slim
from filterdb.testing import (
    branch_model,
    conv_model,
    conv_net,
    graph_of,
    model_of,
    random_weight,
    tensor,
    weight_model,
    write_model,
)
from filterdb.types import Kernel, ModelRecord


def error_of(path: Path, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        open_model(path, **options)
    assert caught.value.where == str(path)
    return caught.value


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
OTHERS: list[tuple[str, bytes, str]] = [
    ("Git LFS pointer", LFS, "a Git LFS pointer"),
    ("HTML page", b"<!DOCTYPE html><html><body>Not found</body></html>", "an HTML page"),
    ("HTML page with space before", b"\n  <html>", "an HTML page"),
    ("XML", b"<?xml version='1.0'?><net/>", "an XML document"),
    ("JSON object", b'{"message": "Not Found"}', "a JSON document"),
    ("JSON list", b"[1, 2, 3]", "a JSON document"),
    ("text protobuf", b'ir_version: 8\nproducer_name: "pytorch"\n', "text"),
    ("text protobuf with a comment", b"# a model\ngraph {\n}\n", "text"),
    ("PyTorch archive", zipped(), "a ZIP archive"),
    ("pickle", pickle.dumps({"state": [1.0] * 50}), "a pickle"),
    ("gzip", b"\x1f\x8b\x08\x00" + bytes(40), "a compressed file"),
    ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    ("ORT flatbuffer", b"\x18\x00\x00\x00ORTM" + bytes(64), "an onnxruntime (ORT format) model"),
    ("TensorFlow Lite", b"\x1c\x00\x00\x00TFL3" + bytes(64), "a TensorFlow Lite model"),
    ("safetensors", (60).to_bytes(8, "little") + b'{"a": {}}', "a safetensors file"),
    ("numpy", b"\x93NUMPY\x01\x00", "a NumPy array"),
    ("garbage", bytes(range(255, 0, -1)), "no protobuf message"),
    ("zeros", bytes(100), "no protobuf message"),
    ("one byte", b"\x08", "cut off"),
    ("no graph", onnx.ModelProto(ir_version=8, producer_name="nobody").SerializeToString(), "no graph"),
]


@pytest.mark.parametrize(("content", "message"), [c[1:] for c in OTHERS], ids=[c[0] for c in OTHERS])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    error = error_of(path)
    assert isinstance(error, NotAModelError)
    assert message in error.what
    assert error.expected == "an ONNX model"


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    assert error_of(path).what == "the file is empty"


def test_a_folder_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.mkdir()
    assert error_of(path).what == "this is a folder"


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    assert error_of(tmp_path / "nothing.onnx").what == "there is no such file"


@pytest.mark.timeout(10)
def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    os.mkfifo(path)
    assert "device or a pipe" in error_of(path).what


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_device_is_refused(tmp_path: Path) -> None:
    assert "device or a pipe" in error_of(Path("/dev/zero")).what


def test_a_file_without_read_permission_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "model.onnx", conv_model((1, 1, 3, 3)))

    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filterdb.onnxgraph.files.os.open", refuse)
    error = error_of(path)
    assert (error.what, error.hint) == ("the file may not be read", f"chmod +r {path}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_refused_by_the_system_too(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", conv_model((1, 1, 3, 3)))
    path.chmod(stat.S_IWUSR)
    assert error_of(path).what == "the file may not be read"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PT", ".pkl"])
def test_pickles_are_refused_by_their_name_before_they_are_opened(tmp_path: Path, suffix: str) -> None:
    error = error_of(tmp_path / f"model{suffix}")
    assert "may run code" in error.what
    assert error.hint == "export it with torch.onnx.export"


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", conv_model((8, 8, 3, 3)))
    assert "more than the limit of 100" in error_of(path, limits=Limits(file_bytes=100)).what


def test_a_message_beyond_the_limit_is_refused_but_weights_do_not_count(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", conv_model((64, 64, 3, 3)))
    assert path.stat().st_size > 100_000
    open_model(path, limits=Limits(message_bytes=1000))
    assert isinstance(error_of(path, limits=Limits(message_bytes=10)), UnsafeModelError)


def outcome_of(path: Path) -> ModelRecord | str:
    try:
        return read_layers(path)[0]
    except ModelError as error:
        return error.what


def test_a_file_that_ends_early_says_so_wherever_it_ends(tmp_path: Path) -> None:
    whole = conv_net([(8, 3, 3, 3), (32, 8, 3, 3)]).SerializeToString()
    path = tmp_path / "model.onnx"
    for length in [*range(1, 400), *range(400, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        outcome = outcome_of(path)
        if isinstance(outcome, str):
            assert any(word in outcome for word in ("cut off", "no graph", "ends after", "past the end"))
        else:
            # Cut between two fields after the graph: nothing that is used is missing.
            assert outcome.n_filters == 280


def test_names_that_are_no_text_are_shown_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    data = conv_model((1, 1, 3, 3)).SerializeToString()
    for name, bad in (
        (b"conv.weight", b"co\xffv.weight"),
        (b"filterdb", b"filter\xffb"),
        (b"Conv", b"\xffonv"),
    ):
        path.write_bytes(data.replace(name, bad))
        record, _ = read_layers(path)
        text = repr(record)
        assert name == b"conv.weight" or "\ufffd" in text
        assert "b'" not in text


def nested(levels: int) -> onnx.ModelProto:
    graph = graph_of([helper.make_node("Relu", ["x"], ["y"])], inputs=[])
    for _ in range(levels):
        holder = onnx.NodeProto(op_type="If", input=["c"], output=["y"])
        holder.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(graph)
        graph = onnx.GraphProto(node=[holder], name="g")
    return model_of(graph)


def test_bodies_may_be_nested_as_deep_as_protobuf_allows(tmp_path: Path) -> None:
    record, _ = read_layers(write_model(tmp_path / "m.onnx", nested(25)))
    assert record.ops == {"If": 25, "Relu": 1}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes, *, more: int = 0) -> bytes:
    """Return a field, perhaps one that says it is longer than it is."""
    return varint(number << 3 | 2) + varint(len(content) + more) + content


@pytest.mark.parametrize("padding", [1, 10_000])
def test_bodies_that_are_nested_deeper_are_refused_with_the_reason(tmp_path: Path, padding: int) -> None:
    graph = field(2, b"g" * padding)
    for _ in range(2_000):
        graph = field(1, field(5, field(6, graph)))
    path = tmp_path / "m.onnx"
    path.write_bytes(field(7, graph))
    assert "nested more than 100 deep" in error_of(path).what


def test_a_file_of_more_than_two_gigabytes_is_read_although_protobuf_could_not(tmp_path: Path) -> None:
    hole = 5 << 29
    model = conv_net([(16, 16, 3, 3)])
    unused = TensorProto(name="unused", data_type=TensorProto.FLOAT, dims=[hole // 4]).SerializeToString()
    bytes_field = field(9, b"", more=hole)
    stored = field(5, unused + bytes_field, more=hole)
    graph = field(7, model.graph.SerializeToString() + stored, more=hole)
    model.ClearField("graph")
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:  # a hole takes no space on disk
        file.write(model.SerializeToString() + graph)
        file.truncate(file.tell() + hole)
    loaded = load(path, root=None, limits=Limits())
    first, last = loaded.model.graph.initializer
    assert loaded.tensors.array(first).shape == (16, 16, 3, 3)
    assert loaded.tensors.check(last) == (hole // 4,)
    assert len(loaded.message) < 2_000


def test_memory_is_bounded_by_the_largest_layer_and_not_by_the_model(tmp_path: Path) -> None:
    shapes = [(256, 256, 3, 3)] * 20
    largest = 256 * 256 * 9 * 4
    path = write_model(tmp_path / "m.onnx", conv_net(shapes))
    tracemalloc.start()
    try:
        with open_model(path) as model:
            record = model.extract(Kernel(3, 3), lambda *_: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert record.n_filters == 20 * 65_536
    assert peak < 3 * largest


HUGE = [
    [2**62, 2**62, 3, 3],
    [2**63 - 1, 1, 3, 3],
    [10**9, 10**9, 3, 3],
    [1, 1, 2**40, 3],
    [-1, 1, 3, 3],
    [2**32, 2**32],
]


@pytest.mark.parametrize("dims", HUGE, ids=str)
@pytest.mark.parametrize("field", ["raw", "float_data", "external", "sparse"])
def test_huge_dimensions_over_few_bytes_cost_one_layer_and_no_memory(
    tmp_path: Path, dims: list[int], field: str
) -> None:
    model = conv_net([(4, 1, 3, 3), (4, 4, 3, 3)])
    bad = model.graph.initializer[0]
    if field == "float_data":
        bad.ClearField("raw_data")
        bad.float_data.extend([0.5] * 36)
    elif field == "external":
        (tmp_path / "w.bin").write_bytes(bytes(144))
        bad.ClearField("raw_data")
        bad.data_location = TensorProto.EXTERNAL
        bad.external_data.add(key="location", value="w.bin")
    del bad.dims[:]
    bad.dims.extend(dims)
    if field == "sparse":
        sparse = model.graph.sparse_initializer.add(dims=dims)
        sparse.values.CopyFrom(tensor(bad.name, np.ones(1, np.float32)))
        sparse.indices.CopyFrom(tensor("", np.zeros(1, np.int64)))
        del model.graph.initializer[0]
    record, (block,) = read_layers(write_model(tmp_path / "m.onnx", model))
    assert block.shape == (16, 9)
    assert record.layers[0].name == "layer1"
    assert len(record.skipped) == 1
    assert record.kernels == {"(3, 3)": 16}


@pytest.mark.parametrize("change", [-1, 1])
def test_a_weight_with_a_byte_too_few_or_too_many_is_skipped(tmp_path: Path, change: int) -> None:
    model = conv_model((4, 1, 3, 3))
    raw = model.graph.initializer[0].raw_data
    model.graph.initializer[0].raw_data = raw[:change] if change < 0 else raw + b"!"
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model))
    assert record.skipped[0].reason == (
        f"tensor 'conv.weight' of shape [4, 1, 3, 3] needs 144 bytes, but has {144 + change}"
    )


@pytest.mark.parametrize("code", [0, 8, 14, 999])
def test_a_weight_of_no_number_type_is_skipped(tmp_path: Path, code: int) -> None:
    model = conv_model((4, 1, 3, 3))
    model.graph.initializer[0].data_type = code
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model))
    assert len(record.skipped) == 1


def test_large_tensors_are_left_in_the_file(tmp_path: Path) -> None:
    model = branch_model((64, 64, 3, 3), (64, 64, 3, 3))
    model.graph.initializer.append(tensor("big", random_weight((64, 64, 3, 3), seed=3)))
    constant = helper.make_node(
        "Constant", [], ["k"], value=tensor("", random_weight((64, 64, 3, 3), seed=4))
    )
    model.graph.node.append(constant)
    path = write_model(tmp_path / "m.onnx", model)
    loaded = load(path, root=None, limits=Limits())
    assert path.stat().st_size > 4 * 147_456
    assert len(loaded.message) < 2_000


def test_a_token_in_a_hostile_file_means_nothing(tmp_path: Path) -> None:
    seen = Blobs()
    forged = seen.add(0, 10)
    model = conv_model((4, 1, 3, 3))
    model.graph.initializer[0].raw_data = forged
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model))
    assert "but has 32" in record.skipped[0].reason


def test_unknown_fields_and_groups_do_not_disturb(tmp_path: Path) -> None:
    plain = conv_model((16, 16, 3, 3))
    data = plain.SerializeToString()
    path = tmp_path / "m.onnx"
    group = bytes([100 << 3 & 0x7F | 0x80 | 3, 100 >> 4]) + bytes([100 << 3 & 0x7F | 0x80 | 4, 100 >> 4])
    for extra in (b"\xf8\x06\x01", b"\xfd\x06\x00\x00\x00\x00", b"\xf9\x06" + bytes(8), group):
        path.write_bytes(data + extra)
        assert read_layers(path)[0].n_filters == 256


@settings(max_examples=100)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    large=st.sampled_from([0, 1, 64, 500, 4096]),
    seed=st.integers(0, 1000),
)
def test_a_slim_copy_differs_from_the_model_in_its_large_tensors_alone(
    shapes: list[tuple[int, int]], large: int, seed: int
) -> None:
    model = model_of(
        graph_of([], weights=[tensor(f"t{i}", random_weight(s, seed=seed + i)) for i, s in enumerate(shapes)])
    )
    data, blobs = model.SerializeToString(), Blobs()
    copy = onnx.ModelProto.FromString(slim(memoryview(data), blobs, large=large))
    for stored in copy.graph.initializer:
        span = blobs.find(stored.raw_data)
        if span is not None:
            stored.raw_data = data[span.start : span.start + span.length]
    assert copy == model


def test_the_hash_of_a_model_is_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", conv_net([(8, 3, 3, 3)]))
    with open_model(path) as model:
        assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert model.size == path.stat().st_size
        record = model.extract(Kernel(3, 3), lambda *_: None)
    assert (record.sha256, record.size) == (model.sha256, model.size)


def test_a_record_does_not_depend_on_where_the_file_lies_or_what_it_is_called(tmp_path: Path) -> None:
    model = conv_net([(8, 3, 3, 3)])
    first = read_layers(write_model(tmp_path / "a" / "first.onnx", model))[0]
    second = read_layers(write_model(tmp_path / "b" / "c" / "zweites.onnx", model))[0]
    assert first == second


def test_a_closed_model_says_that_it_is_closed(tmp_path: Path) -> None:
    with open_model(write_model(tmp_path / "m.onnx", conv_model((1, 1, 3, 3)))) as model:
        pass
    with pytest.raises(ValueError, match="closed"):
        model.extract(Kernel(3, 3), lambda *_: None)


def test_filters_may_be_kept_after_the_model_is_closed_and_changed(tmp_path: Path) -> None:
    _record, blocks = read_layers(write_model(tmp_path / "m.onnx", conv_model((1, 1, 3, 3))))
    blocks[0][:] = 0
    assert blocks[0].dtype == np.float32
    assert blocks[0].flags.c_contiguous


def test_an_error_of_the_sink_is_not_swallowed(tmp_path: Path) -> None:
    def full(_filters: Any, _origin: Any) -> None:
        raise OSError(28, "No space left on device")

    with (
        open_model(write_model(tmp_path / "m.onnx", conv_model((1, 1, 3, 3)))) as model,
        pytest.raises(OSError, match="No space"),
    ):
        model.extract(Kernel(3, 3), full)


def test_the_public_face_is_what_it_says() -> None:
    for name in onnxgraph.__all__:
        assert getattr(onnxgraph, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = onnxgraph.nonsense


def test_importing_the_room_does_not_import_onnx() -> None:
    code = "import sys, filterdb.onnxgraph; assert 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "pipeline"})


def test_every_message_fits_on_one_line_of_a_table(tmp_path: Path) -> None:
    model = weight_model([], inputs=["x", "w"])
    model.graph.node[-1].input[1] = "w" * 5_000 + "\x00\n"
    record, _ = read_layers(write_model(tmp_path / "m.onnx", model))
    assert len(record.skipped[0].reason) <= 600
    assert record.skipped[0].reason.isprintable()
    assert issubclass(ModelError, FilterDBError)
