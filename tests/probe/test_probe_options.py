"""What probes can be told in Python: what is meant plainly is taken, all else is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import classifier, images, write
from PIL import Image

from filterdb import probe
from filterdb.errors import UsageError
from filterdb.probe.options import Setup, silent
from in_process import call


def setup(layers: Any = (), **options: Any) -> Setup:
    return Setup.of(layers, options)  # type: ignore[arg-type]


def test_what_is_meant_plainly_is_taken() -> None:
    found = setup(
        batch=np.int64(8),
        limit=np.uint8(9),
        seed=np.int32(3),
        threads=np.int16(2),
        memory="2GiB",
        size=(16, 8),
    )
    plain = Setup(batch=8, limit=9, seed=3, threads=2, memory=2 << 30, size="16x8")
    assert found == plain
    assert {type(getattr(found, name)) for name in ("batch", "limit", "seed", "threads", "memory")} == {int}
    for size in (16, np.int64(16), (16,), [16, 16], (np.int8(16), 16), "16", "16x16"):
        assert setup(size=size).shape == (16, 16)
    assert setup(memory=np.int64(5)).memory == 5


def test_none_is_as_not_given() -> None:
    given = dict.fromkeys(
        ("kind", "batch", "limit", "seed", "memory", "threads", "size", "normalize", "resize")
    )
    assert setup(None, **given, progress=None) == Setup()
    assert Setup().progress is silent


def test_names_of_layers_may_be_any_collection() -> None:
    assert setup("head").layers == ("head",)
    assert setup(name for name in ("a", "b")).layers == setup(["a", "b"]).layers == ("a", "b")
    for wrong in (5, [1], b"head", {"a": 1}.values()):
        with pytest.raises(UsageError, match="layers is"):
            setup(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 8.0}, {"batch": True}, {"batch": "8"}, {"batch": 0}, {"batch": np.float64(8)},
        {"batch": np.bool_(True)}, {"limit": [5]}, {"limit": np.asarray(5.5)}, {"seed": -1},
        {"seed": 1 << 63}, {"seed": 0.5}, {"threads": 1 << 31}, {"threads": "all"}, {"memory": "much"},
        {"memory": 1e9}, {"memory": "0"}, {"size": (16, 16, 16)}, {"size": ()}, {"size": 1.5}, {"size": True},
        {"size": (16, "16")}, {"size": {16}}, {"size": 0}, {"size": -3}, {"normalize": 0.5},
        {"normalize": [0.5, 0.5]}, {"normalize": np.zeros(3)}, {"resize": ["crop"]}, {"resize": True},
        {"resize": np.zeros(3)}, {"kind": ["conv"]}, {"kind": 1}, {"progress": "bar"},
    ],
    ids=str,
)  # fmt: skip
def test_the_rest_is_refused_by_the_name_of_the_option(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=rf"{name} is "):
        setup(**options)


@pytest.mark.parametrize("delta", ["0.9", None, 0, np.nan, [0.5]])
def test_a_share_that_is_none_is_refused(tmp_path: Path, delta: Any) -> None:
    model = write(tmp_path / "m.onnx", classifier())
    with pytest.raises(UsageError, match="delta is "):
        probe.saturation(model, delta=delta)


@pytest.mark.parametrize("what", ["cka", "saturation", "sparsity"])
def test_a_model_that_is_no_path_is_refused(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "m.onnx", classifier())
    for model in (onnx.load(path), path.read_bytes(), None, 5):
        with pytest.raises(UsageError, match=r"model is of the type|a is of the type") as caught:
            getattr(probe, what)(model)
        assert caught.value.expected == "the path of an .onnx file"
    with pytest.raises(UsageError, match="b is of the type ModelProto"):
        probe.cka(path, onnx.load(path))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "m.onnx", classifier())
    for place in range(40):
        path = tmp_path / "pictures" / f"class{place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(place).integers(0, 256, (20, 16)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    np.savez(tmp_path / "d.npz", x=images(40), labels=np.arange(40) % 2)
    return tmp_path


ASKED = ("--limit", 30, "--seed", 5, "--batch", 5, "--kind", "conv", "--threads", 1)
OF_IMAGES = ("--normalize", "imagenet", "--resize", "center")


@pytest.mark.parametrize("what", ["cka", "saturation", "sparsity"])
def test_json_says_all_that_numbers_depend_on(folder: Path, what: str) -> None:
    done = call("probe", what, "m.onnx", "--data", "pictures", *ASKED, *OF_IMAGES, "--json", cwd=folder)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    own = {
        "cka": {"shuffle": True, "layers_b": None},
        "saturation": {},
        "sparsity": {"labels": None, "forest_seed": 2},
    }
    assert found["settings"] == {
        "layers": [], "kind": "conv", "batch": 5, "limit": 30, "seed": 5, "memory": 1 << 30, "threads": 1,
        "size": None, "normalize": "imagenet", "resize": "center", **own[what],
    }  # fmt: skip
    side = found["a"] if what == "cka" else found
    assert {**side["images"], "mean": None, "deviation": None} == {
        "kind": "folder", "size": "8x8", "channels": 1, "resize": "center", "normalize": "imagenet",
        "mean": None, "deviation": None,
    }  # fmt: skip
    # A grey image gets the means of the three channels.
    assert side["images"]["mean"] == pytest.approx([np.mean([0.485, 0.456, 0.406])])
    assert side["images"]["deviation"] == pytest.approx([np.mean([0.229, 0.224, 0.225])])


@pytest.mark.parametrize("what", ["cka", "saturation", "sparsity"])
def test_the_settings_of_a_result_make_it_again(folder: Path, what: str) -> None:
    run = getattr(probe, what)
    options = {"data": folder / "pictures", "limit": 30, "seed": 5, "batch": 5, "kind": "conv"}
    one = run(folder / "m.onnx", **options, normalize="signed", resize="crop")
    again = run(folder / "m.onnx", data=folder / "pictures", **one.facts()["settings"])
    assert one.to_frame().equals(again.to_frame())
    assert one.facts() == again.facts()
    assert not one.to_frame().equals(run(folder / "m.onnx", **options).to_frame())


def test_arrays_have_no_images_and_labels_in_python_are_said_to_be_so(folder: Path) -> None:
    found = probe.sparsity(folder / "m.onnx", data=folder / "d.npz", labels=["a", "b"] * 20, layers=["head"])
    facts = json.loads(json.dumps(found.facts()))
    assert facts["images"] is None
    assert facts["settings"]["labels"] == "given in Python"
    assert (facts["settings"]["layers"], facts["settings"]["kind"]) == (["head"], "all")
    told = probe.sparsity(folder / "m.onnx", data=folder / "d.npz", labels=folder / "d.npz").facts()
    assert told["settings"]["labels"] == str(folder / "d.npz")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["saturation", "--data", "pictures"], "pictures [stretch to 8x8, normalize unit] (delta"),
        (["sparsity", "--data", "pictures", *OF_IMAGES], "[center to 8x8, normalize imagenet] in 2 classes"),
        (["cka", "--data", "pictures"], "rows of pictures [stretch to 8x8, normalize unit], in one batch"),
        (["saturation", "--normalize", "byte"], "digits [stretch to 8x8, normalize byte] (delta"),
        (["cka", "--size", "8"], "digits [stretch to 8x8, normalize unit], in one batch"),
        (["saturation"], "rows of scikit-learn's digits (delta"),
        (["saturation", "--data", "d.npz"], "rows of d.npz (delta"),
    ],
)
def test_a_person_reads_how_images_were_normalized(folder: Path, arguments: list[str], told: str) -> None:
    what, *more = arguments
    done = call("probe", what, "m.onnx", *more, "--limit", 36, "--layers", "body.*", cwd=folder)
    assert done.stderr == ""
    assert told in done.stdout.splitlines()[1]


def test_images_are_not_asked_for_with_arrays_on_the_command_line(folder: Path) -> None:
    done = call("probe", "saturation", "m.onnx", "--data", "d.npz", "--normalize", "imagenet", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "normalize is given, but the data is arrays" in done.stderr
