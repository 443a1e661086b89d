"""The models of the demo zoo: what each one is, sees, learns and how it is exported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from .data import CLASSES, PIXEL_CLASSES
from .nets import Classifier, Generator, Hourglass, Style, Trunk, UNet

LATENT = 16
SHORT = {
    "Classification": "cls",
    "Segmentation": "seg",
    "Auto-Encoder": "ae",
    "Denoising": "den",
    "Super Resolution": "sr",
    "GAN-Generator": "gen",
    "GAN-Discriminator": "disc",
}
FAMILY_SHORT = {
    "plain": "plain",
    "residual": "resnet",
    "dense": "densenet",
    "u-net": "unet",
    "depthwise-separable": "dwsep",
    "inverted bottleneck": "invres",
}
PAPER = {
    "plain": "VGG (Simonyan and Zisserman, 2015)",
    "residual": "ResNet (He et al., 2016)",
    "dense": "DenseNet (Huang et al., 2017)",
    "u-net": "U-Net (Ronneberger et al., 2015)",
    "depthwise-separable": "MobileNet (Howard et al., 2017)",
    "inverted bottleneck": "MobileNetV2 (Sandler et al., 2018)",
}


@dataclass(frozen=True)
class Habit:
    """How a model is exported.

    Attributes
    ----------
    exporter : str
        "torchscript" or "dynamo".
    opset : int
        Version of the operator set.
    folded : bool
        Fold batch normalisation into the convolutions.
    dynamic : bool
        Leave the batch axis open.
    post : str
        "", "constants", "float16", "int8" or "external".
    """

    exporter: str = "torchscript"
    opset: int = 17
    folded: bool = False
    dynamic: bool = True
    post: str = ""

    def describe(self, norm: bool) -> str:
        """Text for the column Exporter of a model with or without batch normalisation."""
        state = ("batch norm folded" if self.folded else "batch norm kept") if norm else "no batch norm"
        parts = [
            f"torch.onnx {self.exporter}",
            f"opset {self.opset}",
            state,
            f"{'dynamic' if self.dynamic else 'fixed'} batch",
        ]
        notes = {
            "constants": "weights in Constant nodes",
            "float16": "float16 weights",
            "int8": "int8 QDQ per channel",
            "external": "external data",
        }
        return "; ".join([*parts, *([notes[self.post]] if self.post else [])])


@dataclass(frozen=True)
class Model:
    """One entry of the zoo.

    Attributes
    ----------
    task, category, family : str
        Labels of the entry.
    widths, depths : tuple of int
        Channels and layers of each stage.
    over : bool
        Over-parameterised for its task.
    channels, size : int
        Shape of the images.
    seed, steps, batch : int
        Training seed, optimiser steps and images of a step.
    rate, decay : float
        Peak learning rate and weight decay (L2).
    act, norm, kernel
        See `nets.Style`.
    twin : bool
        Export the initial weights as well.
    habit : Habit
        Exporter habits.
    """

    task: str
    category: str
    family: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    over: bool = False
    channels: int = 3
    size: int = 32
    seed: int = 0
    steps: int = 400
    batch: int = 32
    rate: float = 3e-3
    decay: float = 1e-5
    act: str = "relu"
    norm: bool = True
    kernel: int = 3
    twin: bool = False
    habit: Habit = field(default_factory=Habit)

    @property
    def name(self) -> str:
        """Stem of the file."""
        family = FAMILY_SHORT[self.family] + ("" if self.kernel == 3 else f"{self.kernel}x{self.kernel}")
        return "-".join([SHORT[self.task], self.category, family, "over" if self.over else "fit"])

    @property
    def is_gan(self) -> bool:
        """Trained as half of a pair."""
        return self.task.startswith("GAN")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch axis."""
        if self.task == "GAN-Generator":
            return (LATENT,)
        side = self.size // 2 if self.task == "Super Resolution" else self.size
        return (self.channels, side, side)


def build(model: Model) -> nn.Module:
    """The untrained network of an entry; seed torch before the call."""
    style = Style(model.family, model.norm, model.act, model.kernel)
    shape = (model.widths, model.depths, style)
    channels, task = model.channels, model.task
    if task == "GAN-Generator":
        return Generator(LATENT, channels, *shape)
    if model.family == "u-net":
        outputs = {"Segmentation": PIXEL_CLASSES.get(model.category, 0), "GAN-Discriminator": 1}
        mode = {
            "Segmentation": "map",
            "Denoising": "correct",
            "Super Resolution": "enlarge",
            "GAN-Discriminator": "score",
        }[task]
        return UNet(channels, outputs.get(task, channels), *shape, mode=mode)
    if task == "Segmentation":
        return Hourglass(channels, PIXEL_CLASSES[model.category], *shape)
    if task == "Auto-Encoder":
        return Hourglass(channels, channels, *shape, code=16 if len(model.widths) > 3 else 8)
    if task in ("Denoising", "Super Resolution"):
        return Trunk(channels, channels, *shape, scale=2 if task == "Super Resolution" else 1)
    return Classifier(channels, CLASSES[model.category] if task == "Classification" else 1, *shape)


