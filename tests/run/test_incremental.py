"""What is done already is not done again, and what has changed is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from zoos import config_of, flip, run, varied_zoo

from filterdb.errors import OutputError, UsageError
from filterdb.extract.discover import discover
from filterdb.run.extraction import assembly
from filterdb.store import verify
from filterdb.testing import conv_net, write_model
from seldom import seldom


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return varied_zoo(tmp_path / "zoo", 20)


@pytest.fixture
def out(zoo: Path, tmp_path: Path) -> Path:
    run(zoo, tmp_path / "d.h5")
    return tmp_path / "d.h5"


def fresh_bytes(zoo: Path, folder: Path, **values: object) -> bytes:
    run(zoo, folder / "fresh.h5", **values)
    return (folder / "fresh.h5").read_bytes()


def test_adding_models_parses_those_alone(tmp_path: Path) -> None:
    zoo, out = tmp_path / "zoo", tmp_path / "d.h5"
    for seed in range(50):
        write_model(zoo / f"m{seed:02d}.onnx", conv_net([(4, 3, 3, 3)], seed=seed))
    assert run(zoo, out).parsed == 50
    for seed in range(50, 55):
        write_model(zoo / f"a{seed:02d}.onnx", conv_net([(4, 3, 3, 3)], seed=seed))
    report = run(zoo, out)
    assert (report.action, report.parsed, report.reused) == ("extracted", 5, 50)
    assert out.read_bytes() == fresh_bytes(zoo, tmp_path)


def test_a_removed_and_a_changed_model_are_seen(zoo: Path, out: Path, tmp_path: Path) -> None:
    next(zoo.rglob("model000.onnx")).unlink()
    write_model(next(zoo.rglob("model002.onnx")), conv_net([(8, 8, 3, 3)], seed=99))
    report = run(zoo, out)
    assert (report.action, report.parsed, len(report.tables.models)) == ("extracted", 1, 19)
    assert out.read_bytes() == fresh_bytes(zoo, tmp_path)


def test_a_renamed_model_is_not_parsed(zoo: Path, out: Path, tmp_path: Path) -> None:
    path = next(zoo.rglob("model002.onnx"))
    path.rename(zoo / "another name.onnx")
    report = run(zoo, out)
    assert (report.action, report.parsed) == ("extracted", 0)
    assert out.read_bytes() == fresh_bytes(zoo, tmp_path)


def test_a_moved_model_is_a_change_although_its_name_stays(zoo: Path, out: Path) -> None:
    (zoo / "elsewhere").mkdir()
    next(zoo.rglob("model002.onnx")).rename(zoo / "elsewhere" / "model002.onnx")
    assert run(zoo, out).action == "extracted"


@pytest.mark.parametrize("change", [("Segmentation", "Denoising"), ("nobody,Classification\n", "")])
def test_a_changed_table_is_written_without_parsing(
    change: tuple[str, str], zoo: Path, out: Path, tmp_path: Path
) -> None:
    table = zoo / "models.csv"
    table.write_text(table.read_text().replace(*change))
    report = run(zoo, out)
    # A row that no model answers to leaves no trace in the data set.
    assert (report.action, report.parsed) == ("extracted" if change[1] else "fresh", 0)
    assert out.read_bytes() == fresh_bytes(zoo, tmp_path)


def test_another_compression_or_kernel_is_noticed(zoo: Path, out: Path) -> None:
    squeezed = run(zoo, out, extract={"compression": "gzip"})
    assert (squeezed.action, squeezed.parsed) == ("extracted", 0)
    with pytest.raises(UsageError, match="holds 3x3 filters"):
        run(zoo, out, extract={"compression": "gzip", "kernel": "7x7"})
    other = run(zoo, out, force=True, extract={"compression": "gzip", "kernel": "7x7"})
    assert (other.action, other.tables.n_filters) == ("extracted", 3 * 32 * 3)


def test_a_second_run_is_fresh_and_leaves_the_file_alone(zoo: Path, out: Path) -> None:
    before = out.read_bytes(), out.stat()
    sidecar = out.with_name("d.h5.json").read_bytes()
    report = run(zoo, out)
    assert (report.action, report.parsed) == ("fresh", 0)
    assert report.content_hash == json.loads(sidecar)["content_hash"]
    assert (out.read_bytes(), out.stat().st_mtime_ns, out.stat().st_ino) == (
        before[0],
        before[1].st_mtime_ns,
        before[1].st_ino,
    )
    assert out.with_name("d.h5.json").read_bytes() == sidecar


def test_force_parses_everything_and_makes_the_same_bytes(zoo: Path, out: Path) -> None:
    before, first = out.read_bytes(), run(zoo, out.with_name("e.h5"))
    report = run(zoo, out, force=True)
    assert (report.action, report.parsed) == ("extracted", first.parsed)
    assert out.read_bytes() == before


def test_a_failure_that_depends_on_the_content_is_remembered(tmp_path: Path) -> None:
    zoo, out = varied_zoo(tmp_path / "zoo", 8), tmp_path / "d.h5"
    first = run(zoo, out)
    (zoo / "models.csv").unlink()
    again = run(zoo, out)
    assert again.parsed == 0
    assert again.tables.models["reason"].tolist() == first.tables.models["reason"].tolist()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"[1, 2",
        *(seldom(one) for one in (b"", b'{"inputs_hash": 5}', b"\xff\xfe")),
    ],
)
def test_a_missing_or_foreign_sidecar_costs_a_rewrite_and_no_parsing(
    content: bytes | None, zoo: Path, out: Path
) -> None:
    sidecar, before = out.with_name("d.h5.json"), out.read_bytes()
    expected = json.loads(sidecar.read_text())["inputs_hash"]
    sidecar.unlink() if content is None else sidecar.write_bytes(content)
    report = run(zoo, out)
    assert (report.action, report.parsed) == ("extracted", 0)
    assert out.read_bytes() == before
    assert json.loads(sidecar.read_text())["inputs_hash"] == expected


def damage_filters(out: Path) -> None:
    import h5py

    with h5py.File(out) as file:
        offset = file["filter"].id.get_chunk_info(0).byte_offset
    flip(out, offset + 100)


def test_filters_that_changed_in_the_old_file_are_never_copied(zoo: Path, out: Path, tmp_path: Path) -> None:
    damage_filters(out)
    assert verify(out) != []
    next(zoo.rglob("model003.onnx")).unlink()
    report = run(zoo, out)
    assert (report.action, report.parsed) == ("extracted", 1)
    assert "the filters of model000 were extracted again" in report.notes[0]
    assert out.read_bytes() == fresh_bytes(zoo, tmp_path)


@pytest.mark.parametrize("parts", [(1, 4), seldom((2, 3, 5))])
def test_any_flipped_byte_of_the_old_file_ends_in_the_right_file(
    parts: tuple[int, ...], zoo: Path, out: Path, tmp_path: Path
) -> None:
    next(zoo.rglob("model003.onnx")).unlink()
    whole, damaged = fresh_bytes(zoo, tmp_path), out.read_bytes()
    for part in parts:
        out.write_bytes(damaged)
        flip(out, len(damaged) * part // 6 + 3)
        assert run(zoo, out).action == "extracted"
        assert out.read_bytes() == whole


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("content", [b"", b"no HDF5", b"Name,Task\n"])
def test_a_file_that_is_not_ours_is_never_replaced(
    content: bytes, force: bool, zoo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models.csv"
    out.write_bytes(content)
    with pytest.raises(UsageError, match="is no data set"):
        run(zoo, out, force=force)
    assert out.read_bytes() == content


def test_a_model_of_the_zoo_is_never_replaced(zoo: Path) -> None:
    model = next(zoo.rglob("*.onnx"))
    content = model.read_bytes()
    with pytest.raises(UsageError, match="is no data set"):
        run(zoo, model)
    assert model.read_bytes() == content


def test_a_damaged_data_set_is_replaced_with_a_note(zoo: Path, out: Path) -> None:
    whole = out.read_bytes()
    out.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    report = run(zoo, out)
    assert report.notes
    assert out.read_bytes() == whole


def test_what_was_staged_is_trusted_only_if_its_hash_says_so(
    zoo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = out.read_bytes()
    out.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "write_dataset", _full)
        with pytest.raises(OutputError, match="disk is full"):
            run(zoo, out)
    staging = out.with_name("d.h5.staging")
    shards = sorted(staging.glob("*.shard"))
    flip(shards[0], 10)
    flip(shards[1], -60)
    shards[2].write_bytes(shards[2].read_bytes()[:-1])
    shards[3].write_bytes(b"")
    [*staging.glob("*.failed"), shards[4]][0].write_bytes(b"{")
    (staging / "half.shard.123.tmp").write_bytes(b"left over")
    damaged = 5
    report = run(zoo, out)
    assert report.parsed == damaged
    models = report.tables.models
    copies = int(models["duplicate_of"].notna().sum())
    assert report.reused + copies + sum(models["sha256"] == "") >= 20 - damaged
    assert out.read_bytes() == whole
    assert not staging.exists()


def _full(*_: object, **__: object) -> str:
    raise OSError(28, os.strerror(28))


def test_what_was_staged_for_another_kernel_is_not_mixed_in(
    zoo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = out.read_bytes()
    out.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "write_dataset", _full)
        with pytest.raises(OutputError):
            run(zoo, out, extract={"kernel": "7x7"})
    assert run(zoo, out).parsed > 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize("count", [1, seldom(2), 4])
def test_the_bytes_do_not_depend_on_the_number_of_workers(
    count: int, zoo: Path, out: Path, tmp_path: Path
) -> None:
    run(zoo, tmp_path / "e.h5", workers=count)
    assert (tmp_path / "e.h5").read_bytes() == out.read_bytes()


def test_the_bytes_do_not_depend_on_place_or_order(
    zoo: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "somewhere else" / "zoo é"
    for path in sorted(zoo.rglob("*"), reverse=True):
        if path.is_file():
            target = moved / path.relative_to(zoo)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    monkeypatch.chdir(moved.parent)
    run(Path("zoo é"), Path("out/e.h5"))
    assert Path("out/e.h5").read_bytes() == out.read_bytes()
    assert [s.name for s in discover([zoo])] == [s.name for s in discover([moved])]


def test_the_sidecar_says_where_the_file_comes_from(zoo: Path, out: Path) -> None:
    data = json.loads(out.with_name("d.h5.json").read_text())
    assert set(data) == {"content_hash", "inputs_hash", "consistency", "provenance"}
    assert data["consistency"]["metadata_without_model"] == ["nobody"]
    assert "model001" in data["consistency"]["models_without_metadata"]
    assert sum(data["consistency"]["statuses"].values()) == 20
    made = data["provenance"]
    assert set(made["seconds"]) == {"scan", "stage", "tables", "write"}
    assert made["workers"] == 1
    assert made["config"]["zoo"] == [str(zoo)]
    assert made["packages"]["h5py"]
    assert made["command"]


def test_a_table_row_that_fits_two_models_is_reported(tmp_path: Path) -> None:
    for place in "ab":
        write_model(tmp_path / "zoo" / place / "same.onnx", conv_net([(4, 3, 3, 3)], seed=ord(place)))
    (tmp_path / "zoo" / "models.csv").write_text("Name,Task\nsame,Classification\n")
    report = run(tmp_path / "zoo", tmp_path / "d.h5")
    assert report.metadata.ambiguous == ("same",)
    data = json.loads((tmp_path / "d.h5.json").read_text())
    assert data["consistency"]["metadata_ambiguous"] == ["same"]
    assert config_of(tmp_path / "zoo").metadata is not None
