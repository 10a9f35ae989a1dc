"""What visitors had made: wishes go to the workshop of `modescope.making`, and kept images are found again.

What makes or follows an image runs in the queue in front of the model (see `worker`); nothing here computes, the library
does.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from modescope import conditioning, making, masking, runtime
from modescope.making import PICTURES, Cancelled, Kept, Made, Point, Progress, Replayed, Trajectory, Wish, Workshop
from modescope.params import Params

from . import atlases, ballots
from .resources import Project, load
from .sides import Side

if TYPE_CHECKING:
    from .attempts import Attempt

log = logging.getLogger(__name__)

PATHS = 64
"""Trajectories in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images made together, and whether somebody cancelled before all of them were."""

    kept: tuple[Kept, ...]
    made: tuple[Made, ...]
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Real samples found at a point of the map, their weights, and whether the point lies off the data."""

    ids: tuple[str, ...]
    weights: tuple[float, ...]
    extrapolates: bool


class Studio:
    """The workshop of one project and what was made there. One thread at a time may ask it to make something."""

    def __init__(self, project: Project) -> None:
        self.project = project
        sides = {"real": project.real, **project.generators}
        self.workshop = Workshop(
            project.root, leaving(project.params), {name: side.images for name, side in sides.items()}
        )
        self.made: dict[str, Kept] = {kept.id: kept for kept in self._read()}
        self.paths: OrderedDict[tuple[str, str], Trajectory] = OrderedDict()
        self.attempts: dict[tuple[str, str, int], tuple[Attempt, ...]] = {}
        self._layers: dict[str, tuple[str, ...]] = {}
        self._sources: dict[tuple[str, str, str | None], dict[str, str | None]] = {}

    def _read(self) -> Iterator[Kept]:
        for sample_id in making.kept_ids(self.workshop):
            try:
                yield self._kept(sample_id)
            except (KeyError, ValueError) as error:
                log.warning("%s cannot be shown: %s", sample_id, error)

    def _kept(self, sample_id: str) -> Kept:
        """As the page shows it: with its pictures and features, without its activations."""
        kept = making.read_kept(self.workshop, sample_id)
        here = {name: kept.arrays[name] for name in (*PICTURES, "features") if name in kept.arrays}
        return replace(kept, arrays=here)

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
        return self.workshop.ready(generator)

    def why_not(self, view: str, generator: str) -> str | None:
        """Why nothing can be generated with this generator on this view, in words; None if it can."""
        return self.workshop.why_not(view, generator)

    def sources(self, view: str, generator: str, sampler: str | None = None) -> dict[str, str | None]:
        """Where mask values can come from => why not, in words."""
        if (view, generator, sampler) not in self._sources:
            self._sources[view, generator, sampler] = self.workshop.sources(view, generator, sampler)
        return self._sources[view, generator, sampler]

    def layers(self, generator: str) -> tuple[str, ...]:
        """Layers that can be held: all of them once the generator is loaded, before that those with stored values."""
        if generator not in self._layers and self.ready(generator):
            self._layers[generator] = self.workshop.layers(generator)
        return self._layers.get(generator) or tuple(self.project.params.generators[generator].mask_layers)

    def load(self, generator: str) -> None:
        """Load a generator, so that all of its layers are known."""
        self._layers[generator] = self.workshop.layers(generator)

    def label(self, sample_id: str) -> int | None:
        """The class of any sample; of a made one that which it was asked to be."""
        kept = self.made.get(sample_id)
        return self.project.label(sample_id) if kept is None else kept.recipe.label

    def count_labels(self, ids: Sequence[str]) -> Counter[int | None]:
        """How many of any samples are of each class: of many thousand in no time."""
        counts: Counter[int | None] = Counter()
        for side in (self.project.real, *self.project.generators.values()):
            rows = side.rows_of(ids)
            counts.update(side.labels[rows[rows >= 0]].tolist())
        counts.update(self.made[name].recipe.label for name in ids if name in self.made)
        return counts

    def place(self, view: str, sample_id: str) -> tuple[float, ...] | None:
        """Where any sample stands on the map of a view."""
        kept = self.made.get(sample_id)
        if kept is not None:
            return kept.landed if kept.recipe.aim.view == view and self.fits(kept) else None
        found = self.project.places(view, (sample_id,))
        return tuple(found[0].tolist()) if len(found) else None

    def nearest(self, view: str, selected: str, sides: list[Side], k: int, space: str) -> tuple[str, ...]:
        """The k samples of `sides` nearest to the selected one, on the map or in standardised features."""
        kept = self.made.get(selected)
        if space == "map" and view not in self.project.real.depths:
            place = self._placed(view, selected)
            hits = atlases.hits_near(self.project, view, (place[0], place[1]), sides, k + 1)
            return tuple(name for _, side, row in hits if (name := side.id(row)) != selected)[:k]
        if kept is None:
            return self.workshop.opened.nearest(view, selected, [side.name for side in sides], k, space)
        self._placed(view, selected)
        opened, ends = self.workshop.opened, np.cumsum([len(side) for side in sides])
        blocks: Iterable[np.ndarray] = (block for side in sides for block in opened.feature_blocks(view, side.name))
        query = np.asarray(kept.arrays["features"], np.float32)[None]
        rows = masking.nearest_rows(query, blocks, min(k, int(ends[-1])))[0]
        which = np.searchsorted(ends, rows, side="right")
        return tuple(sides[i].id(int(row - ends[i] + len(sides[i]))) for i, row in zip(which, rows, strict=True))

    def _placed(self, view: str, sample_id: str) -> tuple[float, ...]:
        place = self.place(view, sample_id)
        if place is None:
            raise ValueError(f"{sample_id} has no place on the map of {view!r}; select a sample that is on it")
        return place

    def around(self, view: str, point: tuple[float, ...]) -> Around:
        """What lies around an empty spot of the map: the samples that are aimed at there."""
        opened = self.workshop.opened
        rows, weights = opened.reducer(view).neighbours(np.array([point], np.float64), Point(at=point).k)
        return Around(
            ids=tuple(opened.on_map(view, row) for row in rows[0].tolist()),
            weights=tuple(weights[0].tolist()),
            extrapolates=self.workshop.extrapolates(view, point),
        )

    def weighted(self, view: str, ids: tuple[str, ...], at: tuple[float, ...]) -> tuple[tuple[str, float], ...]:
        """Samples by their nearness to a point among them: an aim that was dragged there."""
        there = {name: place[:2] for name in ids if (place := self.place(view, name))}
        apart = np.linalg.norm(np.array(list(there.values())) - np.asarray(at), axis=1)[None]
        return tuple(zip(there, conditioning.inverse_square(apart.shape, apart)[0].tolist(), strict=True))

    def make(
        self,
        wishes: Wish | Sequence[Wish],
        watch: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Batch:
        """Make what is wished for, and keep every image as soon as it is there. What was made before somebody cancels
        stays."""
        made: list[Made] = []
        kept: list[Kept] = []
        try:
            for each in self.workshop.fulfil(wishes, watch=watch, cancelled=cancelled):
                made.append(each)
                kept.append(self._add(self.workshop.keep(each)))
        except Cancelled:
            return Batch(kept=tuple(kept), made=tuple(made), cancelled=True)
        return Batch(kept=tuple(kept), made=tuple(made))

    def _add(self, sample_id: str) -> Kept:
        kept = self._kept(sample_id)
        others = {name: other for name, other in self.made.items() if name != kept.id}
        self.made = {**others, kept.id: kept}  # bound anew: the event loop reads it meanwhile
        return kept

    def replay(self, sample_id: str) -> Replayed:
        """Make a kept image again, and compare."""
        return making.replay(self.workshop, making.read_kept(self.workshop, sample_id))

    def trajectory(
        self,
        sample_id: str,
        view: str,
        watch: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Trajectory:
        """Step by step, how an image came about: a made one, or a sample of the pipeline."""
        if (sample_id, view) not in self.paths:
            kept = self.made.get(sample_id)
            self.paths[sample_id, view] = (
                self.workshop.trajectory_of(sample_id, view)
                if kept is None
                else self.workshop.trajectory(kept.recipe, watch=watch, cancelled=cancelled)
            )
            while len(self.paths) > PATHS:
                self.paths.popitem(last=False)
        return self.paths[sample_id, view]

    def step(self, sample_id: str, number: str) -> UInt8[np.ndarray, "C H W"] | None:
        """An image of a trajectory in memory (of any view: they show the same)."""
        path = next((path for (name, _), path in tuple(self.paths.items()) if name == sample_id), None)
        if path is None or not (number.isascii() and number.isdecimal() and len(number) < 5):
            return None
        return path.images[int(number)] if int(number) < len(path.images) else None


def leaving(settings: Params) -> Params:
    """Settings by which the model takes half of its threads: the other cores answer the visitors, and threads that wait
    for each other beside them would take several times as long."""
    threads = max(1, (settings.runtime.threads or runtime.cores()) // 2)
    return settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"threads": threads})})


@cache
def _opened(root: Path) -> Studio:
    return Studio(load(root))


def shared() -> Studio:
    """The studio of this server: of the working directory, or of MODESCOPE_ROOT. A failure is not kept: the next visit
    tries again."""
    return _opened(Path(os.environ.get("MODESCOPE_ROOT", ".")).resolve())


def thumbnail(sample_id: str) -> UInt8[np.ndarray, "C H W"] | None:
    """The image of a known id (`real/..`, `fake/..`, `made/<hash>`, `made/<hash>/free`, `made/<hash>/mean`, and of a step
    of a trajectory in memory, `<id>/step/<number>`), else None.
    """
    here, sample_id = shared(), ballots.opened(sample_id)
    owner, slash, step = sample_id.rpartition("/step/")
    if slash:
        return here.step(owner, step)
    if sample_id.startswith("made/"):
        for ending, what in zip(("", "/free", "/mean"), PICTURES, strict=True):
            kept = here.made.get(sample_id.removesuffix(ending)) if sample_id.endswith(ending) else None
            if kept is not None and what in kept.arrays:
                return kept.arrays[what]
        return None
    return here.project.pixels(sample_id) if here.project.side(sample_id) else None