def _script(opset: int, **options: object) -> Habit:
    """Habit of the TorchScript exporter."""
    return Habit("torchscript", opset, **options)  # type: ignore[arg-type]


def _dynamo(opset: int, **options: object) -> Habit:
    """Habit of the dynamo exporter."""
    return Habit("dynamo", opset, **options)  # type: ignore[arg-type]


DW, INV = "depthwise-separable", "inverted bottleneck"
DEEP = (2, 2, 2)


def _classifiers() -> list[Model]:
    """Six classifiers."""
    task = "Classification"
    return [
        Model(
            task,
            "fractals",
            "residual",
            (12, 20, 30),
            (2, 2, 4),
            True,
            decay=3e-3,
            steps=450,
            twin=True,
            habit=_script(13),
        ),
        Model(
            task,
            "textures",
            "plain",
            (12, 18, 24),
            DEEP,
            channels=1,
            steps=550,
            habit=_script(11, folded=True, dynamic=False),
        ),
        Model(task, "shapes", "residual", (12, 18, 24), DEEP, steps=700, habit=_dynamo(18)),
        Model(
            task,
            "starfields",
            DW,
            (24, 40, 64),
            (2, 3, 3),
            channels=1,
            steps=500,
            twin=True,
            habit=_script(17),
        ),
        Model(
            task,
            "handwriting",
            "dense",
            (14, 22, 28),
            (4, 4, 4),
            True,
            channels=1,
            size=24,
            decay=3e-3,
            steps=550,
            habit=_script(17, folded=True, post="float16"),
        ),
        Model(task, "cells", INV, (12, 16, 24), (1, 2, 3), steps=500, act="silu", habit=_dynamo(20)),
    ]


def _segmenters() -> list[Model]:
    """Six segmentation networks."""
    task = "Segmentation"
    return [
        Model(task, "fractals", "u-net", (8, 14, 22), DEEP, steps=300, twin=True, habit=_script(11)),
        Model(
            task,
            "textures",
            "residual",
            (14, 22, 28),
            (2, 2, 4),
            True,
            steps=400,
            decay=3e-4,
            habit=_script(17),
        ),
        Model(
            task,
            "shapes",
            "plain",
            (12, 20, 32),
            DEEP,
            True,
            steps=300,
            batch=16,
            decay=3e-3,
            habit=_script(13, folded=True, post="constants"),
        ),
        Model(
            task,
            "starfields",
            "u-net",
            (8, 14, 20),
            DEEP,
            channels=1,
            steps=300,
            batch=16,
            habit=_dynamo(18, folded=True),
        ),
        Model(task, "terrain", "dense", (12, 20), (4, 4), size=24, steps=300, batch=16, habit=_script(13)),
        Model(
            task,
            "cells",
            "u-net",
            (12, 22, 30),
            DEEP,
            True,
            steps=300,
            batch=16,
            decay=3e-3,
            habit=_script(17, post="external"),
        ),
    ]


def _auto_encoders() -> list[Model]:
    """Six auto-encoders."""
    task = "Auto-Encoder"
    return [
        Model(
            task,
            "fractals",
            "plain",
            (8, 14, 22, 30),
            (1, 2, 2, 2),
            True,
            batch=16,
            decay=3e-4,
            habit=_dynamo(20, folded=True),
        ),
        Model(
            task,
            "textures",
            "dense",
            (10, 16, 20),
            (2, 3, 3),
            channels=1,
            batch=16,
            twin=True,
            habit=_script(17),
        ),
        Model(task, "shapes", INV, (8, 16, 24), (1, 2, 2), batch=16, habit=_script(11)),
        Model(
            task,
            "handwriting",
            "residual",
            (10, 14, 24),
            DEEP,
            channels=1,
            size=24,
            batch=16,
            act="elu",
            habit=_script(13, dynamic=False),
        ),
        Model(
            task,
            "terrain",
            "plain",
            (12, 20, 32),
            DEEP,
            True,
            size=24,
            batch=16,
            decay=3e-5,
            norm=False,
            habit=_script(17),
        ),
        Model(task, "cells", DW, (16, 28, 48), (1, 2, 3), batch=16, habit=_dynamo(18)),
    ]


