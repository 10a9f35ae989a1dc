"""Images aimed at a missing region, and whether that reached it: by the rule of the pipeline (`modescope.reaching`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from modescope import files, making, reaching, store
from modescope.making import Made, Progress, Wish
from modescope.reaching import Neighbourhood, Region

from .making import Batch, Studio

MOST = 20
"""Runs at one region that are remembered; what is kept in the report stays."""
UNAIMED = "without an aim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Images of one run at a region. inside: which of `ids` count; free: how many of the same seeds without an aim do;
    real: the share that the region's own real images score by the same rule.
    """

    rank: int
    way: str
    ids: tuple[str, ...]
    inside: tuple[bool, ...]
    free: int
    real: float
    cancelled: bool = False

    @property
    def key(self) -> str:
        """The same run, the same key."""
        return store.config_hash(asdict(self))

    @property
    def landed(self) -> int:
        return sum(self.inside)

    @property
    def reached(self) -> bool:
        return reaching.is_reached(self.landed, self.free, len(self.ids), self.real)


@dataclass(frozen=True, eq=False, kw_only=True)
class Ground:
    """What is read once of a view and generator: its regions by rank, and the real samples as places to land."""

    regions: dict[int, Region]
    around: Neighbourhood


def ground(studio: Studio, view: str, generator: str) -> Ground:
    """The same one until the tables change. ValueError where nothing is missing."""
    root = studio.project.root
    paths = (root / f"data/scores/{view}/{generator}.parquet", root / f"metrics/{view}/{generator}.gaps.csv")
    if not all(path.is_file() for path in paths):
        raise ValueError(f"{generator} was not evaluated on view {view} yet: run `dvc repro`")
    return _ground(studio, view, generator, paths, tuple(path.stat().st_mtime_ns for path in paths))


@lru_cache(maxsize=8)
def _ground(studio: Studio, view: str, generator: str, paths: tuple[Path, Path], _stamps: tuple[int, ...]) -> Ground:
    scores, gaps = (files.read_table(path) for path in paths)
    if not len(gaps):
        raise ValueError(f"{generator} has no missing region on view {view}; choose another generator")
    regions = reaching.regions_of(scores, gaps, len(gaps))
    around = reaching.neighbourhood(studio.workshop.opened, view, scores)
    return Ground(regions={region.rank: region for region in regions}, around=around)


@lru_cache(maxsize=512)
def real_share(here: Ground, rank: int, root: int) -> float:
    return reaching.real_share(here.around, here.regions[rank], root)


def wishes(studio: Studio, how: dict[str, Any], rank: int, way: str | None, seeds: Sequence[int]) -> list[Wish]:
    """One per seed, each aimed at some members of the region around another target, and of the target's class. `how`: as
    `wishes.how` gives it, to which a way keeps but for where values and noise come from.
    """
    view, generator = how["view"], how["generator"]
    region = ground(studio, view, generator).regions[rank]
    aims = reaching.aims_at(studio.workshop.opened, view, generator, [region], len(seeds))
    first = Wish(**how | {"source": None, "begin": "seed"}, condition="none", seeds=tuple(seeds)[:1])
    made = making.towards(first, way or "mask", aims.members, aims.labels, aims.turn.tolist())
    return [replace(wish, source=how["source"], begin=how["begin"]) for wish in made] if way is None else list(made)


def attempt(
    studio: Studio,
    how: dict[str, Any],
    rank: int,
    way: str | None,
    seeds: Sequence[int],
    watch: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Batch, Attempt | None]:
    """Make images towards a region by a way (None: as `how` says), keep them, and look where they landed. No attempt where it
    was cancelled before the first.
    """
    batch = studio.make(wishes(studio, how, rank, way, seeds), watch, cancelled)
    if not batch.made:
        return batch, None
    tried = judged(studio, how["view"], how["generator"], rank, way or f"mask: {how['source']}", batch)
    key = how["view"], how["generator"], rank
    studio.attempts = {
        **studio.attempts,
        key: (tried, *studio.attempts.get(key, ()))[:MOST],
    }  # also for who comes later
    return batch, tried


def judged(studio: Studio, view: str, generator: str, rank: int, way: str, batch: Batch) -> Attempt:
    here = ground(studio, view, generator)
    region = here.regions[rank]

    def counts(features: np.ndarray) -> np.ndarray:
        _, nearest, inside = here.around.landed(features)
        return (nearest == region.rank) & inside

    found = making.tally(batch.made, counts)
    return Attempt(
        rank=rank,
        way=way,
        ids=tuple(kept.id for kept in batch.kept),
        inside=tuple(counts(features_of(batch.made)).tolist()),
        free=found.free,
        real=real_share(here, rank, studio.project.params.seed),
        cancelled=batch.cancelled,
    )


def features_of(made: Sequence[Made]) -> np.ndarray:
    return np.stack([each.features for each in made if each.features is not None])


def verdict(attempt: Attempt) -> str:
    """In plain words: what landed, what that is compared with, what follows."""
    images, inside, free = len(attempt.ids), attempt.landed, attempt.free
    counted = (
        f"{inside} of {images} images landed in the region; of the same seeds {UNAIMED} {free or 'none'} did. "
        f"Of its own real images {attempt.real:.0%} count by this rule."
    )
    if attempt.reached:
        return f"{counted} Reached: more than chance explains, and at least half of what real images score."
    if inside <= free:
        return f"{counted} Not reached: the aim brought no more images there than none would."
    if inside < attempt.real * images / 2:
        return f"{counted} Not reached: fewer than half of what real images score."
    return f"{counted} Not shown: so few images may be chance (Fisher's exact test at 5%); make more."
