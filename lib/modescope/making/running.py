"""One run of a recipe's sampler under holds, watched as it goes and ended when asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor, nn

from modescope import masking, sampling
from modescope.generators import Generator
from modescope.making.recipes import Recipe, class_weights
from modescope.masking import Hold
from modescope.runtime import arithmetic
from modescope.sampling import Step
from modescope.taps import capture

Sampler = Callable[..., Iterator[Step]]


class Cancelled(Exception):  # noqa: N818 - nothing went wrong
    """Somebody asked for an end before it was reached."""


@contextmanager
def interruptible(network: nn.Module, cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Ask before every pass of a network whether to go on; raise `Cancelled` where not. Searches for noise are passes too."""
    if cancelled is None:
        yield
        return

    def ask(*_: Any) -> None:
        if cancelled():
            raise Cancelled

    handle = network.register_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a recipe needs beside its generator, obtained: its holds, the noise that it begins with (None: that of its seed),
    and all noise that was searched for, by name.
    """

    holds: tuple[Hold, ...]
    noise: Tensor | None
    found: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The steps of a run, and {"held/<layer>" and "computed/<layer>": (C, H, W)} of the layers that were held."""

    generator: Generator
    steps: Sequence[Step]
    values: Mapping[str, np.ndarray]

    @property
    def image(self) -> UInt8[np.ndarray, "C H W"]:
        return self.generator.decode(self.steps[-1].x0)[0]


def run(
    recipe: Recipe,
    generator: Generator,
    holds: Sequence[Hold] = (),
    noise: Tensor | None = None,
    watch: Callable[[int], None] | None = None,
) -> Ran:
    """A recipe's condition through its sampler, from `noise` or that of its seed. `watch` is told how many steps are done."""
    shape = generator.latent_shape
    rows = generator.blended(class_weights(recipe.condition, 1, generator.num_classes))
    names = {path: name for held in recipe.holds for name, path in generator.module_paths(held.layers).items()}
    values: dict[str, np.ndarray] = {}
    with arithmetic(recipe.precision), ExitStack() as stack:
        sampler = recipe.schedule.sampler_of(generator)
        if holds:
            computed = stack.enter_context(capture(generator.network, names))
            held = stack.enter_context(capture(generator.network, names, value="held"))
            sampler = _written(sampler, holds, names, {"held/": held, "computed/": computed}, values)
        if watch is not None:
            sampler = _watched(sampler, watch)
        renoise = sampling.renoising(recipe.seed, [0], shape, "made")
        begin = masking.fresh_noise(recipe.seed, shape) if noise is None else noise
        steps = masking.generate_steps(generator, sampler, begin, rows, list(holds), renoise)
    return Ran(generator=generator, steps=steps, values=values)


def _watched(sampler: Sampler, watch: Callable[[int], None]) -> Sampler:
    def watched(*arguments: Any) -> Iterator[Step]:
        for step in sampler(*arguments):
            watch(step.index + 1)
            yield step

    return watched


def _written(
    sampler: Sampler,
    holds: Sequence[Hold],
    names: Mapping[str, str],
    taps: Mapping[str, Mapping[str, Tensor]],
    values: dict[str, np.ndarray],
) -> Sampler:
    """A sampler that writes down, at the step of each hold, what went on from its layers and what they computed."""

    def written(*arguments: Any) -> Iterator[Step]:
        for step in sampler(*arguments):
            for hold in holds:
                if math.isclose(step.sigma, hold.mask.sigma, rel_tol=1e-5):
                    values.update(
                        {
                            f"{kind}{names[p]}": tap[p][0].float().cpu().numpy()
                            for p in hold.mask.values
                            for kind, tap in taps.items()
                        }
                    )
            yield step

    return written
