"""Noise that was looked for: from which a generator makes given images, or an image with given features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from modescope import masking
from modescope.capturing import capture_noise
from modescope.inversion import Descent, Inversions, features_of, guide
from modescope.making.opened import Opened
from modescope.making.recipes import Recipe, Samples, class_weights


def inverted(opened: Opened, recipe: Recipe, samples: Samples, how: Descent, asked: np.ndarray | Tensor) -> Tensor:
    """Noise from which the recipe's generator makes each of the samples. `asked`: their labels, or condition rows."""
    generator = opened.generator(recipe.generator)
    search = Inversions(
        generator=generator,
        pixels=opened.pixels(samples.ids),
        ids=samples.ids,
        asked=asked if generator.num_classes else None,
        root=recipe.root,
        how=how,
        starts=np.array(samples.starts) if samples.starts else None,
        batch_size=len(samples.ids),
    )
    (result,) = list(search)
    return torch.from_numpy(result.noise)


def guided(opened: Opened, recipe: Recipe, samples: Samples, how: Descent) -> Tensor:
    """From the noise of the recipe's seed: noise whose image has the mean features of the samples."""
    generator = opened.generator(recipe.generator)
    weights = np.array(samples.weights) / np.sum(samples.weights)
    aim = torch.from_numpy((weights @ opened.features(recipe.aim.view, samples.ids)).astype(np.float32))[None]
    label = recipe.label if recipe.label is not None else samples.labels[0]
    see = seen_by(opened, recipe.aim.view, [f"made/{recipe.seed}"], np.array([label]))
    noise = masking.fresh_noise(recipe.seed, generator.latent_shape)
    return torch.from_numpy(guide(generator, see, aim, noise, rows_of(opened, recipe), how).noise)


def rows_of(opened: Opened, recipe: Recipe) -> Tensor | None:
    """The condition of a recipe as its generator takes it."""
    generator = opened.generator(recipe.generator)
    return generator.blended(class_weights(recipe.condition, 1, generator.num_classes))


def start_of(opened: Opened, recipe: Recipe) -> Tensor | None:
    """The noise that a recipe begins with, searched for; None where it is that of its seed."""
    start = recipe.start
    if start is None:
        return None
    if recipe.sampler != "one-step":
        raise ValueError(
            f"noise of source {start.source!r} is looked for through the single step of a one-step generator, and "
            f"{recipe.generator} is sampled by {recipe.sampler}; begin with the noise of the seed"
        )
    if start.source == "guided":
        return guided(opened, recipe, start.samples, start.search)
    rows = rows_of(opened, recipe)
    return inverted(opened, recipe, start.samples, start.search, np.zeros(1, np.int64) if rows is None else rows)


def cannot_steer(opened: Opened, view: str) -> str | None:
    """Why no noise can be steered by a view, in words; None where it can."""
    look = opened.look(view)
    if look.protocol == "noised" and len(look.sigmas) == 1 and look.keep == "full":
        return None
    return (
        f"view {view!r} has protocol {look.protocol}, {len(look.sigmas)} noise levels and keeps {look.keep}; noise is "
        "steered by a view with protocol noised, one noise level and keep full"
    )


def seen_by(opened: Opened, view: str, ids: Sequence[str], labels: np.ndarray) -> Callable[[Tensor], Tensor]:
    """A view's standardised features as a differentiable function of images, which have these ids (for their capture noise).

    ValueError for a view of another protocol than `noised`, of several noise levels, or that does not keep all.
    """
    if why_not := cannot_steer(opened, view):
        raise ValueError(why_not)
    look, network = opened.look(view), opened.network(view)
    scale = opened.reducer(view).components
    return features_of(
        network,
        list(network.module_paths(look.layers).values()),
        sigma=look.sigmas[0],
        noise=capture_noise(ids, network.latent_shape, root=look.root),
        rows=network.rows(labels),
        mean=scale.mean,
        inverse_scale=scale.inverse_scale,
    )
