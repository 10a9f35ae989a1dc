"""What is drawn over the points of a map: contours, the difference of densities, outlines of missing regions, names.

Slow the first time (ask away from the event loop), then kept for all sessions. Maps of two dimensions alone: a map that
turns has no outlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, UInt32

from modescope import atlas

from . import atlases, colours
from .evidence import Evidence, evidence
from .resources import Project, Side
from .states import State
from .states.looks import Look

SHARES = (0.5, 0.8, 0.95)
"""Of the samples, inside each contour."""
GRID = 360
PAD = 0.012
"""Of the map's longer side, between a missing region's outermost samples and its outline."""
ROOM, EDGE = 22, 10
"""Pixels between two numbers, and from a number to the edge."""
LETTER = (7.8, 17.0)
"""Pixels of one character of a class name, its surroundings included."""
LONGEST = 24
"""Characters of a name on the map."""
MOST_RINGS = 3000
"""Points of a class that are marked while the pointer is on its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contour:
    """A line that holds a `share` of the samples of one kind."""

    share: float
    line: Float32[np.ndarray, "_ 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A missing region: a polygon around each clump of it (rings, the outer one first), the classes of its members."""

    rank: int
    reached: bool | None
    polygons: tuple[tuple[Float32[np.ndarray, "_ 2"], ...], ...]
    classes: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Where the number of a region stands."""

    rank: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Class names and where they stand."""

    words: tuple[str, ...]
    labels: tuple[int, ...]
    x: Float32[np.ndarray, " L"]
    y: Float32[np.ndarray, " L"]


def flat(project: Project, view: str) -> bool:
    """Whether the map of a view has two dimensions."""
    return view not in project.real.depths


def _kept(side: Side, solo: tuple[int, ...]) -> Bool[np.ndarray, " N"] | None:
    return colours.of_classes(side, solo) if solo else None


@lru_cache(maxsize=24)
def densities(project: Project, view: str, generator: str, solo: tuple[int, ...]) -> atlas.Densities | None:
    """Of real and generated samples; None where one of the two has none of the classes that are shown."""
    keep_real, keep_fake = (_kept(side, solo) for side in (project.real, project.generators[generator]))
    if any(keep is not None and keep.sum() < 2 for keep in (keep_real, keep_fake)):
        return None
    return atlas.densities(
        atlases.cloud(project, view, "real"),
        atlases.cloud(project, view, generator),
        atlas.Frame.fitting(atlases.whole(project, view), GRID),
        keep_real=keep_real,
        keep_fake=keep_fake,
    )


@lru_cache(maxsize=24)
def contours(project: Project, view: str, generator: str, solo: tuple[int, ...]) -> dict[str, tuple[Contour, ...]]:
    """Of each kind: the smallest areas that hold 50, 80 and 95 % of its samples."""
    both = densities(project, view, generator, solo)
    if both is None:
        return {}
    return {"real": _lines(both.real, both.frame), "generated": _lines(both.fake, both.frame)}


def _lines(density: Float32[np.ndarray, "H W"], frame: atlas.Frame) -> tuple[Contour, ...]:
    levels = atlas.mass_levels(density, SHARES)
    drawn = zip(SHARES, atlas.contours(density, frame, levels), strict=True)
    return tuple(Contour(share=share, line=line) for share, lines in drawn for line in lines)


@lru_cache(maxsize=24)
def difference(
    project: Project, view: str, generator: str, solo: tuple[int, ...], dark: bool
) -> tuple[UInt32[np.ndarray, "H W"], atlas.Box] | None:
    """Where generated samples are too few or too many, as an image of a box."""
    both = densities(project, view, generator, solo)
    return None if both is None else (atlas.difference_image(both, dark=dark), both.frame.box)


def outlines(project: Project, view: str, generator: str, solo: tuple[int, ...] = ()) -> tuple[Outline, ...]:
    """Of the missing regions, largest first; of those that hold one of the classes."""
    every = _outlines(project, view, evidence(project, view, generator))
    return tuple(each for each in every if not solo or each.classes & set(solo))


@lru_cache(maxsize=24)
def _outlines(project: Project, view: str, measured: Evidence) -> tuple[Outline, ...]:
    box, real = atlases.whole(project, view), project.real
    drawn = []
    for gap in measured.gaps:
        rows = real.rows_of(gap.ids)
        rows = rows[rows >= 0]
        polygons = atlas.outlines(real.points[view][rows], pad=PAD * max(box.width, box.height))
        classes = frozenset(np.unique(real.labels[rows]).tolist())
        drawn.append(Outline(rank=gap.rank, reached=gap.reached, polygons=tuple(map(tuple, polygons)), classes=classes))
    return tuple(drawn)


def numbers(drawn: Sequence[Outline], box: atlas.Box, size: tuple[int, int]) -> tuple[Number, ...]:
    """One on the largest clump in view of each region, and one on each further clump that has room for it."""
    unit = box.width / max(size[0], 1)
    low, high = np.array([box.left, box.bottom]) + EDGE * unit, np.array([box.right, box.top]) - EDGE * unit
    chosen: list[Number] = []
    for first in (True, False):
        for outline in drawn:
            seen = [ring for ring, *_ in outline.polygons]
            seen = [ring[((ring >= low) & (ring <= high)).all(1)] for ring in seen]
            seen = [ring for ring in seen if len(ring)]
            for ring in seen[:1] if first else seen[1:]:
                (x, y), far = _roomiest(ring, chosen, ROOM * unit)
                if first or far >= ROOM * unit:
                    chosen.append(Number(rank=outline.rank, x=x, y=y))
    return tuple(chosen)


def _roomiest(
    ring: Float32[np.ndarray, "_ 2"], taken: Sequence[Number], room: float
) -> tuple[tuple[float, float], float]:
    """The highest place on a ring that is so far from all numbers that stand, else the farthest; and how far it is."""
    places = ring[np.argsort(-ring[:, 1], kind="stable")].astype(np.float64)
    others = np.array([(each.x, each.y) for each in taken]).reshape(-1, 2)
    far = np.linalg.norm(places[:, None] - others[None], axis=2).min(1, initial=np.inf)
    best = int((far >= room).argmax() if (far >= room).any() else far.argmax())
    return (float(places[best, 0]), float(places[best, 1])), float(far[best])


def names(project: Project, look: Look, size: tuple[int, int]) -> Names:
    """Of the classes in view, in a plot of so many pixels."""
    box = view_box(project, look, size)
    side = project.real if "real" in look.kinds else project.generators[look.generator]
    words = [short(name) for name in project.classes]
    placed = atlas.label_places(
        atlases.cloud(project, look.view, side.name),
        side.labels,
        words,
        box,
        letter=(LETTER[0] * box.width / max(size[0], 1), LETTER[1] * box.height / max(size[1], 1)),
        keep=_kept(side, look.solo),
    )
    labels = tuple(placed.classes.tolist())
    return Names(words=tuple(words[c] for c in labels), labels=labels, x=placed.x, y=placed.y)


def view_box(project: Project, look: Look, size: tuple[int, int]) -> atlas.Box:
    """What a plot of so many pixels shows: a box with what was asked for in its middle, in square units."""
    whole = atlases.whole(project, look.view)
    left, right, bottom, top = look.frame or (whole.left, whole.right, whole.bottom, whole.top)
    width, height = (max(pixels, 1) for pixels in size)
    unit = max((right - left) / width, (top - bottom) / height) / 2
    x, y = (left + right) / 2, (bottom + top) / 2
    return atlas.Box(left=x - unit * width, right=x + unit * width, bottom=y - unit * height, top=y + unit * height)


def short(name: str) -> str:
    """A class name as it stands on the map: its first words."""
    first = name.split(",")[0]
    return first if len(first) <= LONGEST else f"{first[: LONGEST - 1]}…"


def of_class(project: Project, state: State, label: int) -> Float32[np.ndarray, "n 2"]:
    """Places of samples of a class, of the kinds that are shown; evenly chosen ones where they are many."""
    look = state.look
    sides = [project.real] if "real" in look.kinds else []
    sides += [project.generators[look.generator]] if "generated" in look.kinds else []
    places = [side.points[look.view][side.labels == label] for side in sides]
    every = np.concatenate([*places, np.empty((0, 2), np.float32)])
    return every[:: len(every) // MOST_RINGS + 1]
