"""Adam on batches of unknowns that have nothing to do with each other, and the pull to typical noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

BETAS = (0.7, 0.9)
"""Of Adam: short memories, since a descent has tens of steps, not thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How noise is searched for: Adam steps with a rate falling as a cosine, and what keeps the noise typical.

    prior: weight of (mean square of the noise - 1)^2. enough: an image below this error needs no other start.
    """

    steps: int = 50
    lr: float = 0.15
    prior: float = 0.03
    enough: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.lr > 0 or not self.prior >= 0:
            raise ValueError(
                f"steps {self.steps}, lr {self.lr:g}, prior {self.prior:g} are no descent; "
                "give steps >= 1, lr > 0, prior >= 0"
            )


Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Unknowns (N, ...) => what to minimise, (N,), and a by-product to keep with the best of them, (N, ...)."""


def descend(objective: Objective, start: Tensor, how: Descent) -> tuple[Tensor, Tensor, Tensor]:
    """Adam from `start`, each row on its own => per row the best unknowns met, their objective, the by-product.

    Kingma and Ba 2015, algorithm 1; rows share nothing but the rate, so a row's result does not depend on its batch.
    """
    at, (first, second) = start.clone(), BETAS
    mean, square = torch.zeros_like(at), torch.zeros_like(at)
    best, value, made = at, torch.full((len(at),), math.inf, device=at.device), torch.empty(0)
    for step in range(how.steps + 1):
        with torch.enable_grad():
            free = at.detach().requires_grad_(True)
            now, product = objective(free)
            slope = torch.autograd.grad(now.sum(), free)[0] if step < how.steps else torch.zeros_like(free)
        now, product = now.detach(), product.detach()
        better = now < value
        value = torch.where(better, now, value)
        best, made = _where(better, at, best), _where(better, product, made) if step else product
        mean, square = first * mean + (1 - first) * slope, second * square + (1 - second) * slope.square()
        rate = how.lr * 0.5 * (1 + math.cos(math.pi * step / how.steps)) / (1 - first ** (step + 1))
        at = at - rate * mean / ((square / (1 - second ** (step + 1))).sqrt() + 1e-8)
    return best, value, made


def _where(rows: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (chosen.ndim - 1)), chosen, other)


def atypical(noise: Float[Tensor, "N C H W"]) -> Float[Tensor, " N"]:
    """How far noise is from the norm of standard normal noise: (mean square - 1)^2."""
    return (noise.square().flatten(1).mean(1) - 1).square()
