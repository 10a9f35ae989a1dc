"""Generation with masks held, each in the step that it was recorded for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modescope import seeds
from modescope.generators import Generator
from modescope.masking.values import rows_of
from modescope.records import Mask
from modescope.sampling import Denoiser, Renoise, Step, last, one_step
from modescope.taps import capture, hold


def fresh_noise(seed: int, shape: tuple[int, int, int]) -> Float[Tensor, "1 C H W"]:
    """Standard normal noise for one new image: its own stream, apart from those of the pipeline's samples."""
    return torch.from_numpy(seeds.normal(seed, "made", [0], shape))


def variations(drawn: Sequence[int], shape: tuple[int, int, int]) -> Float[Tensor, "N C H W"]:
    """The noise of several seeds, a row each, equal to `fresh_noise` of it: one mask, many images."""
    return torch.cat([fresh_noise(seed, shape) for seed in drawn]) if drawn else torch.empty(0, *shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A mask and how it acts on what its layers compute.

    Held: `strength * value + (1 - strength) * computed`, strength in [0, 1]. With `add` (steering, by a `difference`):
    `computed + strength * value`, any strength. `where`: {module path: (1, C, H, W) in [0, 1]}, the part of a layer on
    which this happens (see `region`); layers that it does not name are held as a whole.
    """

    mask: Mask
    strength: float = 1.0
    add: bool = False
    where: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask.source == "difference" and not self.add:
            raise ValueError("the mask is a difference of two; a difference is added (`add=True`), not held")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Images made under a mask: pixels uint8 (N, C, H, W); what went on from the held layers and what they computed."""

    pixels: np.ndarray
    held: Mapping[str, np.ndarray]
    computed: Mapping[str, np.ndarray]


@torch.no_grad()
def generate(
    generator: Generator,
    noise: Float[Tensor, "N C H W"],
    labels: np.ndarray | Tensor | None,
    mask: Mask | Hold | None,
    *,
    strength: float = 1.0,
    keep: bool = True,
) -> Made:
    """One-step generation from `noise` with the mask held in the step it was recorded for (None: nothing held).

    `labels`: class labels, or condition rows as a tensor. `strength` is that of a `Mask`; a `Hold` states its own. `keep`:
    whether `held` and `computed` are wanted; of a large batch on a GPU they cost more to bring back than to make.
    """
    noise, rows = noise.to(generator.device), rows_of(generator, labels)
    if mask is None:
        x0 = last(one_step(generator.denoise, noise, rows, sigma_max=generator.sigma_max))
        return Made(pixels=generator.decode(x0), held={}, computed={})
    how = mask if isinstance(mask, Hold) else Hold(mask=mask, strength=strength)
    if how.mask.sigma != generator.sigma_max:
        raise ValueError(
            f"the mask was recorded at sigma {how.mask.sigma:g} and this generator makes its step at sigma "
            f"{generator.sigma_max:g}; hold a mask in the step it was recorded for"
        )
    network, paths = generator.network, list(how.mask.values)
    with ExitStack() as stack:
        stack.enter_context(hold(network, how.mask.values, strength=how.strength, add=how.add, where=how.where))
        kept = [stack.enter_context(capture(network, paths, value=value)) for value in ("held", "computed") if keep]
        x0 = last(one_step(generator.denoise, noise, rows, sigma_max=generator.sigma_max))
    values = [{path: captured[path].cpu().numpy() for path in paths} for captured in kept] or [{}, {}]
    return Made(pixels=generator.decode(x0), held=values[0], computed=values[1])


def masked(generator: Generator, holds: Sequence[Hold]) -> Denoiser:
    """The generator's denoiser, with each mask held in the passes at its own noise level and in no other."""

    def denoise(x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        level = sigma[0].item() if holds and len(sigma) else 0.0
        with ExitStack() as stack:
            for how in holds:
                if _same(how.mask.sigma, level):
                    stack.enter_context(
                        hold(generator.network, how.mask.values, strength=how.strength, add=how.add, where=how.where)
                    )
            return generator.denoise(x, sigma, rows)

    return denoise


def _same(sigma: float, level: float) -> bool:
    return math.isclose(sigma, level, rel_tol=1e-5)  # levels travel through float32


@torch.no_grad()
def generate_steps(
    generator: Generator,
    sampler: Callable[..., Iterator[Step]],
    noise: Float[Tensor, "N C H W"],
    labels: np.ndarray | Tensor | None,
    holds: Sequence[Mask | Hold],
    renoise: Renoise | None = None,
) -> list[Step]:
    """Generation by any sampler (`sampling.sampler`) with masks held => its steps; the last x0 is the sample.

    A mask acts in the step of its own noise level: give one per step, or those of the first k steps (`step_masks`).
    Raises a ValueError when the sampler has no step at the level of a mask.
    """
    chosen = [how if isinstance(how, Hold) else Hold(mask=how) for how in holds]
    rows = rows_of(generator, labels)
    steps = list(sampler(masked(generator, chosen), noise.to(generator.device), rows, renoise))
    for how in chosen:
        if not any(_same(how.mask.sigma, step.sigma) for step in steps):
            levels = ", ".join(f"{step.sigma:g}" for step in steps)
            raise ValueError(
                f"the mask was recorded at sigma {how.mask.sigma:g} and the steps of this sampler are at sigma {levels}; "
                "hold a mask in the step it was recorded for"
            )
    return steps
