"""Plain-20 and ResNet-20 as PyTorch modules and ONNX files, and images; for the environment of the oracles.

The two networks of He et al. for images of 32 x 32: a convolution, nine blocks of two, and a dense layer,
with 16, 32 and 64 channels; one has shortcuts and the other none.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

IMAGES, SIZE = 2000, 32
SEEDS = {"plain20": 0, "resnet20": 1}
_WIDTHS = [16] * 4 + [32] * 3 + [64] * 3


class Block(nn.Module):
    """Two convolutions, each with its normalization; the shortcut has no weights."""

    def __init__(self, before: int, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.stride, self.wider, self.shortcut = 1 + (before != width), width - before, shortcut
        self.conv1 = nn.Conv2d(before, width, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.shortcut:
            x = x[:, :, :: self.stride, :: self.stride]
            y = y + nn.functional.pad(x, (0, 0, 0, 0, 0, self.wider))
        return torch.relu(y)


class Network(nn.Module):
    """The 20 layers, with random weights of the usual size."""

    def __init__(self, *, shortcut: bool, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, _WIDTHS[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(_WIDTHS[0])
        pairs = itertools.pairwise(_WIDTHS)
        self.blocks = nn.Sequential(*(Block(a, b, shortcut=shortcut) for a, b in pairs))
        self.head = nn.Linear(_WIDTHS[-1], 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(torch.relu(self.bn(self.conv(x)))).mean((2, 3)))


def images(count: int = IMAGES) -> NDArray[np.float32]:
    """Draw images of coarse patches and some noise."""
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(count, 3, 8, 8)).repeat(SIZE // 8, 2).repeat(SIZE // 8, 3)
    return (patches + 0.3 * rng.normal(size=(count, 3, SIZE, SIZE))).astype(np.float32)


def twin(name: str) -> Network:
    """Return a network whose normalizations know the statistics of the images."""
    model = Network(shortcut=name == "resnet20", seed=SEEDS[name])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.from_numpy(images(256)))
    return model.eval()


def layers(model: nn.Module) -> list[str]:
    """Return the names of the 20 layers."""
    return [name for name, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def export(model: nn.Module, path: Path) -> Path:
    """Write a network as it is: with its normalizations, which an export would else fold away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, SIZE, SIZE),),
            path,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return path
