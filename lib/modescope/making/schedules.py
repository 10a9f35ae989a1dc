"""How an image is sampled: a sampler, its steps and levels, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from modescope import sampling
from modescope.edm import karras_sigmas
from modescope.generators import Generator
from modescope.params import GeneratorParams
from modescope.sampling import Step

STEPS: Mapping[str, int] = MappingProxyType({"one-step": 1, "few-step": 4, "heun": 18, "euler": 18})
"""Of a sampler that is not the generator's own in params.yaml, where nobody says how many."""
SIGMA_MIN = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A sampler with all that it is given; fields as those of a recipe."""

    sampler: str
    steps: int
    renoise: str
    guidance: float | None
    sigma_max: float

    def __post_init__(self) -> None:
        if self.sampler not in sampling.SAMPLERS:
            raise ValueError(f"sampler {self.sampler!r} is unknown; use one of {', '.join(sampling.SAMPLERS)}")
        if self.steps < 1 or (self.sampler == "one-step" and self.steps != 1):
            raise ValueError(
                f"steps is {self.steps} for sampler {self.sampler}; one-step takes 1, the others 1 or more"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise level of every step."""
        if self.sampler == "one-step":
            return (self.sigma_max,)
        if self.sampler == "few-step":
            return tuple(sampling.few_step_sigmas(self.steps, sigma_min=SIGMA_MIN, sigma_max=self.sigma_max))
        return tuple(karras_sigmas(self.steps, sigma_min=SIGMA_MIN, sigma_max=self.sigma_max).tolist())

    def level(self, step: int) -> float:
        """The noise level of one step."""
        if not 0 <= step < self.steps:
            raise ValueError(f"step is {step}; {self.sampler} takes {self.steps} steps here, numbered from 0")
        return self.levels[step]

    def sampler_of(self, generator: Generator) -> Callable[..., Iterator[Step]]:
        """The sampler with its guidance, called as those of `sampling.sampler`."""
        plain = sampling.sampler(self.sampler, steps=self.steps, sigma_max=self.sigma_max, noise=self.renoise)
        weight = self.guidance
        if weight is None:
            return plain
        without = generator.unconditional()
        return lambda denoise, z, rows, renoise=None: plain(sampling.guided(denoise, without, weight), z, rows, renoise)


def schedule_of(how: GeneratorParams, sampler: str | None = None, steps: int | None = None) -> Schedule:
    """What params.yaml says of a generator, or another sampler and other steps."""
    name = how.sampler if sampler is None else sampler
    usual = how.steps if name == how.sampler else STEPS.get(name, 1)
    return Schedule(
        sampler=name,
        steps=usual if steps is None else steps,
        renoise=how.noise,
        guidance=how.guidance,
        sigma_max=how.conditioning_sigma,
    )
