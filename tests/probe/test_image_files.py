"""Image files of every depth and orientation: which value is white, which side is up, what is cut out."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from models import classifier, images, write
from numpy.typing import NDArray
from PIL import Image, ImageOps

from filterdb.errors import UsageError
from filterdb.probe import cka, saturation, sparsity
from filterdb.probe.data import Source, open_data
from filterdb.probe.options import Setup
from filterdb.probe.pictures import read_image, resized
from filterdb.probe.runtime import Port

GREY, COLOUR = Port("x", (None, 1, 12, 10), "float32"), Port("x", (None, 3, 12, 10), "float32")
DEEP = np.random.default_rng(0).integers(0, 65536, (12, 10)).astype(np.uint16)


def opened(data: object, port: Port = GREY, **options: object) -> Source:
    return open_data(data, [port], Setup.of((), options))  # type: ignore[arg-type]


def first(data: object, port: Port = GREY, **options: object) -> NDArray[np.float32]:
    return next(iter(opened(data, port, **options).read(np.asarray([0], np.intp)).values()))[0]


def tiff_of_12_bits(values: NDArray[np.uint16]) -> bytes:
    """Two values in three bytes, behind the smallest header that a TIFF can have."""
    pairs = values.reshape(-1, 2).astype(int).tolist()
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    high, wide = values.shape
    tags = [
        (256, wide), (257, high), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, high),
        (279, len(packed)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    return head + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def deep_file(folder: Path, kind: str, values: NDArray[np.uint16]) -> Path:
    """Write 16 bits as somebody's program does."""
    path = folder / f"a.{kind.partition(' ')[0]}"
    if kind == "pgm":
        path.write_bytes(b"P5 10 12 65535\n" + values.astype(">u2").tobytes())
        return path
    mode, order = ("I;16B", ">u2") if kind == "tif big" else ("I;16", "<u2")
    Image.frombytes(mode, (10, 12), values.astype(order).tobytes()).save(path)
    return path


@pytest.mark.parametrize("most", [200, 65535])
@pytest.mark.parametrize("kind", ["png", "tif", "tif big", "pgm"])
def test_white_of_16_bits_is_65535_however_dark_an_image_is(tmp_path: Path, kind: str, most: int) -> None:
    values = np.minimum(DEEP, most).astype(np.uint16)
    deep_file(tmp_path, kind, values)
    # Nothing of the 16 bits is lost: two neighbours differ by 1.5e-5.
    assert first(tmp_path)[0] == pytest.approx(values / 65535, rel=0, abs=1e-6)


def test_a_png_of_16_bits_is_the_same_where_pillow_calls_it_32(tmp_path: Path) -> None:
    path = deep_file(tmp_path, "png", DEEP)

    class Older:
        mode, format = "I", "PNG"

    from filterdb.probe.pictures import _white

    assert _white(Older(), path) == 65535
    Older.format = "TIFF"
    with pytest.raises(UsageError, match="which of them is white is not said"):
        _white(Older(), path)


def test_white_of_12_bits_is_4095(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of_12_bits(DEEP >> 4))
    assert first(tmp_path)[0] == pytest.approx((DEEP >> 4) / 4095, rel=0, abs=1e-6)


def test_floats_from_zero_to_one_are_used_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((12, 10)).astype(np.float32) / 300
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert (first(tmp_path)[0] == values).all()
    alpha = first(tmp_path, Port("x", (None, 12, 10, 4), "float32"))
    assert (alpha[..., 1] == values).all()
    assert (alpha[..., 3] == 1).all()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([[0.0, 255.0]], "floats that are from 0 to 255"),
        ([[-0.5, 0.5]], "floats that are from -0.5 to 0.5"),
        ([[0.0, np.nan]], "floats that are NaN or infinite"),
        ([[0.0, np.inf]], "floats that are NaN or infinite"),
    ],
)
def test_floats_whose_white_nobody_knows_are_refused_by_name(
    tmp_path: Path, values: list[list[float]], told: str
) -> None:
    Image.fromarray(np.asarray(values, np.float32)).save(tmp_path / "odd.tif")
    with pytest.raises(UsageError, match=told) as caught:
        first(tmp_path)
    assert str(caught.value.where).endswith("odd.tif")
    assert "--data file.npz" in str(caught.value.hint)


