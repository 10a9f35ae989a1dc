"""From a recipe's words to values held in a network, by name of their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from modescope import masking, sampling
from modescope.generators import Generator
from modescope.inversion import Descent
from modescope.making import steering
from modescope.making.opened import Opened, number_of
from modescope.making.recipes import Held, Recipe, Samples
from modescope.masking import Hold
from modescope.records import Mask

RECORDED = ("recorded", "nearest", "mixed")
ONE_STEP = ("scaled", "inverted", "guided", "inverse")


def hold_of(opened: Opened, recipe: Recipe, held: Held) -> tuple[Hold, dict[str, np.ndarray]]:
    """What a recipe holds => the hold, and noise that was searched for on the way ({} for most sources)."""
    if held.source in ONE_STEP and recipe.sampler != "one-step":
        raise ValueError(
            f"source {held.source!r} gives values of the single step of a one-step generator, and {recipe.generator} is "
            f"sampled by {recipe.sampler}; hold recorded values"
        )
    generator = opened.generator(recipe.generator)
    mask, found = _mask(opened, recipe, held, held.samples, generator)
    if held.away is not None:
        mask = masking.difference(mask, _mask(opened, recipe, held, held.away, generator)[0])
    return Hold(mask=mask, strength=held.strength, add=held.add, where=_where(held, mask)), found


def _where(held: Held, mask: Mask) -> dict[str, Tensor]:
    if held.channels is held.rows is held.columns is None:
        return {}
    parts = dict(channels=held.channels, rows=held.rows, columns=held.columns)
    return {path: masking.region(tuple(value.shape[1:]), **parts) for path, value in mask.values.items()}  # type: ignore[arg-type]


def _mask(
    opened: Opened, recipe: Recipe, held: Held, samples: Samples, generator: Generator
) -> tuple[Mask, dict[str, np.ndarray]]:
    names = generator.module_paths(held.layers)
    found: dict[str, np.ndarray] = {}
    if held.source in RECORDED:
        values = _recorded(opened, recipe, held, samples, generator)
    elif held.source == "scaled":
        labels = np.array(samples.labels)
        values = masking.scaled_values(generator, opened.pixels(samples.ids), labels, list(names.values()))
    elif held.source == "inverse":
        values = _of_view(opened, recipe, samples, names, generator)
    else:
        noise, condition = _searched(opened, recipe, held, samples)
        values = masking.record(generator, noise, condition, list(names.values()))[1]
        found = {"noise": noise.cpu().numpy()}
    if held.source == "guided":  # one row, whatever the number of samples: their mean was aimed at
        return masking.mean_mask(_floats(values), ["guided"], source="guided", sigma=held.sigma), found
    mask = masking.mean_mask(
        _floats(values), samples.ids, source=held.source, sigma=held.sigma, weights=samples.weights
    )
    return mask, found


def _floats(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {path: torch.as_tensor(value).float() for path, value in values.items()}


def _recorded(
    opened: Opened, recipe: Recipe, held: Held, samples: Samples, generator: Generator
) -> Mapping[str, Tensor]:
    """Values of generated samples in the step that is held."""
    names = generator.module_paths(held.layers)
    labels = np.array(samples.labels)
    if recipe.sampler == "one-step":
        return recorded(opened, recipe.generator, samples.ids, labels, names, batch_size=held.batch_size)
    numbers = np.array([number_of(n) for n in samples.ids])
    noise = sampling.latents(recipe.root, numbers, generator.latent_shape)
    renoise = sampling.renoising(recipe.root, numbers.tolist(), generator.latent_shape)
    run = recipe.schedule.sampler_of(generator)
    _, steps = masking.record_steps(generator, run, noise, labels, list(names.values()), renoise)
    return steps[held.step].values


def recorded(
    opened: Opened,
    name: str,
    ids: Sequence[str],
    labels: np.ndarray,
    layers: Mapping[str, str],
    *,
    batch_size: int | None,
) -> Mapping[str, Tensor]:
    """Values of a one-step generator's samples in `layers` (friendly name => module path): the stored ones where these are
    of this very generator, else made again from their seeds, to the same bits where `batch_size` is the pipeline's.
    """
    generator = opened.generator(name)
    if batch_size is not None and _are_stored(opened, name, generator, layers):
        images = opened.images(name)
        rows = images.rows_of(ids)
        return {path: torch.from_numpy(images.take(rows, layer)) for layer, path in layers.items()}
    numbers, root = np.array([number_of(n) for n in ids]), opened.params.seed
    return masking.recomputed(generator, numbers, labels, root, list(layers.values()), batch_size=batch_size)


def _are_stored(opened: Opened, name: str, generator: Generator, layers: Mapping[str, str]) -> bool:
    if not (opened.root / "data/fake" / name / "manifest.json").is_file():
        return False
    images = opened.images(name)
    made = images.config["identity"]
    same = (made["checkpoint_hash"], made["seed"]) == (generator.checkpoint_hash, opened.params.seed)
    return same and set(layers) <= set(images.manifest["arrays"])


def _searched(opened: Opened, recipe: Recipe, held: Held, samples: Samples) -> tuple[Tensor, Tensor | None]:
    """Noise that makes the samples (`inverted`), or an image with their mean features (`guided`), and its condition."""
    how, labels = held.search or Descent(), np.array(samples.labels)
    if held.source == "guided":
        return steering.guided(opened, recipe, samples, how), steering.rows_of(opened, recipe)
    generator = opened.generator(recipe.generator)
    return steering.inverted(opened, recipe, samples, how, labels), generator.rows(labels)


def _of_view(
    opened: Opened, recipe: Recipe, samples: Samples, names: Mapping[str, str], generator: Generator
) -> Mapping[str, Tensor]:
    """What the view itself holds of real samples, where that is what the generator computes in its step."""
    name = recipe.aim.view
    view = opened.params.view(name)
    stored = opened.activations(name, "real")
    same = stored.config["network_hash"] == generator.checkpoint_hash and view.sigmas == (generator.sigma_max,)
    if view.protocol != "sampling" or view.keep != "full" or not same:
        raise ValueError(
            f"view {name!r} has protocol {view.protocol}, sigma {view.sigma}, keeps {view.keep}, with the network "
            f"{view.network}: its values are not what {recipe.generator} computes in its step, so nothing of the inverse can "
            "be held; hold recorded values of the samples it names (source nearest), or use a view with protocol sampling, "
            "keep full, and the generator as its network"
        )
    if lacking := [layer for layer in names if layer not in stored.layers]:
        raise ValueError(f"view {name!r} has no layer {lacking[0]!r}; hold some of {', '.join(stored.layers)}")
    return {path: torch.from_numpy(stored[samples.ids, layer]) for layer, path in names.items()}
