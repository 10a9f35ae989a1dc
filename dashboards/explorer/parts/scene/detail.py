"""How much of a side is drawn: every point as a marker, or an image of what is in view with a sample of markers on it.

Pure: which samples, which colours, which pixels; nothing here knows of widgets. What is the same for all sessions is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Integer, UInt32

from modescope import atlas
from modescope.atlas import Box, Frame

from ... import atlases, colours, palettes
from ...resources import Project, Side
from ...states import State
from ...states.dials import Dials
from ...states.looks import Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Points of a map that are drawn one by one wherever one looks (`raw`); of a larger side: so many in view are drawn one
    by one (`few`), more as an image with so many markers on it (`sample`).
    """

    raw: int
    few: int
    sample: int


GPU, PLAIN = Budget(raw=200_000, few=20_000, sample=3000), Budget(raw=16_000, few=4000, sample=800)
"""For a browser that draws with a GPU, and for one that has none, or has not told yet: it would stall at every pan."""
OUTSIDE = 0x48
"""Alpha of what is not in the group."""
THUMBNAILS, CROWD = 200, 5000
"""Images drawn on the map at most; in view at most for images to be drawn."""

Keep: TypeAlias = np.ndarray | None
"""A bool for every sample of a side; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """Of one side: `rows` that are markers, their colours, and, where those are not all that is in view (`complete`), an
    image of everything in `box`.
    """

    side: Side
    rows: Integer[np.ndarray, " n"]
    colours: UInt32[np.ndarray, " n"]
    complete: bool = True
    image: UInt32[np.ndarray, "H W"] | None = None
    box: Box | None = None


def raw(sides: Sequence[Side], budget: Budget) -> frozenset[str]:
    """Names of the sides whose points are all drawn one by one: the smaller ones, as long as there is room."""
    drawn, chosen = 0, []
    for side in sorted(sides, key=len):
        drawn += len(side)
        if drawn <= budget.raw:
            chosen.append(side.name)
    return frozenset(chosen)


def bare(state: State) -> State:
    """What colours and samples depend on, and no more: equal for sessions that look at the same."""
    look = state.look
    plain = Look(
        view=look.view,
        generator=look.generator,
        versus=look.versus,
        kinds=look.kinds,
        colour=look.colour,
        palette=look.palette,
        solo=look.solo,
        theme=look.theme,
    )
    return State(look=plain, dials=Dials())


def beside(state: State) -> State:
    """The state as the second map shows it: the generators exchanged."""
    look = state.look
    if look.versus is None:
        raise ValueError("no generator stands beside the first; choose one as versus")
    return replace(state, look=replace(look, generator=look.versus, versus=look.generator))


def picture(
    project: Project, state: State, side: Side, frame: Frame | None, budget: Budget, members: Keep = None
) -> Picture:
    """What is drawn of a side in a frame; None: all of its points are markers. `members`: the group, others stay behind."""
    if members is None:
        return _plain(project, bare(state), side, frame, budget)
    return _picture(project, state, side, frame, budget, members)


@lru_cache(maxsize=12)
def _plain(project: Project, state: State, side: Side, frame: Frame | None, budget: Budget) -> Picture:
    return _picture(project, state, side, frame, budget, None)


def _picture(project: Project, state: State, side: Side, frame: Frame | None, budget: Budget, members: Keep) -> Picture:
    keep = colours.kept(state, side)
    if frame is None:
        rows = np.arange(len(side), dtype=np.int32) if keep is None else np.flatnonzero(keep).astype(np.int32)
        return Picture(side=side, rows=rows, colours=_coloured(project, state, side, rows, members))
    cloud = atlases.cloud(project, state.look.view, side.name)
    if state.look.view in side.depths:  # an image cannot be turned: a sample stands for all
        rows = cloud.markers(cloud.box, budget.raw // 2, keep)
        return Picture(side=side, rows=rows, colours=_coloured(project, state, side, rows, members))
    rows = cloud.within(frame.box, keep)
    if len(rows) <= budget.few:
        return Picture(side=side, rows=rows, colours=_coloured(project, state, side, rows, members), complete=True)
    rows = cloud.markers(frame.box, budget.sample, keep)
    return Picture(
        side=side,
        rows=rows,
        colours=_coloured(project, state, side, rows, members),
        complete=False,
        image=_image(project, state, side, frame, keep, members),
        box=frame.box,
    )


def _coloured(project: Project, state: State, side: Side, rows: np.ndarray, members: Keep) -> UInt32[np.ndarray, " n"]:
    every = colours.of_points(project, state, side)[rows]
    return every if members is None else np.where(members[rows], every, _faint(state, OUTSIDE))


def _faint(state: State, alpha: int) -> np.uint32:
    shade = palettes.rgb([palettes.THEMES[state.look.theme]["faint"]])
    return colours.packing(shade, np.array([alpha], np.uint8))[0]


def _image(
    project: Project, state: State, side: Side, frame: Frame, keep: Keep, members: Keep
) -> UInt32[np.ndarray, "H W"]:
    cloud = atlases.cloud(project, state.look.view, side.name)
    palette, labels, values = colours.for_raster(project, state, side)
    shown = keep if members is None else members if keep is None else keep & members
    image = atlas.raster(cloud, frame, palette=palette, labels=labels, values=values, keep=shown)
    if members is None:
        return image
    faint = palettes.rgb([palettes.THEMES[state.look.theme]["faint"]])
    others = atlas.raster(cloud, frame, palette=faint, keep=~members if keep is None else keep & ~members)
    return np.where(image > 0, image, others)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thumbnails:
    """Samples whose images are drawn on the map, and the colours of their points."""

    sides: tuple[Side, ...] = ()
    rows: tuple[int, ...] = ()
    colours: UInt32[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0, np.uint32))


def thumbnails(
    project: Project, state: State, sides: Sequence[Side], box: Box, size: tuple[float, float]
) -> Thumbnails:
    """As many images of `size` (map units) as find room in view, none while there is a crowd."""
    view = state.look.view
    keeps = [colours.kept(state, side) for side in sides]
    clouds = [atlases.cloud(project, view, side.name) for side in sides]
    if sum(len(cloud.within(box, keep)) for cloud, keep in zip(clouds, keeps, strict=True)) > CROWD:
        return Thumbnails()
    best = [cloud.markers(box, 4 * THUMBNAILS, keep) for cloud, keep in zip(clouds, keeps, strict=True)]
    ranks = np.concatenate([np.arange(len(rows)) for rows in best])
    whose = np.concatenate([np.full(len(rows), i) for i, rows in enumerate(best)])
    rows = np.concatenate(best)
    points = np.concatenate([side.points[view][chosen] for side, chosen in zip(sides, best, strict=True)])
    order = np.lexsort((whose, ranks))
    chosen = atlas.thumbnails(points, order, size, THUMBNAILS)
    there = list(zip((sides[i] for i in whose[chosen].tolist()), rows[chosen].tolist(), strict=True))
    return Thumbnails(
        sides=tuple(side for side, _ in there),
        rows=tuple(row for _, row in there),
        colours=np.array([colours.of_points(project, state, side)[row] for side, row in there], np.uint32),
    )