def _denoisers() -> list[Model]:
    """Seven denoisers, one of them without any 3x3 layer; batch norm hurts the plain corrections."""
    task = "Denoising"
    return [
        Model(
            task,
            "fractals",
            "residual",
            (16,),
            (6,),
            size=24,
            steps=300,
            batch=16,
            norm=False,
            habit=_script(17),
        ),
        Model(
            task,
            "textures",
            "u-net",
            (12, 20, 30),
            DEEP,
            True,
            channels=1,
            steps=300,
            batch=16,
            decay=3e-4,
            habit=_script(13, folded=True),
        ),
        Model(
            task,
            "starfields",
            "plain",
            (24,),
            (7,),
            True,
            channels=1,
            size=24,
            steps=300,
            batch=16,
            decay=1e-4,
            norm=False,
            habit=_dynamo(18, post="constants"),
        ),
        Model(
            task,
            "handwriting",
            "plain",
            (16,),
            (6,),
            channels=1,
            size=24,
            steps=300,
            batch=16,
            twin=True,
            norm=False,
            habit=_script(11, dynamic=False),
        ),
        Model(
            task,
            "terrain",
            DW,
            (40,),
            (7,),
            size=24,
            steps=300,
            batch=16,
            rate=2e-3,
            norm=False,
            habit=_script(13),
        ),
        Model(
            task,
            "cells",
            "dense",
            (20,),
            (8,),
            True,
            size=24,
            steps=300,
            batch=16,
            decay=3e-4,
            habit=_dynamo(20),
        ),
        Model(
            task,
            "shapes",
            "plain",
            (12,),
            (3,),
            size=24,
            steps=300,
            batch=16,
            kernel=5,
            norm=False,
            habit=_script(17, dynamic=False),
        ),
    ]


def _enlargers() -> list[Model]:
    """Six networks for super resolution by two."""
    task = "Super Resolution"
    return [
        Model(task, "fractals", "dense", (14,), (7,), steps=400, batch=16, norm=False, habit=_script(13)),
        Model(
            task,
            "textures",
            "plain",
            (24,),
            (7,),
            True,
            channels=1,
            steps=400,
            batch=16,
            decay=3e-5,
            norm=False,
            habit=_script(17, post="constants"),
        ),
        Model(
            task,
            "shapes",
            "u-net",
            (8, 14, 22),
            DEEP,
            steps=400,
            batch=16,
            act="elu",
            habit=_dynamo(18, dynamic=False),
        ),
        Model(
            task,
            "starfields",
            "residual",
            (22,),
            (8,),
            True,
            channels=1,
            steps=400,
            batch=16,
            decay=3e-5,
            norm=False,
            habit=_script(17),
        ),
        Model(
            task,
            "handwriting",
            INV,
            (20,),
            (6,),
            channels=1,
            size=24,
            steps=400,
            batch=16,
            act="silu",
            twin=True,
            habit=_script(13),
        ),
        Model(task, "terrain", "residual", (14,), (8,), steps=700, batch=16, norm=False, habit=_dynamo(20)),
    ]


def _gans() -> list[Model]:
    """Six pairs of generator and discriminator, each pair of one category."""
    gen, disc = "GAN-Generator", "GAN-Discriminator"
    pairs = [
        Model(gen, "fractals", "plain", (32, 28, 20), DEEP, True, habit=_script(17)),
        Model(disc, "fractals", "residual", (12, 20, 24), DEEP, twin=True, habit=_script(13)),
        Model(gen, "shapes", "residual", (22, 18, 12), DEEP, twin=True, habit=_script(11)),
        Model(disc, "shapes", "plain", (16, 28, 36), DEEP, True, habit=_script(17, post="int8")),
        Model(gen, "starfields", "plain", (22, 18, 12), DEEP, channels=1, habit=_script(13, folded=True)),
        Model(disc, "starfields", "dense", (12, 18, 22), (3, 3, 3), channels=1, habit=_dynamo(18)),
        Model(gen, "handwriting", "dense", (24, 22, 18), (4, 4, 4), True, channels=1, habit=_dynamo(18)),
        Model(disc, "handwriting", INV, (12, 16, 24), (2, 2, 2), channels=1, twin=True, habit=_script(17)),
        Model(gen, "terrain", "residual", (32, 28, 20), DEEP, True, habit=_dynamo(20, folded=True)),
        Model(disc, "terrain", "u-net", (8, 14, 22), DEEP, habit=_script(13, dynamic=False)),
        Model(gen, "cells", DW, (64, 48, 32), (3, 3, 2), habit=_script(17)),
        Model(disc, "cells", "plain", (16, 28, 36), DEEP, True, habit=_script(11, post="constants")),
    ]
    return [
        replace(
            m, size=16, steps=2000, norm=m.task == gen, act="relu" if m.task == gen else "leaky", decay=0.0
        )
        for m in pairs
    ]


def models() -> list[Model]:
    """All trained entries, each with its own seed."""
    rows = [*_classifiers(), *_segmenters(), *_auto_encoders(), *_denoisers(), *_enlargers(), *_gans()]
    return [replace(row, seed=100 + index) for index, row in enumerate(rows)]
