"""What goes through a model: arrays, images, digits and labels, and what is said of what does not fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import classifier, images, write
from PIL import Image
from sklearn.datasets import load_digits

from damaged_arrays import HEADERS, npy, patched
from filterdb.errors import UsageError
from filterdb.probe import cka, saturation, sparsity
from filterdb.probe.data import Source, encode, open_data
from filterdb.probe.options import Setup
from filterdb.probe.runtime import Port

WANTED = "'x': float32 [any, 1, 8, 8]"
GREY, COLOUR = Port("x", (None, 1, 8, 8), "float32"), Port("x", (None, 3, 6, 4), "float32")


def rows(source: Source, *places: int) -> np.ndarray:
    wanted = np.asarray(places or range(len(source)), np.intp)
    return next(iter(source.read(wanted).values()))


def opened(data: object, port: Port = GREY, **options: object) -> Source:
    return open_data(data, [port], Setup.of((), options))  # type: ignore[arg-type]


def test_the_digits_are_those_of_scikit_learn_with_values_from_zero_to_one() -> None:
    source = opened(None)
    digits = load_digits()
    assert len(source) == 1797
    assert rows(source, 0, 5)[:, 0] == pytest.approx(digits.images[[0, 5]] / 16)
    assert (encode(None, source) == digits.target).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((None, 3, 16, 12), "float32", (2, 3, 16, 12)),
        ((1, 1, 28, 28), "float64", (2, 1, 28, 28)),
        ((None, None, None, None), "float16", (2, 3, 32, 32)),
        ((None, 20, 20, 3), "uint8", (2, 20, 20, 3)),
        ((None, 28, 28), "float32", (2, 28, 28)),
        ((None, 64), "float32", (2, 64)),
        ((None, 3 * 49), "float32", (2, 147)),
    ],
)
def test_digits_take_the_form_of_the_input(
    shape: tuple[int | None, ...], dtype: str, expected: object
) -> None:
    found = rows(opened(None, Port("x", shape, dtype)), 3, 4)
    assert (found.shape, found.dtype) == (expected, np.dtype(dtype))
    assert found.max() == pytest.approx(255 if dtype == "uint8" else 1, rel=0.1)
    if len(shape) == 4 and 3 in expected:  # type: ignore[operator]
        channels = found if expected[1] == 3 else found.transpose(0, 3, 1, 2)  # type: ignore[index]
        assert (channels[:, 0] == channels[:, 2]).all()


@pytest.mark.parametrize("shape", [(None, 80, 100), (None,), (None, 7), (None, 16, 8, 8), (None, 1, 2, 3, 4)])
def test_digits_for_what_takes_no_image_are_refused_with_its_shape(shape: tuple[int | None, ...]) -> None:
    if shape == (None, 80, 100):
        assert rows(opened(None, Port("x", shape, "float32")), 0).shape == (1, 80, 100)
        return
    with pytest.raises(UsageError, match="does not take images: its inputs are 'x': float32 "):
        opened(None, Port("x", shape, "float32"))


@pytest.mark.parametrize("suffix", ["npy", "npz", "array", "mapping"])
def test_arrays_are_taken_from_files_and_from_memory(tmp_path: Path, suffix: str) -> None:
    data = images(6)
    if suffix == "npy":
        np.save(tmp_path / "d.npy", data)
        np.save(tmp_path / "d.labels.npy", np.arange(6))
    if suffix == "npz":
        np.savez(tmp_path / "d.npz", anything=data, labels=np.arange(6))
    given = {"array": data, "mapping": {"x": data, "y": np.arange(6)}}.get(suffix, tmp_path / f"d.{suffix}")
    source = opened(given)
    assert (rows(source, 4, 1) == data[[4, 1]]).all()
    if suffix != "array":
        assert encode(None, source).tolist() == list(range(6))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (images(4, size=9), f"the data is float32 [4, 1, 9, 9], but the model's input is {WANTED}"),
        (images(4)[:, 0], f"the data is float32 [4, 8, 8], but the model's input is {WANTED}"),
        (np.asarray(["a"]), f"the data is <U1 [1], but the model's input is {WANTED}"),
        (images(0), "the inputs have no rows in common: 'x' has 0"),
        ({"a": images(4), "b": images(4)}, f"there is no array for the input {WANTED}; there are 'a', 'b'"),
        ("nowhere.npz", "there is no such file"),
        ("nowhere", "there is no such file"),
        ("image.png", "this is one image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_both_are_shown(data: object, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(data)
    assert told in str(caught.value)


def test_numbers_become_the_type_of_the_input_where_nothing_is_lost() -> None:
    small = Port("x", (None, 2), "uint8")
    assert rows(opened(np.asarray([[0, 255]], np.int64), small)).dtype == np.uint8
    assert rows(opened(np.asarray([[0, 255]]), Port("x", (None, 2), "float32"))).dtype == np.float32
    for values in ([[0, 256]], [[-1, 0]], [[0.5, 1.0]]):
        with pytest.raises(UsageError, match=r"but the model's input is 'x': uint8 \[any, 2\]"):
            opened(np.asarray(values), small)


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["d.npy", "d.npz"])
def test_damaged_files_and_pickles_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError):
        opened(tmp_path / name)
    pickled = np.asarray([{"a": 1}, None], object)
    if name.endswith("npy"):
        np.save(tmp_path / name, pickled, allow_pickle=True)
    else:
        np.savez(tmp_path / name, x=pickled)
    with pytest.raises(UsageError, match="cannot be read"):
        opened(tmp_path / name)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_that_are_none_are_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "d.npy").write_bytes(npy(header))
    patched(tmp_path / "d.npz", npy(header))
    for name in ("d.npy", "d.npz"):
        with pytest.raises(UsageError) as caught:
            opened(tmp_path / name)
        assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("options", [{"encrypted": True}, *({"method": n} for n in (8, 12, 14, 99))], ids=str)
def test_archives_that_cannot_be_unpacked_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    patched(tmp_path / "d.npz", npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 9)}"), **options)
    with pytest.raises(UsageError, match="cannot be read"):
        opened(tmp_path / "d.npz")


def test_an_archive_that_stands_for_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((1_000, 1, 8, 8), np.float32))
    assert len(opened(tmp_path / "d.npz")) == 1_000
    monkeypatch.setattr("filterdb.probe.data._memory", lambda: 200_000)
    with pytest.raises(UsageError, match="its arrays take 256,128 bytes, more than this machine's memory"):
        opened(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["d.npy", "d.npz"])
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="no regular file"):
        opened(tmp_path / name)


def test_one_long_label_does_not_make_all_of_them_long(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("x" * 100_000 + "\ny" * 999)
    with pytest.raises(UsageError, match="the labels are too long"):
        encode(path, opened(images(1_000)))
    path.write_text("x" * 1_000 + "\ny" * 999)
    assert encode(path, opened(images(1_000))).tolist() == [0, *[1] * 999]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for place in range(6):
        name = tmp_path / "images" / ("cat" if place % 2 else "dog") / f"{place}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 8, 3)).astype(np.uint8)).save(name)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_a_folder_of_images_is_resized_and_has_its_folders_as_labels(folder: Path) -> None:
    source = opened(folder, COLOUR)
    assert encode(None, source).tolist() == [0, 0, 0, 1, 1, 1]
    found = rows(source)
    assert (found.shape, found.dtype) == ((6, 3, 6, 4), np.float32)
    direct = np.asarray(Image.open(folder / "dog" / "0.png").resize((4, 6), Image.Resampling.BILINEAR)) / 255
    assert found[3].transpose(1, 2, 0) == pytest.approx(direct, abs=1e-6)
    assert rows(opened(folder)).shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("unit", lambda v: v / 255),
        ("byte", lambda v: v),
        ("signed", lambda v: v / 127.5 - 1),
        ("imagenet", lambda v: (v / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("0.5:0.25", lambda v: (v / 255 - 0.5) / 0.25),
        ("0,0.1,0.2:1,2,4", lambda v: (v / 255 - [0, 0.1, 0.2]) / [1, 2, 4]),
    ],
)
def test_values_of_images_are_normalized_as_told(tmp_path: Path, normalize: str, expected: object) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "one.png")
    found = rows(opened(tmp_path, COLOUR, normalize=normalize))[0].transpose(1, 2, 0)
    assert found == pytest.approx(expected(values.astype(float)), abs=2e-4)  # type: ignore[operator]


def test_images_of_any_kind_are_brought_to_the_channels_of_the_model(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "b.gif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "c.png")
    Image.fromarray(np.dstack([grey] * 3 + [np.full_like(grey, 9)])).save(tmp_path / "d.png")
    found = rows(opened(tmp_path))
    for image in found:
        assert image[0] * 255 == pytest.approx(grey.astype(float), abs=1.01)


def test_cropping_keeps_proportions(tmp_path: Path) -> None:
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (rows(opened(tmp_path, resize="crop")) * 255 == 200).all()
    assert len(np.unique(rows(opened(tmp_path)))) > 2


def test_folders_without_images_and_damaged_images_are_refused_by_name(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is no image in this folder"):
        opened(tmp_path / "empty")
    (folder / "dog" / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(UsageError, match="this image cannot be read") as caught:
        rows(opened(folder))
    assert str(caught.value.where).endswith("4.png")
    (folder / "dog" / "4.png").unlink()
    with pytest.raises(UsageError, match="normalize has 2 channels"):
        rows(opened(folder, COLOUR, normalize="0,0:1,1"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": "9"}, "the size is 9, but the model's input is"),
        ({"size": "big"}, "the size is 'big'"),
        ({"normalize": "0.5"}, "normalize is '0.5'"),
        ({"normalize": "nan:1"}, "normalize is 'nan:1'"),
        ({"normalize": "image-net"}, "try: normalize imagenet"),
        ({"resize": "crob"}, "try: resize crop"),
    ],
)
def test_wrong_options_of_images_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(None, **options)
    assert told in str(caught.value)


def test_the_size_is_told_where_the_model_takes_any() -> None:
    free = Port("x", (None, 1, None, None), "float32")
    assert rows(opened(None, free, size="20x10"), 0).shape == (1, 1, 20, 10)


def test_labels_come_from_files_of_many_kinds(tmp_path: Path, folder: Path) -> None:
    names = ["b", "a", "b", "c", "a", "c"]
    (tmp_path / "lines.txt").write_text("\n".join(names))
    (tmp_path / "headed.csv").write_text("\n".join(["label", *names]))
    np.save(tmp_path / "l.npy", np.asarray([[1], [0], [1], [2], [0], [2]]))
    np.savez(tmp_path / "l.npz", other=np.arange(6), labels=names)
    for name in ("lines.txt", "headed.csv", "l.npy", "l.npz"):
        assert encode(tmp_path / name, opened(images(6))).tolist() == [1, 0, 1, 2, 0, 2], name
    (tmp_path / "files.csv").write_text("".join(f"{('dog', 'cat')[n % 2]}/{n}.png,{n}\n" for n in range(6)))
    assert encode(tmp_path / "files.csv", opened(folder)).tolist() == [1, 3, 5, 0, 2, 4]
    (tmp_path / "few.csv").write_text("cat/1.png,a\n")
    with pytest.raises(UsageError, match="5 of 6 images have no label, such as"):
        encode(tmp_path / "few.csv", opened(folder))
    with pytest.raises(UsageError, match="the labels are float"):
        encode([0.5] * 6, opened(images(6)))
    with pytest.raises(UsageError, match="cannot be read"):
        encode(tmp_path / "nowhere.txt", opened(images(6)))


def test_a_limit_draws_the_same_rows_for_the_same_seed(tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", classifier())
    one, two, other = (saturation(model, limit=50, seed=seed).to_frame() for seed in (1, 1, 2))
    assert one.equals(two)
    assert not one.equals(other)
    assert saturation(model, limit=50).rows == 50
    assert cka(model, limit=50, batch=20).rows == 40
    assert sparsity(model, limit=50).rows == 50
