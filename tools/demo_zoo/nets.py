"""Small convolution networks of six families, in four layouts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU}


class Style:
    """Choices that hold for all layers of a network.

    Parameters
    ----------
    family : str
        plain, residual, dense, u-net, depthwise-separable or inverted bottleneck.
    norm : bool
        Use batch normalisation.
    act : str
        Key of `ACTIVATIONS`, or "leaky".
    kernel : int
        Side of the spatial kernels.
    """

    def __init__(self, family: str, norm: bool = True, act: str = "relu", kernel: int = 3) -> None:
        self.family, self.norm, self.act, self.kernel = family, norm, act, kernel

    def activation(self) -> nn.Module:
        """A new activation layer."""
        return nn.LeakyReLU(0.2) if self.act == "leaky" else ACTIVATIONS[self.act]()


class Unit(nn.Module):
    """Convolution, optional batch normalisation, optional activation.

    Parameters
    ----------
    cin, cout : int
        Channels.
    style : Style
        Choices of the network.
    kernel : int, optional
        Side of the kernel, the style's when missing.
    groups : int
        Groups of the convolution.
    act : bool
        Append the activation.
    """

    def __init__(
        self, cin: int, cout: int, style: Style, kernel: int | None = None, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        side = kernel or style.kernel
        self.conv = nn.Conv2d(cin, cout, side, padding=side // 2, groups=groups, bias=not style.norm)
        self.norm = nn.BatchNorm2d(cout) if style.norm else None
        if not style.norm:
            # Without normalisation torch's default initial weights let the signal fade.
            nn.init.kaiming_normal_(self.conv.weight, a=0.2)
        self.act = style.activation() if act else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layers in order."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)


class Residual(nn.Module):
    """Two units and a shortcut (1x1 where the channels change)."""

    def __init__(self, cin: int, cout: int, style: Style) -> None:
        super().__init__()
        self.first = Unit(cin, cout, style)
        self.second = Unit(cout, cout, style, act=False)
        self.shortcut = Unit(cin, cout, style, kernel=1, act=False) if cin != cout else None
        self.act = style.activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of branch and shortcut."""
        straight = x if self.shortcut is None else self.shortcut(x)
        return self.act(straight + self.second(self.first(x)))


