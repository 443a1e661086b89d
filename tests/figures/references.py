"""Small pictures of every figure as it should look; run as a script, this writes them again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from drawings import all_kinds
from numpy.typing import NDArray
from PIL import Image

from filterdb.figures import Drawing

FOLDER = Path(__file__).parent / "reference"
_WIDTH = 340


def picture(drawing: Drawing) -> Image.Image:
    """Return a figure as a picture of a few hundred pixels."""
    whole = Image.open(io.BytesIO(drawing.render("png", dpi=200))).convert("RGB")
    return whole.resize((_WIDTH, round(whole.height * _WIDTH / whole.width)), Image.Resampling.BOX)


def blurred(image: Image.Image) -> NDArray[np.float64]:
    """Return a picture in which text is a shade: versions of a font do not matter, places and colours do."""
    small = image.resize((85, max(1, round(image.height / 4))), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


def difference(drawing: Drawing, name: str) -> float:
    """Return how far a figure is from its reference: the root of the mean square, of 255."""
    found, expected = picture(drawing), Image.open(FOLDER / f"{name}.png").convert("RGB")
    if abs(found.height - expected.height) > 0.03 * expected.height:
        return 255.0
    found = found.resize(expected.size, Image.Resampling.BOX)
    return float(np.sqrt(np.mean((blurred(found) - blurred(expected)) ** 2)))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in all_kinds().items():
        picture(draw()).quantize(128).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