def test_whole_numbers_of_32_bits_are_refused_before_anything_is_run(tmp_path: Path) -> None:
    Image.fromarray(DEEP.astype(np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(UsageError, match="whole numbers of 32 bits, or with a sign") as caught:
        opened(tmp_path)
    assert str(caught.value.where).endswith("wide.tif")


@pytest.mark.parametrize("normalize", ["unit", "byte", "signed", "imagenet", "0.1,0.2,0.3:2,3,4"])
def test_normalization_is_the_same_for_every_depth(tmp_path: Path, normalize: str) -> None:
    grey = (DEEP >> 8).astype(np.uint8)
    kinds = {"byte": grey, "deep": grey.astype(np.uint16) * 257, "float": grey.astype(np.float32) / 255}
    for name, values in kinds.items():
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "a.tif")
    expected = first(tmp_path / "byte", COLOUR, normalize=normalize)
    for name in ("deep", "float"):
        found = first(tmp_path / name, COLOUR, normalize=normalize)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize("resize", ["stretch", "crop", "center"])
def test_deep_images_are_resized_without_a_detour_over_bytes(tmp_path: Path, resize: str) -> None:
    values = (np.random.default_rng(2).random((40, 60)) / 300).astype(np.float32)
    Image.fromarray(np.rint(values * 65535).astype(np.uint16)).save(tmp_path / "a.png")
    found = first(tmp_path, resize=resize)[0]
    plain = np.asarray(resized(Image.fromarray(np.rint(values * 65535) / np.float32(65535)), 12, 10, resize))
    assert found == pytest.approx(plain, rel=1e-5)
    assert len(np.unique(found)) > 100  # of bytes, values up to 1/300 are 0 and 1


@pytest.mark.parametrize(("wide", "high"), [(500, 375), (375, 500), (300, 300), (90, 120), (640, 97)])
@pytest.mark.parametrize("size", [224, 32, 299])
def test_center_is_the_preprocessing_of_imagenet(tmp_path: Path, size: int, wide: int, high: int) -> None:
    pixels = np.random.default_rng(wide).integers(0, 256, (high, wide, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    # Written down as torchvision's transforms say: Resize(256), CenterCrop(224), of any size.
    shorter = int(size / 0.875)
    if wide <= high:
        across, down = shorter, int(shorter * high / wide)
    else:
        across, down = int(shorter * wide / high), shorter
    left, top = round((across - size) / 2), round((down - size) / 2)
    drawn = Image.open(tmp_path / "a.png").resize((across, down), Image.Resampling.BILINEAR)
    plain = np.asarray(drawn.crop((left, top, left + size, top + size)), np.float64) / 255
    found = first(tmp_path, Port("x", (None, 3, size, size), "float32"), resize="center")
    assert np.abs(found.transpose(1, 2, 0) - plain).max() < 1e-6
    means, deviations = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    scaled = first(
        tmp_path, Port("x", (None, size, size, 3), "float32"), resize="center", normalize="imagenet"
    )
    assert np.abs(scaled - (plain - means) / deviations).max() < 1e-5


def test_center_keeps_proportions_where_the_input_is_no_square(tmp_path: Path) -> None:
    # A disc stays one: as wide as high, whatever the proportions of the image and of the input.
    y, x = np.mgrid[:240, :360]
    Image.fromarray((((x - 180) ** 2 + (y - 120) ** 2 < 30**2) * 255).astype(np.uint8)).save(
        tmp_path / "a.png"
    )
    for height, width in ((90, 60), (60, 90), (30, 120)):
        found = first(tmp_path, Port("x", (None, height, width), "float32"), resize="center") > 0.5
        assert found.shape == (height, width)
        assert found.any(axis=0).sum() == pytest.approx(found.any(axis=1).sum(), abs=1)
        assert 5 < found.any(axis=0).sum() < 30


def test_a_thread_of_an_image_is_refused_and_not_blown_up(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1, 60_000), np.uint8)).save(tmp_path / "thread.png")
    with pytest.raises(UsageError, match="too short for --resize center"):
        first(tmp_path, resize="center")
    assert first(tmp_path).shape == (1, 12, 10)


@pytest.mark.parametrize("kind", ["jpg", "tif", "png", "webp"])
def test_images_are_turned_as_the_camera_was_held(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}.{kind}"
        image = Image.fromarray(pixels)
        notes = image.getexif()
        notes[0x0112] = orientation
        image.save(path, exif=notes)
        with Image.open(path) as stored:
            upright = ImageOps.exif_transpose(stored).convert("RGB")
        assert upright.size == ((6, 4) if orientation > 4 else (4, 6))
        found = read_image(path, 3, upright.height, upright.width, "stretch")
        assert (np.rint(found * 255) == np.asarray(upright)).all(), orientation


def test_notes_that_are_damaged_turn_nothing(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=b"Exif\0\0no notes at all")
    assert (first(tmp_path) == 0).all()


def test_what_is_hidden_is_no_image(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/._1.png", "dog/.hidden.png", "dog/2.png", ".thumbs/1.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.name.startswith("."):
            path.write_bytes(b"\0\5\x16\7 notes of a Mac")
        else:
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    (tmp_path / ".thumbs" / "1.png").write_bytes(b"no image")
    assert getattr(opened(tmp_path), "names") == ["cat/1.png", "dog/2.png"]  # noqa: B009


def test_a_file_that_is_no_image_is_named_before_anything_is_run(tmp_path: Path) -> None:
    for place in range(9):
        Image.fromarray(DEEP.astype(np.uint8)).save(tmp_path / f"{place}.png")
    (tmp_path / "7.png").write_text("<html>not found</html>")
    with pytest.raises(UsageError, match="this image cannot be read") as caught:
        opened(tmp_path)
    assert str(caught.value.where).endswith("7.png")
    # The beginning is whole, and the rest is missing: that is met when it is read, by name too.
    (tmp_path / "7.png").write_bytes((tmp_path / "6.png").read_bytes()[:80])
    source = opened(tmp_path)
    with pytest.raises(UsageError, match="this image cannot be read") as caught:
        source.read(np.arange(9))
    assert str(caught.value.where).endswith("7.png")


@pytest.mark.parametrize("option", [{"normalize": "unit"}, {"resize": "stretch"}, {"size": "8"}])
@pytest.mark.parametrize("form", ["npy", "npz", "array", "mapping"])
def test_what_only_images_have_is_refused_for_arrays(
    tmp_path: Path, form: str, option: dict[str, str]
) -> None:
    model, data = write(tmp_path / "m.onnx", classifier()), images(8)
    np.save(tmp_path / "d.npy", data)
    np.savez(tmp_path / "d.npz", x=data)
    given: object = {"array": data, "mapping": {"x": data}}.get(form, tmp_path / f"d.{form}")
    for run in (saturation, sparsity, cka):
        with pytest.raises(UsageError, match=f"{next(iter(option))} is given, but the data is arrays"):
            run(model, data=given, **option)  # type: ignore[operator]
    assert saturation(model, data=given).rows == 8  # type: ignore[arg-type]


def test_one_of_two_data_sets_may_be_arrays(tmp_path: Path) -> None:
    model, data = write(tmp_path / "m.onnx", classifier()), images(8)
    (tmp_path / "pictures").mkdir()
    for place in range(8):
        pixels = np.random.default_rng(place).integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{place}.png")
    found = cka(model, data=data, data_b=tmp_path / "pictures", normalize="signed")
    assert found.a.images is None
    assert found.b.images is not None
    assert found.b.images["normalize"] == "signed"
    with pytest.raises(UsageError, match="normalize and resize are given, but the data is arrays"):
        cka(model, data=data, data_b=data, normalize="signed", resize="crop")


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(None,), (None, 64), (None, None)])
def test_digits_are_no_tokens(shape: tuple[int | None, ...], dtype: str) -> None:
    with pytest.raises(UsageError, match="takes whole numbers that are none, such as tokens") as caught:
        opened(None, Port("tokens", shape, dtype))
    assert str(caught.value.hint).startswith("--data")
    # Images of a quantized model are whole numbers as well.
    assert first(None, Port("x", (None, 1, 8, 8), dtype)).max() == 239


