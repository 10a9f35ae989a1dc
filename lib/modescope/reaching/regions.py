"""Missing regions, and when an image counts as in one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64

from modescope import layout, seeds
from modescope.making import Opened
from modescope.records import positions, row_index

CALIBRATED = 256
"""Members of a region that are counted themselves, for comparison; a seeded choice where there are more."""
EDGE = 1e-5
"""Share of a radius within which a distance counts as equal to it."""
LEVEL = 0.05
"""Of the test against images made without any aim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region of real samples that generated ones leave out: its place among the largest, its centre and members."""

    rank: int
    centre: str
    ids: tuple[str, ...]


def regions_of(scores: pd.DataFrame, gaps: pd.DataFrame, most: int) -> tuple[Region, ...]:
    """The `most` largest regions: `scores` of every sample (sample_id, gap), `gaps` by rank (rank, centre)."""
    members = scores[scores["gap"] >= 0].groupby("gap")["sample_id"].agg(tuple)
    found = []
    for rank, centre in zip(gaps["rank"].head(most).tolist(), gaps["centre"].head(most).tolist(), strict=True):
        ids = members.get(rank, ())
        if centre not in ids:
            raise ValueError(
                f"gap {rank} has its centre at {centre} and the scores of every sample do not place it there; the "
                "two tables are of different evaluations: run `dvc repro`"
            )
        found.append(Region(rank=rank, centre=centre, ids=ids))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """The real samples of a view as places to land: which region each belongs to (-1: none), and the radius of its ball,
    which ends at its k-th nearest other real sample. All in the order of the view's real activations.

    An image counts as in a region when its nearest real sample is one of the region's and it lies inside the ball of that
    one. The first says where it is, the second that it is there as real samples are, not far outside of the data.
    """

    opened: Opened
    view: str
    region: Int64[np.ndarray, " N"]
    radius: Float[np.ndarray, " N"]

    def landed(
        self, features: Float[np.ndarray, "M D"]
    ) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " M"], Bool[np.ndarray, " M"]]:
        """For new images: row of the nearest real sample, its region, and whether they lie inside its ball."""
        return self._counted(features, 0)

    def held_out(self, ids: Sequence[str]) -> tuple[Int64[np.ndarray, " M"], Bool[np.ndarray, " M"]]:
        """The same for real samples, each left out of the real ones that it is looked up among."""
        _, region, inside = self._counted(self.opened.features(self.view, ids), 1)
        return region, inside

    def _counted(
        self, features: Float[np.ndarray, "M D"], skip: int
    ) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " M"], Bool[np.ndarray, " M"]]:
        # Leaving a sample out also widens the balls that it lies in, and it still lies inside them: also where it is the
        # k-th neighbour and so the very edge, which rounding must not move.
        rows, distances = _nearest(features, self.opened.feature_blocks(self.view, "real"), skip + 1)
        row = rows[:, skip]
        return row, self.region[row], distances[:, skip] <= self.radius[row] * (1 + EDGE)


def _nearest(
    queries: Float[np.ndarray, "M D"], blocks: Iterable[Float[np.ndarray, "B D"]], k: int
) -> tuple[Int64[np.ndarray, "M K"], Float[np.ndarray, "M K"]]:
    """The k nearest rows of each query, nearest first, and their distances; rows come in blocks, at least k in all."""
    rows, distances, start = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32), 0
    for block in blocks:
        indices, apart = layout.nearest(queries, block, min(k, len(block)))
        rows = np.concatenate([rows, indices.astype(np.int64) + start], axis=1)
        distances = np.concatenate([distances, apart], axis=1)
        kept = np.argsort(distances, axis=1, kind="stable")[:, :k]
        rows, distances = np.take_along_axis(rows, kept, 1), np.take_along_axis(distances, kept, 1)
        start += len(block)
    return rows, distances


def neighbourhood(opened: Opened, view: str, scores: pd.DataFrame) -> Neighbourhood:
    """From the scores of every sample (sample_id, gap, radius)."""
    ids = opened.activations(view, "real").ids
    lines = scores.iloc[positions(row_index(tuple(scores["sample_id"])), ids, "the scores")]
    gap, radius = lines["gap"].to_numpy(np.int64), lines["radius"].to_numpy(np.float64)
    return Neighbourhood(opened=opened, view=view, region=gap, radius=radius)


def real_share(around: Neighbourhood, region: Region, root: int) -> float:
    """The share of the region's own real samples, each held out of the others, that would count by the same rule.

    A region of one sample has no other, and a share of 0: it is as good as the number of samples it comes from.
    """
    rng = seeds.stream(root, "reach-calibration", region.rank)
    ids = region.ids
    if len(ids) > CALIBRATED:
        ids = tuple(ids[i] for i in np.sort(rng.choice(len(ids), CALIBRATED, replace=False)))
    where, inside = around.held_out(ids)
    return float(((where == region.rank) & inside).mean())


def is_reached(inside: int, free: int, images: int, real: float) -> bool:
    """Whether a region is reached: significantly more images count than of as many made without any aim (Fisher's exact
    test, one-sided), and the share is at least half of what real samples score.
    """
    return chance(inside, free, images) <= LEVEL and inside >= real * images / 2


def chance(inside: int, free: int, images: int) -> float:
    """Fisher's exact test: the chance that at least `inside` of `images` count where `free` of as many others do, if nothing
    but chance tells them apart. Whole numbers, summed exactly: scipy's takes longer to import than a stage to begin.
    """
    both = inside + free
    ways = sum(comb(images, n) * comb(images, both - n) for n in range(inside, min(both, images) + 1))
    return ways / comb(2 * images, both)
