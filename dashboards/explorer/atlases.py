"""Maps as all sessions share them: the index of each side's points on each view, what is in view, what is nearest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from modescope.atlas import Box, Cloud

from .resources import Project
from .sides import Side

CLOUDS, FRAMES = 24, 64
"""Indexes of points and frames of maps in memory: an index of a million points has some fifty megabytes."""

_building = threading.Lock()


def cloud(project: Project, view: str, name: str) -> Cloud:
    """The index of the real points (`real`) or of a generator's. Seconds for a million, once."""
    with _building:  # whoever comes second waits instead of building another one
        return _cloud(project, view, name)


@lru_cache(maxsize=CLOUDS)
def _cloud(project: Project, view: str, name: str) -> Cloud:
    side = project.real if name == "real" else project.generators[name]
    return Cloud.of(side.points[view])


@lru_cache(maxsize=FRAMES)
def whole(project: Project, view: str) -> Box:
    """Around the points of all sides, however the map is turned: it keeps its frame when generators change."""
    sides = _on(project, view)
    box = Box.around(*(side.points[view] for side in sides))
    if view not in project.real.depths:
        return box
    x, y, z = centre(project, view)
    far = [np.hypot(np.hypot(*(side.points[view] - (x, y)).T), side.depths[view] - z).max() for side in sides]
    return Box(left=x - max(far), right=x + max(far), bottom=y - max(far), top=y + max(far))


@lru_cache(maxsize=FRAMES)
def centre(project: Project, view: str) -> tuple[float, float, float]:
    """Middle of a map, about which it turns; 0 deep where it has two dimensions."""
    sides = _on(project, view)
    box = Box.around(*(side.points[view] for side in sides))
    depths = [side.depths[view] for side in sides if view in side.depths]
    ends = [float(end) for each in depths for end in (each.min(), each.max())] or [0.0]
    return (box.left + box.right) / 2, (box.bottom + box.top) / 2, (min(ends) + max(ends)) / 2


@lru_cache(maxsize=FRAMES)
def aligned(project: Project, view: str, other: str) -> bool:
    """Whether real samples keep their places from one map to the other (`modescope.maps align`): half of them move by less
    than a quarter of the map's spread. Of maps that were fitted each for itself they move by more than all of it."""
    here, there = project.real.points[view], project.real.points[other]
    if (view in project.real.depths) != (other in project.real.depths):
        return False
    moved = np.median(np.linalg.norm(here - there, axis=1))
    return bool(moved < np.linalg.norm(here.std(0)) / 4)


def _on(project: Project, view: str) -> list[Side]:
    return [side for side in (project.real, *project.generators.values()) if view in side.points]


def hits_near(
    project: Project,
    view: str,
    place: tuple[float, float],
    sides: Sequence[Side],
    k: int = 1,
    keep: Callable[[Side], np.ndarray | None] = lambda _side: None,
) -> list[tuple[float, Side, int]]:
    """Distance, side and row of the k points nearest to a place, of those that `keep` leaves."""
    found = []
    for side in sides:
        rows, far = cloud(project, view, side.name).nearest(place, k, keep(side))
        found += [(distance, side, row) for distance, row in zip(far.tolist(), rows.tolist(), strict=True)]
    return sorted(found, key=lambda hit: hit[0])[:k]
