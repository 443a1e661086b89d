from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.errors import OutputError
from filterdb.extract.shard import Shard, ShardWriter
from filterdb.onnxgraph import open_model, read_layers
from filterdb.testing import conv_net, move_outside, write_model
from filterdb.types import Filters, Kernel, ModelRecord


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelRecord, list[Filters]]:
    path = tmp_path_factory.mktemp("zoo") / "m.onnx"
    return read_layers(write_model(path, conv_net([(8, 3, 3, 3), (4, 8, 3, 3)])))


@pytest.fixture
def shard(model: tuple[ModelRecord, list[Filters]], tmp_path: Path) -> Path:
    return write(tmp_path / "a.shard", *model)


def write(path: Path, record: ModelRecord, blocks: list[Filters]) -> Path:
    with ShardWriter(path) as writer:
        for block in blocks:
            writer.add(block)
        writer.finish(record)
    return path


def opened(path: Path) -> Shard:
    shard = Shard.open(path)
    assert shard is not None
    return shard


def test_what_is_written_is_read(shard: Path, model: tuple[ModelRecord, list[Filters]]) -> None:
    record, blocks = model
    assert opened(shard).record == record
    assert opened(shard).is_intact(9)
    expected = np.concatenate(blocks)
    for height in (1, 7, 1000):
        buffer = np.empty((height, 9), dtype=np.float32)
        found = [block.copy() for block in opened(shard).filters(Path("unused"), buffer)]
        assert np.array_equal(np.concatenate(found), expected)


def test_a_part_is_read_from_its_start(shard: Path, model: tuple[ModelRecord, list[Filters]]) -> None:
    buffer = np.empty((5, 9), dtype=np.float32)
    found = [block.copy() for block in opened(shard).filters(Path("unused"), buffer, range(1, 2))]
    assert np.array_equal(np.concatenate(found), model[1][1])


def test_a_model_without_filters_has_a_shard_too(tmp_path: Path) -> None:
    record = ModelRecord("a" * 64, 10, "", 10, 17, 3)
    path = write(tmp_path / "a.shard", record, [])
    assert opened(path).record == record
    assert opened(path).is_intact(9)


@given(data=st.data())
def test_any_changed_byte_and_any_cut_is_found(
    data: st.DataObject, model: tuple[ModelRecord, list[Filters]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("s") / "a.shard", *model)
    whole = path.read_bytes()
    offset = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
    damaged = Shard.open(path)
    assert damaged is None or not damaged.is_intact(9)
    path.write_bytes(whole[:offset])
    assert Shard.open(path) is None


def test_a_missing_shard_is_none(tmp_path: Path) -> None:
    assert Shard.open(tmp_path / "none") is None


@pytest.mark.parametrize("beside", [False, True])
def test_plain_weights_stay_in_the_model_and_are_read_from_there(tmp_path: Path, beside: bool) -> None:
    net = conv_net([(16, 3, 3, 3), (64, 16, 3, 3), (4, 2, 3, 3), (64, 64, 3, 3)])
    if beside:
        move_outside(net, tmp_path, "inner/weights.bin")
    path = write_model(tmp_path / "m.onnx", net)
    with open_model(path) as model, ShardWriter(tmp_path / "m.shard") as writer:
        writer.finish(model.extract(Kernel(3, 3), writer.add))
    shard = opened(tmp_path / "m.shard")
    left = [origin is not None for origin in shard.origins]
    assert left == ([True] * 4 if beside else [False, True, False, True])
    assert {origin.location for origin in shard.origins if origin} == {"inner/weights.bin" if beside else ""}
    assert shard.path.stat().st_size < 8_000
    expected = np.concatenate(read_layers(path)[1])
    found = [block.copy() for block in shard.filters(path, np.empty((100, 9), dtype=np.float32))]
    assert np.array_equal(np.concatenate(found), expected)
    last = [block.copy() for block in shard.filters(path, np.empty((9999, 9), dtype=np.float32), range(2, 4))]
    assert np.array_equal(np.concatenate(last), expected[48 + 1024 :])


def test_a_shard_that_is_not_finished_leaves_nothing(
    tmp_path: Path, model: tuple[ModelRecord, list[Filters]]
) -> None:
    with ShardWriter(tmp_path / "a.shard") as writer:
        writer.add(model[1][0])
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_shrinks_while_it_is_read_is_an_error(shard: Path) -> None:
    whole = opened(shard)
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(OutputError, match="shorter"):
        list(whole.filters(Path("unused"), np.empty((100, 9), dtype=np.float32)))


def test_a_folder_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        ShardWriter(tmp_path / "none" / "a.shard")


def test_a_disk_that_takes_no_more_is_a_message_and_leaves_nothing(
    tmp_path: Path, model: tuple[ModelRecord, list[Filters]]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            write(tmp_path / "a.shard", *model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
