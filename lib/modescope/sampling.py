"""Samplers as pure functions over a denoiser `(x, sigma, rows) -> x0`. Each yields every step, so trajectories are free.

A sample is a function of (weights, noise, label row, sampler settings), never of the batch or the run that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modescope import seeds
from modescope.edm import karras_sigmas

Denoiser = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a sampler: what went in at which noise level, and the clean image the network made of it."""

    index: int
    sigma: float
    noised: Float[Tensor, "N C H W"]
    x0: Float[Tensor, "N C H W"]


def _levels(x: Tensor, sigma: float) -> Tensor:
    return torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)


@torch.no_grad()
def one_step(
    denoise: Denoiser, noise: Float[Tensor, "N C H W"], rows: Tensor | None, *, sigma_max: float = 80.0
) -> Iterator[Step]:
    """x0 = G(sigma_max * z, sigma_max, rows): how DMD2 one-step generators sample (Yin et al. 2024)."""
    x = noise * sigma_max
    yield Step(index=0, sigma=sigma_max, noised=x, x0=denoise(x, _levels(x, sigma_max), rows))


@torch.no_grad()
def heun(
    denoise: Denoiser,
    noise: Float[Tensor, "N C H W"],
    rows: Tensor | None,
    *,
    steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> Iterator[Step]:
    """Deterministic second-order sampler (Karras et al. 2022, algorithm 1 with sigma(t) = t); 2 * steps - 1 evaluations.

    The x0 of the last step is the sample: an Euler step to noise level 0 ends exactly there.
    """
    sigmas = [*karras_sigmas(steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho).tolist(), 0.0]
    x = noise * sigma_max
    for index, (now, after) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, _levels(x, now), rows)
        yield Step(index=index, sigma=now, noised=x, x0=x0)
        if after == 0.0:
            return
        slope = (x - x0) / now
        guess = x + (after - now) * slope
        correction = (guess - denoise(guess, _levels(x, after), rows)) / after
        x = x + (after - now) * 0.5 * (slope + correction)


def sampler(name: str, *, steps: int = 18, sigma_max: float = 80.0) -> Callable[..., Iterator[Step]]:
    """A sampler by name: `one-step` or `heun`, called as `(denoise, noise, rows)`."""
    if name == "one-step":
        return lambda denoise, noise, rows: one_step(denoise, noise, rows, sigma_max=sigma_max)
    if name == "heun":
        return lambda denoise, noise, rows: heun(denoise, noise, rows, steps=steps, sigma_max=sigma_max)
    raise ValueError(f"sampler {name!r} is unknown; use 'one-step' or 'heun'")


def last(steps: Iterator[Step]) -> Float[Tensor, "N C H W"]:
    """Run a sampler to its end => the sample, in the network's own space."""
    step = None
    for step in steps:  # noqa: B007 - only the last one is wanted
        pass
    if step is None:
        raise ValueError("the sampler made no step; give it at least one")
    return step.x0


def balanced_labels(indices: np.ndarray, classes: int) -> Int64[np.ndarray, " N"]:
    """Label of sample i: i mod classes, so that any number of samples is balanced and a label never changes."""
    return np.asarray(indices, np.int64) % max(classes, 1)


def latents(root: int, indices: np.ndarray, shape: tuple[int, int, int]) -> Float[Tensor, "N C H W"]:
    """Standard normal noise of the samples `indices`: the same for every generator, so that samples pair up."""
    return torch.from_numpy(seeds.normal(root, "latent", [int(i) for i in indices], shape))
