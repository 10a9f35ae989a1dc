"""Samplers as pure functions over a denoiser `(x, sigma, rows) -> x0`. Each yields every step, so trajectories are free.

A sample is a function of (weights, noise, label row, sampler settings), never of the batch or the run that made it. The
noise that a few-step sampler adds on its way comes from the sample's own streams too (`renoising`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modescope import seeds
from modescope.edm import karras_sigmas

Denoiser = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Renoise = Callable[[int], Tensor]
"""Step index (1 for the second step, and so on) => standard normal noise of that step, one row per sample."""

SAMPLERS = ("one-step", "few-step", "heun", "euler")
RENOISES = ("fresh", "fixed", "none")
"""What a few-step sampler adds to x0 before the next step: new noise, the noise that it began with again, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a sampler: what went in at which noise level, and the clean image the network made of it."""

    index: int
    sigma: float
    noised: Float[Tensor, "N C H W"]
    x0: Float[Tensor, "N C H W"]


def levels(x: Tensor, sigma: float) -> Float[Tensor, " N"]:
    """One noise level for every image of a batch."""
    return torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)


@torch.no_grad()
def one_step(
    denoise: Denoiser, noise: Float[Tensor, "N C H W"], rows: Tensor | None, *, sigma_max: float = 80.0
) -> Iterator[Step]:
    """x0 = G(sigma_max * z, sigma_max, rows): how DMD2 one-step generators sample (Yin et al. 2024)."""
    x = noise * sigma_max
    yield Step(index=0, sigma=sigma_max, noised=x, x0=denoise(x, levels(x, sigma_max), rows))


def few_step_sigmas(steps: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> list[float]:
    """Noise levels of a few-step sampler: a Karras schedule of one level more, less the last.

    At sigma_min nothing is left to make. (DMD2's text-to-image models leave the end of their schedule out likewise.)
    """
    schedule = karras_sigmas(steps + 1, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho).tolist()
    return [sigma_max, *schedule[1:-1]]  # the first to the last bit: a mask knows its step by its noise level


@torch.no_grad()
def few_step(
    denoise: Denoiser,
    noise: Float[Tensor, "N C H W"],
    rows: Tensor | None,
    renoise: Renoise | None = None,
    *,
    sigmas: Sequence[float],
) -> Iterator[Step]:
    """x0 = G(x, sigma), x = x0 + next sigma * noise, and again: how DMD2 samples in several steps (Yin et al. 2024).

    `renoise` gives the noise of each step after the first; None adds nothing. One sigma: the one-step sampler.
    """
    _check_levels(sigmas)
    x = noise * sigmas[0]
    for index, (sigma, after) in enumerate(pairwise([*sigmas, 0.0])):
        x0 = denoise(x, levels(x, sigma), rows)
        yield Step(index=index, sigma=sigma, noised=x, x0=x0)
        if after:
            x = x0 if renoise is None else x0 + after * renoise(index + 1).to(x0)


def renoising(
    root: int, keys: Iterable[int] | Iterable[str], shape: tuple[int, int, int], purpose: str = "renoise"
) -> Renoise:
    """Fresh noise of the samples `keys`: a stream per sample and step, so that neither batch nor run matters."""
    names = [f"{key}" for key in keys]
    return lambda step: torch.from_numpy(seeds.normal(root, f"{purpose}/{step}", names, shape))


def _check_levels(sigmas: Sequence[float]) -> None:
    if not sigmas or not all(low < high for high, low in pairwise([*sigmas, 0.0])):
        raise ValueError(
            f"sigmas are {list(sigmas)}; give at least one noise level, each below the one before, all above 0"
        )


@torch.no_grad()
def euler(
    denoise: Denoiser,
    noise: Float[Tensor, "N C H W"],
    rows: Tensor | None,
    *,
    steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> Iterator[Step]:
    """Deterministic first-order sampler: Heun's without its correction, one evaluation a step (DDIM in these coordinates)."""
    sigmas = [*karras_sigmas(steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho).tolist(), 0.0]
    x = noise * sigma_max
    for index, (now, after) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, levels(x, now), rows)
        yield Step(index=index, sigma=now, noised=x, x0=x0)
        x = x + (after - now) * ((x - x0) / now)


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
        x0 = denoise(x, levels(x, now), rows)
        yield Step(index=index, sigma=now, noised=x, x0=x0)
        if after == 0.0:
            return
        slope = (x - x0) / now
        guess = x + (after - now) * slope
        correction = (guess - denoise(guess, levels(x, after), rows)) / after
        x = x + (after - now) * 0.5 * (slope + correction)


def guided(denoise: Denoiser, without: Float[Tensor, "1 ..."], weight: float) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans 2022, eq. 6, with weight = 1 + w): without + weight * (with - without).

    `without` is the row of no class (`Generator.unconditional`). Weight 1 is the conditional denoiser itself, 0 the
    unconditional one. The conditional pass runs last: it is the one that a capture around it keeps.
    """
    if weight == 1.0:
        return denoise

    def both(x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        free = denoise(x, sigma, without.expand(len(x), *without.shape[1:]))
        return torch.lerp(free, denoise(x, sigma, rows), weight)

    return both


def sampler(
    name: str,
    *,
    steps: int = 18,
    sigma_max: float = 80.0,
    sigma_min: float = 0.002,
    noise: str = "fresh",
    sigmas: Sequence[float] | None = None,
) -> Callable[..., Iterator[Step]]:
    """A sampler by name (`SAMPLERS`), called as `(denoise, noise, rows)`, or `(denoise, noise, rows, renoise)`.

    `sigma_max`: the level at which sampling starts, for a one-step generator the one it is conditioned on. `noise`: what
    the few-step sampler adds between its steps (`RENOISES`); `fresh` needs `renoise` in the call (`renoising`), the other
    samplers leave it unused. `sigmas`: the levels of the few-step sampler, instead of those that `steps` gives.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler {name!r} is unknown; use one of {', '.join(map(repr, SAMPLERS))}")
    if noise not in RENOISES:
        raise ValueError(f"noise {noise!r} is unknown; use one of {', '.join(map(repr, RENOISES))}")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min {sigma_min:g} and sigma_max {sigma_max:g} are no range; give 0 < sigma_min < sigma_max"
        )
    if name == "one-step":
        return lambda denoise, z, rows, renoise=None: one_step(denoise, z, rows, sigma_max=sigma_max)
    if name == "few-step":
        schedule = sigmas or few_step_sigmas(steps, sigma_min=sigma_min, sigma_max=sigma_max)
        return lambda denoise, z, rows, renoise=None: few_step(
            denoise, z, rows, _chosen(noise, z, renoise, len(schedule)), sigmas=schedule
        )
    ode = heun if name == "heun" else euler
    return lambda denoise, z, rows, renoise=None: ode(
        denoise, z, rows, steps=steps, sigma_min=sigma_min, sigma_max=sigma_max
    )


def _chosen(noise: str, z: Tensor, renoise: Renoise | None, steps: int) -> Renoise | None:
    if noise == "fixed":
        return lambda step: z
    if noise == "fresh" and renoise is None and steps > 1:
        raise ValueError(
            "the few-step sampler adds fresh noise and was given none; call it with `renoising(root, indices, shape)` as its "
            "fourth argument, or choose noise 'fixed' or 'none'"
        )
    return renoise if noise == "fresh" else None


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
