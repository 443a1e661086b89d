"""Training loops and held-out metrics of the supervised tasks."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from . import data
from .catalogue import Model, build

METRIC = {
    "Classification": "Accuracy, higher is better",
    "Segmentation": "Mean intersection over union, higher is better",
    "Auto-Encoder": "PSNR dB, higher is better",
    "Denoising": "PSNR dB, higher is better",
    "Super Resolution": "PSNR dB, higher is better",
    "GAN-Generator": "Frechet distance of image moments to held-out real images, lower is better",
    "GAN-Discriminator": "ROC AUC held-out real vs fakes of its generator (untrained halfway final), "
    "higher is better",
}
MARGIN = {
    "Classification": 0.2,
    "Segmentation": 0.15,
    "Auto-Encoder": 2.0,
    "Denoising": 2.0,
    "Super Resolution": 2.0,
    "GAN-Discriminator": 0.15,
}


@dataclass
class Trained:
    """Outcome of one training.

    Attributes
    ----------
    initial, final : dict
        State of the network before and after training.
    value, untrained : float
        Metric after and before training, measured alike.
    baseline : float or None
        Metric of the input itself (noisy image, bilinear enlargement), where it has a meaning.
    seconds : float
        Wall time of the training.
    """

    initial: dict[str, torch.Tensor]
    final: dict[str, torch.Tensor]
    value: float
    untrained: float
    baseline: float | None
    seconds: float


def beats_untrained(model: Model, value: float, untrained: float) -> bool:
    """Whether the trained metric is clearly better than the untrained one."""
    if model.task == "GAN-Generator":
        return value < 0.5 * untrained
    return value > untrained + MARGIN[model.task]


def pool_of(model: Model, held: bool) -> data.Pool:
    """Training or held-out images of a model."""
    mosaic = model.category == "textures" and model.task == "Segmentation"
    return data.pool(model.category, model.size, model.channels, mosaic, held)


def corrupt(task: str, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Input of the network for clean images.

    Parameters
    ----------
    task : str
        The task.
    images : Tensor
        Clean images in [0, 1].
    rng : Generator
        Source of the noise.

    Returns
    -------
    Tensor
        Noisy images for denoising, halved ones for super resolution; weak sensor noise for
        classification and segmentation, which would otherwise be too easy; the same for the rest.
    """
    if task == "Super Resolution":
        return F.avg_pool2d(images, 2)
    sigma = {"Denoising": 0.15, "Classification": 0.04, "Segmentation": 0.04}.get(task, 0.0)
    return images + sigma * torch.randn(images.shape, generator=rng) if sigma else images


def loss_of(task: str, output: torch.Tensor, part: data.Pool) -> torch.Tensor:
    """Training loss."""
    if task == "Classification":
        return F.cross_entropy(output, part.labels, label_smoothing=0.05)
    if task == "Segmentation":
        # Rare classes (stars, nuclei) count more, or the network would ignore them.
        share = torch.bincount(part.masks.flatten(), minlength=output.shape[1]).float() / part.masks.numel()
        return F.cross_entropy(output, part.masks, weight=(share + 0.02) ** -0.5)
    return F.mse_loss(output, part.images)


def _mean_iou(guess: torch.Tensor, truth: torch.Tensor, classes: int) -> float:
    """Intersection over union averaged over the classes."""
    scores = []
    for k in range(classes):
        both = ((guess == k) & (truth == k)).sum().item()
        either = ((guess == k) | (truth == k)).sum().item()
        scores.append(both / max(either, 1))
    return sum(scores) / classes


def _psnr(output: torch.Tensor, truth: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of the whole set in dB."""
    return float(-10 * torch.log10(F.mse_loss(output.clamp(0, 1), truth)))


@torch.no_grad()
def measure(net: nn.Module, model: Model) -> float:
    """Metric of a network on the held-out images.

    Parameters
    ----------
    net : Module
        The network; put into evaluation mode.
    model : Model
        Its entry.

    Returns
    -------
    float
        Value of `METRIC` of the task.
    """
    net.eval()
    held = pool_of(model, held=True)
    inputs = corrupt(model.task, held.images, torch.Generator().manual_seed(7))
    output = torch.cat([net(part) for part in inputs.split(64)])
    if model.task == "Classification":
        return float((output.argmax(1) == held.labels).float().mean())
    if model.task == "Segmentation":
        return _mean_iou(output.argmax(1), held.masks, output.shape[1])
    return _psnr(output, held.images)


def baseline_of(model: Model) -> float | None:
    """Metric of doing nothing, for denoising and super resolution."""
    held = pool_of(model, held=True)
    inputs = corrupt(model.task, held.images, torch.Generator().manual_seed(7))
    if model.task == "Super Resolution":
        inputs = F.interpolate(inputs, scale_factor=2.0, mode="bilinear", align_corners=False)
    elif model.task != "Denoising":
        return None
    return _psnr(inputs, held.images)


def snapshot(net: nn.Module) -> dict[str, torch.Tensor]:
    """Copy of the state of a network."""
    return copy.deepcopy(net.state_dict())


def train(model: Model) -> Trained:
    """Train one supervised network from its seed.

    Parameters
    ----------
    model : Model
        The entry.

    Returns
    -------
    Trained
        Weights before and after, and the metrics.
    """
    start = time.perf_counter()
    torch.manual_seed(model.seed)
    rng = torch.Generator().manual_seed(model.seed)
    net = build(model)
    initial, untrained = snapshot(net), measure(net, model)
    source = pool_of(model, held=False)
    optimiser = torch.optim.Adam(net.parameters(), model.rate, weight_decay=model.decay)
    plan: Any = torch.optim.lr_scheduler.OneCycleLR(optimiser, model.rate, model.steps, pct_start=0.15)
    net.train()
    for _ in range(model.steps):
        part = data.batch(source, model.batch, rng, flips=model.category != "handwriting")
        loss = loss_of(model.task, net(corrupt(model.task, part.images, rng)), part)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    value = measure(net, model)
    seconds = time.perf_counter() - start
    return Trained(initial, snapshot(net), value, untrained, baseline_of(model), seconds)
