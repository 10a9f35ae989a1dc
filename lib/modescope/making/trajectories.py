"""What a sampler has in mind at every step: the clean image it estimates, and where that stands on the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8

from modescope import sampling
from modescope.generators import Generator
from modescope.making.landing import Landing, landing, seen
from modescope.making.opened import Opened, number_of, source_of
from modescope.making.recipes import Aim, Recipe
from modescope.making.running import Prepared, run
from modescope.making.schedules import schedule_of
from modescope.runtime import arithmetic
from modescope.sampling import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A row per step: its noise level, the denoised estimate, its place on the map and its distance to the aim.

    The last row is the image itself. places: None for a view of sampling passes; distances: also without an aim.
    """

    sigmas: Float[np.ndarray, " S"]
    images: UInt8[np.ndarray, "S C H W"]
    places: Float[np.ndarray, "S E"] | None
    distances: Float[np.ndarray, " S"] | None


def of_recipe(
    opened: Opened, recipe: Recipe, ready: Prepared, watch: Callable[[int], None] | None = None
) -> Trajectory:
    """Of the image that a recipe makes. Every estimate is captured like that image, under the same noise."""
    generator = opened.generator(recipe.generator)
    steps = run(recipe, generator, ready.holds, ready.noise, watch).steps
    images = _images(generator, steps)
    return _trajectory(steps, images, landing(opened, recipe, images))


def of_sample(opened: Opened, sample_id: str, view: str) -> Trajectory:
    """Of a sample that the pipeline made, captured under that sample's own noise."""
    name, number = source_of(sample_id), number_of(sample_id)
    if name == "real":
        raise ValueError(f"sample {sample_id!r} is real: nothing sampled it; choose a generated one")
    generator, label = opened.generator(name), opened.labels([sample_id])
    root, shape = opened.params.seed, generator.latent_shape
    with arithmetic(opened.params.generate.precision), torch.no_grad():
        sampler = schedule_of(opened.params.generator(name)).sampler_of(generator)
        noise = sampling.latents(root, np.array([number]), shape).to(generator.device)
        renoise = sampling.renoising(root, [number], shape)
        steps = list(sampler(generator.denoise, noise, generator.rows(label), renoise))
    images = _images(generator, steps)
    if opened.params.view(view).protocol == "sampling":
        return _trajectory(steps, images, Landing())
    nowhere = Aim(view=view, network="", map="", ids=(), weights=(), place=())
    landed = seen(opened, nowhere, images, sample_id, int(label[0]))
    return _trajectory(steps, images, replace(landed, places=_ending(landed.places, opened.places(view, [sample_id]))))


def _ending(places: Float[np.ndarray, "S E"] | None, last: Float[np.ndarray, "1 E"]) -> Float[np.ndarray, "S E"] | None:
    """With the place that the map has for the sample itself: seen in other company, a place moves a little."""
    return None if places is None else np.concatenate([places[:-1], last])


def _images(generator: Generator, steps: Sequence[Step]) -> UInt8[np.ndarray, "S C H W"]:
    return np.concatenate([generator.decode(step.x0) for step in steps])


def _trajectory(steps: Sequence[Step], images: UInt8[np.ndarray, "S C H W"], landed: Landing) -> Trajectory:
    sigmas = np.array([step.sigma for step in steps])
    return Trajectory(sigmas=sigmas, images=images, places=landed.places, distances=landed.distances)
