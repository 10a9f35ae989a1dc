"""The small EDM teacher and its DMD2 distillation: the embedded default's own networks.

Teacher: Karras et al. 2022 (arXiv 2206.00364), section 5 and table 1. Distillation: Yin et al. 2024 (DMD2,
arXiv 2405.14867): distribution matching without regression loss, two time scales, a GAN head on the fake score's encoder.
Trainers are sized iterables of losses; whoever runs them shows the progress.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modescope.edm import EDMPrecond, karras_sigmas
from modescope.taps import capture

Network = TypeVar("Network", bound=nn.Module)


def edm_weight(sigma: Float[Tensor, " N"], sigma_data: float) -> Float[Tensor, "N 1 1 1"]:
    """lambda(sigma) of table 1: equal loss weight for every noise level at initialisation."""
    return ((sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2)[:, None, None, None]


def denoising_loss(
    network: EDMPrecond, x0: Tensor, noise: Tensor, sigma: Float[Tensor, " N"], rows: Tensor
) -> Float[Tensor, ""]:
    """EDM-weighted squared error of the denoised image (Karras et al. 2022, eq. 8)."""
    denoised = network(x0 + sigma[:, None, None, None] * noise, sigma, rows)
    return (edm_weight(sigma, network.sigma_data) * (denoised - x0).square()).mean()


class Average(Generic[Network]):
    """Exponential moving average of a network's weights, warmed up so that early weights do not linger."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, value in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(value, 1 - decay)


class Data:
    """Training images in [-1, 1] and one-hot rows, drawn class by class in equal shares."""

    def __init__(self, images: Float[Tensor, "N C H W"], labels: Int64[Tensor, " N"], rng: torch.Generator) -> None:
        self.images, self.rng = images, rng
        self.classes = int(labels.max()) + 1
        self.members = [(labels == c).nonzero().flatten() for c in range(self.classes)]

    def labels(self, n: int) -> Int64[Tensor, " N"]:
        return torch.randint(self.classes, (n,), generator=self.rng)

    def rows(self, labels: Int64[Tensor, " N"]) -> Float[Tensor, "N L"]:
        return F.one_hot(labels, self.classes).float()

    def real(self, labels: Int64[Tensor, " N"]) -> Float[Tensor, "N C H W"]:
        draws = torch.rand(len(labels), generator=self.rng)
        chosen = [self.members[c][int(u * len(self.members[c]))] for c, u in zip(labels.tolist(), draws, strict=True)]
        return self.images[torch.stack(chosen)]

    def noise(self, n: int) -> Float[Tensor, "N C H W"]:
        return torch.randn(n, *self.images.shape[1:], generator=self.rng)


