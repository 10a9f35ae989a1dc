"""Kept images made again from their records, and compared with what was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modescope import store
from modescope.making.recipes import Recipe
from modescope.making.workshop import Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A made image as it is kept: its id, recipe, the rest of its record, and its arrays."""

    id: str
    recipe: Recipe
    record: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def landed(self) -> tuple[float, ...] | None:
        """Its place on the map of the recipe's view, where it has one."""
        place = self.record["landed"]
        return None if place is None else tuple(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The image made again; `apart`: the largest difference to the kept one, in levels of 255; what differs from the
    recipe's checkpoint, settings and machine.
    """

    pixels: UInt8[np.ndarray, "C H W"]
    apart: int
    differs: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return self.apart == 0

    def __str__(self) -> str:
        verdict = "equal" if self.equal else f"differs by up to {self.apart} of 255 levels"
        return "; ".join([verdict, *self.differs])


def read_kept(workshop: Workshop, sample_id: str) -> Kept:
    """A made image by its id. ValueError for an unknown id, a damaged file, and a recipe of another version."""
    for generator in workshop.opened.params.generators:
        folder = workshop.folder(generator)
        if sample_id in store.list_made(folder):
            record, arrays = store.read_made(folder, sample_id)
            try:
                recipe = Recipe.read(record["recipe"])
            except (KeyError, AttributeError, ValueError) as error:
                raise ValueError(f"{sample_id} in {folder}: {error}") from error
            return Kept(id=sample_id, recipe=recipe, record=record, arrays=arrays)
    raise ValueError(f"{sample_id!r} is not among the made images; `python -m modescope.making list` names them")


def kept_ids(workshop: Workshop) -> Iterator[str]:
    """Ids of all that was made, generator by generator, oldest first; not every one need be readable."""
    for generator in workshop.opened.params.generators:
        yield from store.list_made(workshop.folder(generator))


def replay(workshop: Workshop, kept: Kept) -> Replayed:
    """Make a kept image again with the checkpoint and the machine that are here, and compare."""
    pixels, _ = workshop.sample(kept.recipe)
    image = kept.arrays["image"]
    if pixels.shape != image.shape:
        raise ValueError(
            f"{kept.id} has shape {image.shape} and its generator makes {pixels.shape} now; bring back the one it names"
        )
    apart = int(np.abs(pixels.astype(int) - image.astype(int)).max())
    return Replayed(pixels=pixels, apart=apart, differs=tuple(workshop.differences(kept.recipe)))
