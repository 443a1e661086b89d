from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from filterdb.errors import UsageError
from filterdb.extract.discover import discover


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(*zoos: Path) -> list[str]:
    return [source.name for source in discover(zoos)]


def test_models_are_named_by_their_stem_and_sorted_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "b/z.onnx", "a/y.onnx", "x.onnx", "notes.txt", "w.onnx.bak", "v.data")
    sources = discover([tmp_path])
    assert [source.name for source in sources] == ["x", "y", "z"]
    assert [source.relpath for source in sources] == ["x.onnx", "a/y.onnx", "b/z.onnx"]
    assert all(source.path.is_file() for source in sources)


@pytest.mark.parametrize("name", ["M.ONNX", "M.Onnx"])
def test_the_suffix_may_be_in_capitals(name: str, tmp_path: Path) -> None:
    assert names(touch(tmp_path, name)) == ["M"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a/m.onnx", "b/m.onnx", "c.onnx"], ["a/m", "b/m", "c"]),
        (["m.onnx", "b/m.onnx"], ["b/m", "m"]),
        (["a/v1.0.onnx", "a/v1.1.onnx"], ["v1.0", "v1.1"]),
        (["a/x/m.onnx", "b/x/m.onnx"], ["a/x/m", "b/x/m"]),
        (["m.onnx", "m.ONNX"], ["zoo/m.ONNX", "zoo/m.onnx"]),
        (["v1.0/m.onnx", "v1.1/m.onnx"], ["v1.0/m", "v1.1/m"]),
    ],
    ids=["folders", "root", "dots", "deep", "capitals", "dots in folders"],
)
def test_stems_that_collide_are_told_apart_by_their_folders(
    files: Sequence[str], expected: list[str], tmp_path: Path
) -> None:
    assert names(touch(tmp_path / "zoo", *files)) == expected


def test_paths_that_collide_across_zoos_are_told_apart_by_the_zoo(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "one", "x/m.onnx", "n.onnx"), touch(tmp_path / "two", "x/m.onnx")
    assert names(one, two) == ["n", "one/x/m", "two/x/m"]


def test_zoos_of_one_name_are_told_apart_by_their_place_in_the_list(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "a" / "zoo", "m.onnx"), touch(tmp_path / "b" / "zoo", "m.onnx")
    assert names(one, two) == ["1/zoo/m.onnx", "2/zoo/m.onnx"]


def test_names_do_not_depend_on_where_the_zoo_lies(tmp_path: Path) -> None:
    files = ["m.onnx", "m.ONNX", "a/m.onnx", "b/n.onnx"]
    one = names(touch(tmp_path / "here" / "zoo", *files))
    two = names(touch(tmp_path / "there" / "deeper" / "zoo", *files))
    assert one == two
    assert not any(str(tmp_path)[1:] in name for name in one)


def test_names_are_unique_whatever_collides(tmp_path: Path) -> None:
    one = touch(tmp_path / "zoo1", "m.onnx")
    two = touch(tmp_path / "zoo2", "m.onnx")
    three = touch(tmp_path / "zoo3", "zoo1/m.onnx", "zoo2/m.onnx", "m.ONNX")
    found = names(one, two, three)
    assert len(set(found)) == len(found) == 5


@pytest.mark.parametrize(
    "zoo", [[], ["zoo", "zoo"], ["zoo", "./zoo"], ["zoo", "zoo/a"], ["zoo", "zoo/a/m.onnx"]]
)
def test_no_zoo_and_a_zoo_named_twice_are_refused(
    zoo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "zoo", "a/m.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="listed twice" if zoo else "no zoo is given"):
        discover([Path(entry) for entry in zoo])


def test_a_single_file_is_a_zoo(tmp_path: Path) -> None:
    touch(tmp_path, "a/m.onnx", "a/other.onnx")
    [source] = discover([tmp_path / "a" / "m.onnx"])
    assert (source.name, source.relpath) == ("m", "m.onnx")


@pytest.mark.parametrize("name", ["m.pt", "m.PTH", "m.pkl", "m.ckpt"])
def test_a_pickle_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a PyTorch file is a pickle") as caught:
        discover([touch(tmp_path, name) / name])
    assert caught.value.hint == "export it with torch.onnx.export"


def test_a_pickle_among_models_is_no_model(tmp_path: Path) -> None:
    assert names(touch(tmp_path, "m.onnx", "m.pt")) == ["m"]


def test_a_folder_that_does_not_exist_or_holds_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder") as caught:
        discover([tmp_path / "absent"])
    assert "absent" in str(caught.value)
    with pytest.raises(UsageError, match=r"no \.onnx file was found") as caught:
        discover([tmp_path])
    assert str(tmp_path) in str(caught.value)


def test_a_folder_called_like_a_model_is_searched(tmp_path: Path) -> None:
    assert names(touch(tmp_path, "big.onnx/model.onnx")) == ["model"]


@pytest.mark.parametrize(
    "name", ["größe.onnx", "模型.onnx", "with space.onnx", "a'b\"c.onnx", "e\u0301.onnx"]
)
def test_odd_names_are_kept(name: str, tmp_path: Path) -> None:
    assert names(touch(tmp_path, name)) == [name.removesuffix(".onnx")]


def test_names_that_are_no_text_become_text(tmp_path: Path) -> None:
    for name in (b"a\xff.onnx", b"a\xfe.onnx"):
        (Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))).write_bytes(b"")  # noqa: PTH118
    sources = discover([tmp_path])
    assert [source.name for source in sources] == ["a\\xfe", "a\\xff"]
    assert all(source.path.exists() and source.relpath.isascii() for source in sources)


def test_the_sign_for_missing_text_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert names(touch(tmp_path, "a␀.onnx")) == ["a\ufffd"]


def test_linked_files_are_models_and_broken_links_are_not_lost(tmp_path: Path) -> None:
    touch(tmp_path, "a.onnx")
    (tmp_path / "b.onnx").symlink_to("a.onnx")
    (tmp_path / "c.onnx").symlink_to("nowhere")
    assert names(tmp_path) == ["a", "b", "c"]


def test_linked_folders_are_searched_once_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "m.onnx")
    zoo = touch(tmp_path / "zoo", "n.onnx")
    (zoo / "link").symlink_to(tmp_path / "elsewhere")
    (zoo / "second").symlink_to(tmp_path / "elsewhere")
    (zoo / "up").symlink_to(zoo)
    assert [source.relpath for source in discover([zoo])] == ["link/m.onnx", "n.onnx"]


def test_the_order_of_the_directory_does_not_matter(tmp_path: Path) -> None:
    files = [f"{i:03}.onnx" for i in range(50)]
    one, two = touch(tmp_path / "a" / "zoo", *files), touch(tmp_path / "b" / "zoo", *reversed(files))
    assert names(one) == names(two) == [f"{i:03}" for i in range(50)]
    shutil.rmtree(one)