class TeacherTraining:
    """EDM training of a class-conditional denoiser; iterate to train, then take `average.network`."""

    def __init__(
        self, network: EDMPrecond, data: Data, *, steps: int, batch_size: int, lr: float, ema: float = 0.999
    ) -> None:
        self.network, self.data, self.steps, self.batch_size, self.lr = network, data, steps, batch_size, lr
        self.average = Average(network, ema)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[float]:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.lr, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps, pct_start=0.1)
        self.network.train()
        for _ in range(self.steps):
            labels = self.data.labels(self.batch_size)
            # ln sigma ~ N(-1.2, 1.2^2): Karras et al. 2022, table 1
            sigma = (torch.randn(self.batch_size, generator=self.data.rng) * 1.2 - 1.2).exp()
            noise = self.data.noise(self.batch_size)
            loss = denoising_loss(self.network, self.data.real(labels), noise, sigma, self.data.rows(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            self.average.update(self.network)
            yield loss.item()


class Head(nn.Module):
    """Real-or-fake logit from the fake score network's encoder bottleneck."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, 1),
        )

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, " N"]:
        return self.layers(x)[:, 0]


class Distillation:
    """DMD2 distillation of a teacher into a one-step generator; iterate to train, then take `average.network`.

    Per step the fake score learns (denoising loss on fakes plus `gan_head_weight` times the GAN loss of the head); every
    `generator_every`-th step the generator learns (distribution matching plus `gan_weight` times its GAN loss). Both
    rates fall linearly to zero over the last `settle` (a share) of the steps.
    """

    def __init__(
        self,
        teacher: EDMPrecond,
        data: Data,
        *,
        steps: int,
        batch_size: int,
        lr: float,
        gan_head_weight: float,
        gan_weight: float,
        generator_every: int = 5,
        settle: float = 0.1,
        ema: float = 0.995,
        sigma_max: float = 80.0,
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.generator = copy.deepcopy(teacher).train().requires_grad_(True)
        self.fake_score = copy.deepcopy(self.generator)
        name, layer = list(teacher.model.enc.items())[-1]
        self.bottleneck = f"model.enc.{name}"
        self.head = Head(int(layer.out_channels))  # type: ignore[arg-type]
        self.average = Average(self.generator, ema)
        self.data, self.steps, self.batch_size, self.sigma_max = data, steps, batch_size, sigma_max
        self.gan_head_weight, self.gan_weight, self.generator_every = gan_head_weight, gan_weight, generator_every
        self.lr, self.settle = lr, settle
        table = torch.from_numpy(karras_sigmas(1000, sigma_max=sigma_max)).float()
        self.sigmas, self.inner_sigmas = table, table[20:980]  # the outer 2% carry no usable direction
        self._for_generator = torch.optim.AdamW(self.generator.parameters(), lr=lr, betas=(0.9, 0.999))
        learners = [*self.fake_score.parameters(), *self.head.parameters()]
        self._for_critic = torch.optim.AdamW(learners, lr=lr, betas=(0.9, 0.999))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Yields (fake score loss, last generator loss)."""
        generator_loss = 0.0
        for step in range(self.steps):
            rate = self.lr * min(1.0, (self.steps - step) / (self.settle * self.steps))
            for group in [*self._for_generator.param_groups, *self._for_critic.param_groups]:
                group["lr"] = rate
            labels = self.data.labels(self.batch_size)
            if step % self.generator_every == 0:
                generator_loss = self._learn_generator(labels)
            yield self._learn_critic(labels), generator_loss

    def _make(self, rows: Tensor) -> Tensor:
        n = len(rows)
        sigma = torch.full((n,), self.sigma_max)
        return self.generator(self.data.noise(n) * self.sigma_max, sigma, rows)

    def _draw_sigma(self, table: Tensor, n: int) -> Tensor:
        return table[torch.randint(len(table), (n,), generator=self.data.rng)]

    def _noised(self, x0: Tensor, sigma: Tensor) -> Tensor:
        return x0 + sigma[:, None, None, None] * self.data.noise(len(x0))

    def _logits(self, x: Tensor, sigma: Tensor, rows: Tensor) -> Tensor:
        with capture(self.fake_score, [self.bottleneck], stop=True, detach=False) as features:
            self.fake_score(x, sigma, rows)
        return self.head(features[self.bottleneck])

    def _learn_critic(self, labels: Tensor) -> float:
        rows = self.data.rows(labels)
        with torch.no_grad():
            fake = self._make(rows)
        sigma = self._draw_sigma(self.sigmas, len(rows))
        with capture(self.fake_score, [self.bottleneck], detach=False) as features:
            denoised = self.fake_score(self._noised(fake, sigma), sigma, rows)
        weight = edm_weight(sigma, self.fake_score.sigma_data)
        loss = (weight * (denoised - fake).square()).mean()
        on_fake = self.head(features[self.bottleneck])
        on_real = self._logits(self._noised(self.data.real(labels), sigma), sigma, rows)
        gan = F.softplus(on_fake).mean() + F.softplus(-on_real).mean()
        self._step(self._for_critic, loss + self.gan_head_weight * gan)
        return loss.item()

    def _learn_generator(self, labels: Tensor) -> float:
        rows = self.data.rows(labels)
        x = self._make(rows)
        sigma = self._draw_sigma(self.inner_sigmas, len(rows))
        with torch.no_grad():
            noised = self._noised(x, sigma)
            real, fake = self.teacher(noised, sigma, rows), self.fake_score(noised, sigma, rows)
            scale = (x - real).abs().mean(dim=(1, 2, 3), keepdim=True)
            target = x - (fake - real) / scale.clamp(min=1e-6)
        matching = 0.5 * F.mse_loss(x, target)
        sigma = self._draw_sigma(self.sigmas, len(rows))
        gan = F.softplus(-self._logits(self._noised(x, sigma), sigma, rows)).mean()
        self._step(self._for_generator, matching + self.gan_weight * gan)
        self.average.update(self.generator)
        return matching.item()

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self._for_generator.zero_grad()
        self._for_critic.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 10.0)
        optimizer.step()
