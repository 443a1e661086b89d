"""Training of generator and discriminator pairs, and their honest metrics."""

from __future__ import annotations

import time

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from . import data
from .catalogue import LATENT, Model, build
from .tasks import Trained, pool_of, snapshot

PENALTY_EVERY, PENALTY = 4, 0.1
MEMORY, REMEMBER_EVERY = 512, 3
# The generator rests at the end, so that the critic can settle on a fixed task.
CRITIC_ALONE = 0.2
GEN_RATE, DISC_RATE = 1.5e-3, 1e-3


def _moments(images: torch.Tensor) -> np.ndarray:
    """Fixed descriptors of images: brightness, spread, and edges of the four quarters."""
    grey = images.mean(1, keepdim=True)
    along_x = F.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1))
    along_y = F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1))
    maps = torch.cat([images, (grey - grey.mean((2, 3), keepdim=True)) ** 2, along_x, along_y], 1)
    quarters = F.adaptive_avg_pool2d(maps, 2).flatten(1)
    return quarters.numpy().astype(np.float64)


def frechet(real: torch.Tensor, fake: torch.Tensor) -> float:
    """Frechet distance between the moments of two sets of images.

    Parameters
    ----------
    real, fake : Tensor
        Images, shape (n, channels, size, size).

    Returns
    -------
    float
        Distance per descriptor, in units of the real images' standard deviations.
    """
    first, second = _moments(real), _moments(fake)
    scale = first.std(0) + 1e-6
    first, second = first / scale, second / scale
    cov_first, cov_second = np.cov(first.T), np.cov(second.T)
    # The trace of the square root of the product follows from its eigenvalues.
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_first @ cov_second).real, 0, None)).sum()
    gap = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return float((gap + np.trace(cov_first) + np.trace(cov_second) - 2 * roots) / first.shape[1])


@torch.no_grad()
def _paint(generator: nn.Module, count: int, seed: int = 11) -> torch.Tensor:
    """Images of a generator in evaluation mode, from latent vectors that depend on the seed only."""
    was = generator.training
    generator.eval()
    images = generator(torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed)))
    generator.train(was)
    return images


@torch.no_grad()
def _auc(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> float:
    """Area under the ROC curve of real against fake images."""
    critic.eval()
    scores = torch.cat([critic(real), critic(fake)]).flatten().numpy()
    return float(roc_auc_score([1] * len(real) + [0] * len(fake), scores))


class Pair:
    """A generator, its discriminator and what their training needs.

    Parameters
    ----------
    gen, disc : Model
        The two entries.
    """

    def __init__(self, gen: Model, disc: Model) -> None:
        torch.manual_seed(gen.seed)
        self.generator = build(gen)
        torch.manual_seed(disc.seed)
        self.critic = build(disc)
        self.rng = torch.Generator().manual_seed(gen.seed)
        self.flips = gen.category != "handwriting"
        self.batch = gen.batch
        self.source, self.held = pool_of(gen, held=False), pool_of(gen, held=True).images
        betas = (0.5, 0.99)
        self.gen_step = torch.optim.Adam(self.generator.parameters(), GEN_RATE, betas)
        self.disc_step = torch.optim.Adam(self.critic.parameters(), DISC_RATE, betas)
        # Old fakes stay in the diet, so that the critic does not forget what it has learnt.
        self.memory = _paint(self.generator, MEMORY, seed=12)

    def latent(self) -> torch.Tensor:
        """A batch of latent vectors."""
        return torch.randn(self.batch, LATENT, generator=self.rng)

    def train_critic(self, step: int) -> None:
        """One step of the discriminator, with a gradient penalty on real images now and then."""
        real = data.batch(self.source, self.batch, self.rng, self.flips).images
        with torch.no_grad():
            fresh = self.generator(self.latent())
        old = self.memory[torch.randint(MEMORY, (self.batch // 2,), generator=self.rng)]
        if step % REMEMBER_EVERY == 0:
            self.memory[int(torch.randint(MEMORY, (1,), generator=self.rng))] = fresh[0]
        penal = step % PENALTY_EVERY == 0
        real.requires_grad_(penal)
        score = self.critic(real)
        loss = F.softplus(-score).mean() + F.softplus(self.critic(fresh)).mean()
        loss = loss + 0.5 * F.softplus(self.critic(old)).mean()
        if penal:
            (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
            loss = loss + PENALTY * PENALTY_EVERY * slope.pow(2).sum((1, 2, 3)).mean()
        self.disc_step.zero_grad()
        loss.backward()
        self.disc_step.step()

    def train_generator(self) -> None:
        """One step of the generator."""
        self.critic.requires_grad_(False)
        loss = F.softplus(-self.critic(self.generator(self.latent()))).mean()
        self.gen_step.zero_grad()
        loss.backward()
        self.gen_step.step()
        self.critic.requires_grad_(True)

    def slow_down(self, done: float) -> None:
        """Let the learning rates fall linearly over the second half."""
        share = min(1.0, 2 * (1 - done) + 0.02)
        for optimiser, rate in ((self.gen_step, GEN_RATE), (self.disc_step, DISC_RATE)):
            for group in optimiser.param_groups:
                group["lr"] = rate * share


def train_pair(gen: Model, disc: Model) -> tuple[Trained, Trained]:
    """Train a generator against its discriminator.

    Parameters
    ----------
    gen, disc : Model
        The two entries.

    Returns
    -------
    tuple of Trained
        Outcome of the generator and of the discriminator; both carry the time of the pair halved.
    """
    start = time.perf_counter()
    pair = Pair(gen, disc)
    first = snapshot(pair.generator), snapshot(pair.critic)
    fakes = [_paint(pair.generator, len(pair.held) // 3)]
    gen_before = frechet(pair.held, _paint(pair.generator, 768))
    pair.generator.train()
    for step in range(gen.steps):
        if step == gen.steps // 2:
            fakes.append(_paint(pair.generator, len(pair.held) // 3))
        pair.slow_down(step / gen.steps)
        pair.train_critic(step)
        if step < gen.steps * (1 - CRITIC_ALONE):
            pair.train_generator()
    fakes.append(_paint(pair.generator, len(pair.held) // 3))
    gen_after = frechet(pair.held, _paint(pair.generator, 768))
    fake = torch.cat(fakes)
    disc_after = _auc(pair.critic, pair.held, fake)
    last = snapshot(pair.generator), snapshot(pair.critic)
    pair.critic.load_state_dict(first[1])
    disc_before = _auc(pair.critic, pair.held, fake)
    half = (time.perf_counter() - start) / 2
    return (
        Trained(first[0], last[0], gen_after, gen_before, None, half),
        Trained(first[1], last[1], disc_after, disc_before, None, half),
    )