def test_digits_are_normalized_and_cut_like_images() -> None:
    port = Port("x", (None, 1, 8, 8), "float32")
    assert first(None, port, normalize="signed") == pytest.approx(first(None, port) * 2 - 1)
    assert (first(None, port, resize="center") != first(None, port)).any()


@pytest.mark.parametrize(
    ("port", "about"),
    [
        (Port("x", (None, 4), "float32"), "scikit-learn's digits as 2x2, flattened"),
        (Port("x", (None, 3 * 49), "float32"), "scikit-learn's digits as 7x7 in 3 channels, flattened"),
        (Port("x", (None, 20, 30), "float32"), "scikit-learn's digits as 20x30"),
        (Port("x", (None, 1, 20, 30), "float32"), "scikit-learn's digits"),
    ],
)
def test_what_the_digits_were_made_into_is_said(port: Port, about: str) -> None:
    assert opened(None, port).about == about


def test_int8_gets_its_own_range_and_opacity_is_one() -> None:
    signed = opened(None, Port("x", (None, 1, 8, 8), "int8"))
    values = signed.read(np.arange(50))["x"]
    assert (values.min(), values.max()) == (-128, 127)
    assert (first(None, Port("x", (None, 8, 8, 4), "float32"))[..., 3] == 1).all()
