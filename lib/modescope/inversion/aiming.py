"""Mask source `aimed`: values to hold so that the results of any seed come near to given features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from modescope import seeds
from modescope.generators import Generator
from modescope.sampling import levels
from modescope.taps import hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Aiming:
    """How held values are searched for: steps of Adam, and in each the noise of so many new seeds (`draws`).

    rate: of the first step, in units of the deviation within the start; it falls to 0 as a cosine.
    """

    steps: int = 40
    draws: int = 1
    rate: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 1 or self.draws < 1 or not self.rate > 0:
            raise ValueError(
                f"steps {self.steps}, draws {self.draws}, rate {self.rate:g} are no search; give steps and draws from 1, "
                "a rate above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimed:
    """Values to hold, {module path: (N, C, H, W)} on the CPU, and how far the results of the last step's seeds were from
    the aim: root mean square over features and seeds.
    """

    values: dict[str, Tensor]
    distance: Float64[np.ndarray, " N"]


def aim(
    generator: Generator,
    features: Callable[[Tensor, int], Tensor],
    aims: Float[Tensor, "N D"],
    start: Mapping[str, Float[Tensor, "N C H W"]],
    rows: Tensor | None,
    *,
    ids: Sequence[str],
    root: int,
    how: Aiming | None = None,
) -> Aimed:
    """Mask source `aimed`: from the values `start`, look for values under which results come nearest to `aims`.

    What is minimised is the mean squared distance over seeds: the squared miss of their mean and their spread. Every
    step draws seeds of its own, from the stream of (root, id), so that the values suit no seed in particular.
    `features`: images in the network's space (N, C, H, W) and the number of the look => (N, D), differentiable
    (`features_of`); a noise of its own in every look keeps the values from being fitted to that noise.
    """
    how, aim_at = how or Aiming(), aims.to(generator.device)
    begin = {path: value.to(generator.device, torch.float32) for path, value in start.items()}
    moved = {path: torch.zeros_like(value, requires_grad=True) for path, value in begin.items()}
    descent = torch.optim.Adam(moved.values(), lr=how.rate, betas=(0.7, 0.9))
    falling = CosineAnnealingLR(descent, how.steps)
    squared = aim_at.new_zeros(len(aims))
    for step in range(how.steps):
        descent.zero_grad()
        squared = torch.zeros_like(squared)
        for draw in range(step * how.draws, (step + 1) * how.draws):
            noise = torch.from_numpy(seeds.normal(root, f"aim/{draw}", list(ids), generator.latent_shape))
            with torch.enable_grad():
                shown = _shown(generator, noise.to(generator.device), rows, _held(begin, moved))
                miss = (features(shown, draw) - aim_at).square().mean(1) / how.draws
                miss.sum().backward()
            squared += miss.detach()
        descent.step()
        falling.step()
    values = {path: value.detach().cpu() for path, value in _held(begin, moved).items()}
    return Aimed(values=values, distance=squared.sqrt().double().cpu().numpy())


def _held(begin: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Moved in units of each row's own deviation, so that no row's steps depend on the others."""
    return {path: start + start.flatten(1).std(1)[:, None, None, None] * moved[path] for path, start in begin.items()}


def _shown(generator: Generator, noise: Tensor, rows: Tensor | None, held: Mapping[str, Tensor]) -> Tensor:
    """Images of `noise` under the held values as they will be shown, within [-1, 1]; slopes pass the limits unchanged."""
    with hold(generator.network, held):
        x0 = generator.denoise(noise * generator.sigma_max, levels(noise, generator.sigma_max), rows)
    return x0 + (x0.clamp(-1, 1) - x0).detach()
