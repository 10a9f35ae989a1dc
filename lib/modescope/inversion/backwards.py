"""The teacher: its deterministic sampler run backwards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from modescope.edm import karras_sigmas
from modescope.sampling import Denoiser, euler, heun, last, levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversed:
    """Noise found by running a sampler backwards; `gap`: the largest change of an image's last fixed-point iterations,
    relative to the noise level; `error`: mean squared difference of the image after running it forwards again."""

    noise: Float[Tensor, "N C H W"]
    gap: Float64[np.ndarray, " N"]
    error: Float64[np.ndarray, " N"]


@torch.no_grad()
def reverse(
    denoise: Denoiser,
    images: Float[Tensor, "N C H W"],
    rows: Tensor | None,
    *,
    sampler: str = "heun",
    steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    iterations: int = 50,
    tolerance: float = 1e-5,
) -> Reversed:
    """A deterministic sampler (`heun`, `euler`) backwards: for each step the x whose step ends where the next one begins.

    That x solves x = end - increment(x); iterated to a `tolerance` relative to the noise level, at most `iterations` times.
    `images` are in the network's space.
    """
    forwards = {"heun": heun, "euler": euler}
    if sampler not in forwards:
        raise ValueError(f"sampler {sampler!r} cannot be run backwards; use 'heun' or 'euler'")
    sigmas = [*karras_sigmas(steps, sigma_min=sigma_min, sigma_max=sigma_max).tolist(), 0.0]
    x, gap = images, images.new_zeros(len(images))
    for after, now in pairwise(reversed(sigmas)):
        end, change = x, gap
        for _ in range(iterations):
            previous, x = x, end - _increment(denoise, x, rows, now, after, corrected=sampler == "heun")
            change = (x - previous).abs().flatten(1).amax(1) / now
            if change.max() <= tolerance:
                break
        gap = torch.maximum(gap, change)
    noise = x / sigma_max
    again = last(forwards[sampler](denoise, noise, rows, steps=steps, sigma_min=sigma_min, sigma_max=sigma_max))
    error = (again - images).square().flatten(1).mean(1)
    return Reversed(noise=noise, gap=gap.double().cpu().numpy(), error=error.double().cpu().numpy())


def _increment(
    denoise: Denoiser, x: Tensor, rows: Tensor | None, now: float, after: float, *, corrected: bool
) -> Tensor:
    """What a step from noise level `now` to `after` adds to x (Karras et al. 2022, algorithm 1)."""
    slope = (x - denoise(x, levels(x, now), rows)) / now
    if corrected and after:
        guess = x + (after - now) * slope
        slope = 0.5 * (slope + (guess - denoise(guess, levels(x, after), rows)) / after)
    return (after - now) * slope
