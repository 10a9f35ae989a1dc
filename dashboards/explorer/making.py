"""What visitors had made: wishes become recipes of `modescope.making`, and kept images are found again.

All of this runs in the queue in front of the model (see `worker`); nothing here computes, the library does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modescope import making
from modescope.making import Kept, Workshop

from .resources import Project, Side, load

log = logging.getLogger(__name__)

PICTURES = ("image", "free", "mean")
"""The made image, the one without mask from the same seed, the neighbours' mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a visitor asks for."""

    view: str
    generator: str
    label: int
    layers: tuple[str, ...]
    neighbours: tuple[str, ...]
    seed: int


class Studio:
    """The workshop of one project and what was made there. One thread at a time may ask it to make something."""

    def __init__(self, project: Project) -> None:
        self.project = project
        sides = {"real": project.real, **project.generators}
        self.workshop = Workshop(project.root, project.params, {name: side.images for name, side in sides.items()})
        self.made: dict[str, Kept] = {kept.id: kept for kept in self._read()}

    def _read(self) -> Iterator[Kept]:
        for sample_id in making.kept_ids(self.workshop):
            try:
                yield self._kept(sample_id)
            except (KeyError, ValueError) as error:
                log.warning("%s cannot be shown: %s", sample_id, error)

    def _kept(self, sample_id: str) -> Kept:
        """As the page shows it: with its pictures, without its activations."""
        kept = making.read_kept(self.workshop, sample_id)
        return replace(kept, arrays={name: kept.arrays[name] for name in PICTURES})

    def history(self, view: str, generator: str) -> tuple[Kept, ...]:
        """What was made with a generator for a view, newest first."""
        kept = [k for k in tuple(self.made.values()) if (k.recipe.aim.view, k.recipe.generator) == (view, generator)]
        return tuple(reversed(kept))

    @cached_property
    def map_hashes(self) -> dict[str, str]:
        """Which fitted map each view has; empty where its reducer is missing."""
        return {view: self.workshop.opened.map_hash(view) for view in self.project.views}

    def fits(self, kept: Kept) -> bool:
        """Whether a made image belongs on the map as it is now (a map fitted again has other places)."""
        return kept.landed is not None and kept.recipe.aim.map == self.map_hashes.get(kept.recipe.aim.view)

    def ready(self, generator: str) -> bool:
        """Whether a generation starts without loading anything."""
        return self.workshop.opened.ready(generator)

    def nearest(self, view: str, selected: str, sides: list[Side], k: int, space: str) -> tuple[str, ...]:
        """The k samples of `sides` nearest to the selected one, on the map or in standardised features."""
        return self.workshop.opened.nearest(view, selected, [side.name for side in sides], k, space)

    def make(self, wish: Wish) -> Kept:
        """Hold the mean of the neighbours' mask values, generate, look where the image lands, and keep it all."""
        aim = self.workshop.aim_at(wish.view, wish.neighbours)
        held = self.workshop.hold(wish.generator, aim, wish.layers)
        condition = making.one_class(wish.label)
        made = self.workshop.make(self.workshop.recipe(wish.generator, aim, condition, wish.seed, [held]))
        kept = self._kept(self.workshop.keep(made))
        others = {name: other for name, other in self.made.items() if name != kept.id}
        self.made = {**others, kept.id: kept}  # bound anew: the event loop reads it meanwhile
        return kept


@cache
def _opened(root: Path) -> Studio:
    return Studio(load(root))


def shared() -> Studio:
    """The studio of this server: of the working directory, or of MODESCOPE_ROOT. A failure is not kept: the next visit
    tries again."""
    return _opened(Path(os.environ.get("MODESCOPE_ROOT", ".")).resolve())


def thumbnail(sample_id: str) -> UInt8[np.ndarray, "C H W"] | None:
    """The image of a known id (`real/..`, `fake/..`, `made/<hash>`, `made/<hash>/free`, `made/<hash>/mean`), else None."""
    here = shared()
    if sample_id.startswith("made/"):
        for ending, what in zip(("", "/free", "/mean"), PICTURES, strict=True):
            kept = here.made.get(sample_id.removesuffix(ending)) if sample_id.endswith(ending) else None
            if kept is not None:
                return kept.arrays[what]
        return None
    return here.project.pixels(sample_id) if here.project.side(sample_id) else None