class Dense(nn.Module):
    """Units that each read all the maps before them, then a 1x1 transition."""

    def __init__(self, cin: int, cout: int, depth: int, style: Style) -> None:
        super().__init__()
        growth = max(4, cout // 2)
        self.layers = nn.ModuleList(Unit(cin + i * growth, growth, style) for i in range(depth))
        self.transition = Unit(cin + depth * growth, cout, style, kernel=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Concatenate all maps and mix them."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.transition(x)


class Separable(nn.Module):
    """Depthwise convolution followed by a pointwise one."""

    def __init__(self, cin: int, cout: int, style: Style) -> None:
        super().__init__()
        self.depthwise = Unit(cin, cin, style, groups=cin)
        self.pointwise = Unit(cin, cout, style, kernel=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply both."""
        return self.pointwise(self.depthwise(x))


class Inverted(nn.Module):
    """Expansion, depthwise convolution and linear projection, with a shortcut where it fits."""

    def __init__(self, cin: int, cout: int, style: Style, expansion: int = 4) -> None:
        super().__init__()
        wide = cin * expansion
        self.expand = Unit(cin, wide, style, kernel=1)
        self.depthwise = Unit(wide, wide, style, groups=wide)
        self.project = Unit(wide, cout, style, kernel=1, act=False)
        self.skip = cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the three units."""
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.skip else out


def stage(cin: int, cout: int, depth: int, style: Style) -> list[nn.Module]:
    """Blocks of one resolution with `depth` spatial layers.

    Parameters
    ----------
    cin, cout : int
        Channels.
    depth : int
        Spatial convolutions.
    style : Style
        Choices of the network.

    Returns
    -------
    list of Module
        The blocks.
    """
    if style.family == "dense":
        return [Dense(cin, cout, depth, style)]
    if style.family == "residual":
        return [Residual(cin if i == 0 else cout, cout, style) for i in range(max(1, depth // 2))]
    block = {"depthwise-separable": Separable, "inverted bottleneck": Inverted}.get(style.family, Unit)
    return [block(cin if i == 0 else cout, cout, style) for i in range(depth)]


class Classifier(nn.Module):
    """Stages with pooling between them, global average and a linear head.

    Parameters
    ----------
    cin, cout : int
        Channels of the image and outputs of the head.
    widths, depths : sequence of int
        Channels and layers of each stage.
    style : Style
        Choices of the network.
    """

    def __init__(
        self, cin: int, cout: int, widths: Sequence[int], depths: Sequence[int], style: Style
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [Unit(cin, widths[0], style)]
        last = widths[0]
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if index:
                layers.append(nn.MaxPool2d(2))
            layers += stage(last, width, depth, style)
            last = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(last, cout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.head(self.features(x).mean((2, 3)))


class Hourglass(nn.Module):
    """Encoder and decoder without skips; `code` channels between them make an auto-encoder."""

    def __init__(
        self, cin: int, cout: int, widths: Sequence[int], depths: Sequence[int], style: Style, code: int = 0
    ) -> None:
        super().__init__()
        down: list[nn.Module] = [Unit(cin, widths[0], style)]
        up: list[nn.Module] = []
        last = widths[0]
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            down += [nn.MaxPool2d(2)] if index else []
            down += stage(last, width, depth, style)
            last = width
        if code:
            down.append(nn.Conv2d(last, code, 1))
            up.append(Unit(code, last, style, kernel=1))
        for width, depth in zip(widths[-2::-1], depths[-2::-1], strict=True):
            up += [nn.Upsample(scale_factor=2.0, mode="nearest"), *stage(last, width, depth, style)]
            last = width
        up.append(nn.Conv2d(last, cout, 3, padding=1))
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Decode the code."""
        return self.decoder(self.encoder(x))


class Trunk(nn.Module):
    """Blocks of one resolution that correct the (enlarged) input."""

    def __init__(
        self, cin: int, cout: int, widths: Sequence[int], depths: Sequence[int], style: Style, scale: int = 1
    ) -> None:
        super().__init__()
        self.scale = scale
        self.stem = Unit(cin, widths[0], style)
        self.body = nn.Sequential(*stage(widths[0], widths[0], depths[0], style))
        self.tail = nn.Conv2d(widths[0], cout * scale**2, style.kernel, padding=style.kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input plus correction."""
        change = self.tail(self.body(self.stem(x)))
        if self.scale == 1:
            return x + change
        big = F.interpolate(x, scale_factor=float(self.scale), mode="bilinear", align_corners=False)
        return big + F.pixel_shuffle(change, self.scale)


class UNet(nn.Module):
    """Encoder and decoder joined by skips.

    Parameters
    ----------
    cin, cout : int
        Channels of the image and of the result.
    widths, depths : sequence of int
        Channels and layers of each level.
    style : Style
        Choices of the network.
    mode : str
        "map" for the plain result, "correct" to add the input, "enlarge" to add and predict the
        enlarged input, "score" to average the result over the image.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        widths: Sequence[int],
        depths: Sequence[int],
        style: Style,
        mode: str = "map",
    ) -> None:
        super().__init__()
        self.mode = mode
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last = cin
        for width, depth in zip(widths, depths, strict=True):
            self.down.append(nn.Sequential(*stage(last, width, depth, style)))
            last = width
        for width, depth in zip(widths[-2::-1], depths[-2::-1], strict=True):
            self.up.append(nn.Sequential(*stage(last + width, width, depth, style)))
            last = width
        self.tail = nn.Conv2d(last, cout, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run down, then up with the skips."""
        if self.mode == "enlarge":
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        given, skips = x, []
        for index, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        for index, block in enumerate(self.up):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips[-2 - index]], 1))
        x = self.tail(x)
        if self.mode == "score":
            return x.mean((2, 3))
        return x if self.mode == "map" else given + x


class Generator(nn.Module):
    """Latent vector to image: 4x4 maps, doubled between the stages."""

    def __init__(
        self, latent: int, cout: int, widths: Sequence[int], depths: Sequence[int], style: Style
    ) -> None:
        super().__init__()
        self.width = widths[0]
        self.project = nn.Linear(latent, 16 * widths[0])
        layers: list[nn.Module] = []
        last = widths[0]
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            layers += [nn.Upsample(scale_factor=2.0, mode="nearest")] if index else []
            layers += stage(last, width, depth, style)
            last = width
        layers.append(nn.Conv2d(last, cout, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Images in (0, 1)."""
        return torch.sigmoid(self.layers(self.project(z).view(-1, self.width, 4, 4)))


def count_filters(net: nn.Module) -> int:
    """Number of 3x3 filters in the convolutions of a network."""
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    return sum(m.weight.shape[0] * m.weight.shape[1] for m in convs)
