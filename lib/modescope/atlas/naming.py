"""Where to write class names on the part of a map in view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer

from modescope.atlas.clouds import Cloud, Keep
from modescope.atlas.frames import Box, Frame

ACROSS = 24  # cells along the view's longer side in which a class is dense or not
ENOUGH = 1 << 18  # samples looked at: every so manieth in the order of the map's cells, where a view holds more
PEAK, TRIES = 0.3, 8  # a class's places: cells with this share of its densest one's samples, at most so many
APART = 0.25  # of the view's longer side, between two spots of a class
SMALL = 0.02  # of the largest class in view: smaller ones are not named


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """Names on the map, the largest classes first: where their middles stand, and about how many samples are in view."""

    classes: Int32[np.ndarray, " L"]
    x: Float32[np.ndarray, " L"]
    y: Float32[np.ndarray, " L"]
    counts: Int32[np.ndarray, " L"]


def label_places(
    cloud: Cloud,
    labels: Integer[np.ndarray, " N"],
    names: Sequence[str],
    box: Box,
    *,
    letter: tuple[float, float],
    most: int = 40,
    spots: int = 1,
    keep: Keep = None,
) -> Labels:
    """Names of the classes in view at their densest places, at most `spots` each, none over another, `most` in all.

    `letter`: width and height of a character in map units. The largest classes choose first; a name that finds no room at
    its class's densest places is left out, as are classes of which next to nothing is in view. Names are moved inwards
    from the edges of the box.
    """
    if len(labels) != len(cloud):
        raise ValueError(f"labels has {len(labels)} rows; give one per point of the cloud, {len(cloud)}")
    if min(letter) <= 0:
        raise ValueError(f"letter is {letter}; give the width and height of a character in map units, above 0")
    rows, x, y = cloud.seen(box, keep)
    stride = max(1, len(rows) // ENOUGH)
    chosen = labels[rows[::stride]]
    sizes = np.bincount(chosen, minlength=len(names)) * stride
    if len(sizes) > len(names):
        raise ValueError(
            f"labels reach {len(sizes) - 1}, but {len(names)} classes have names; give a name for each class"
        )
    found = _spots(Frame.fitting(box, ACROSS), len(names), chosen, x[::stride], y[::stride])
    lengths = np.array([len(name) for name in names])
    half = np.stack([lengths * letter[0] / 2, np.full(len(names), letter[1] / 2)], 1)
    page, apart = _Page(box, most), APART * max(box.width, box.height)
    starts = np.searchsorted(found.classes, np.arange(len(names) + 1))
    large = np.count_nonzero(sizes > SMALL * sizes.max(initial=0))
    for name in np.argsort(-sizes, kind="stable")[:large].tolist():
        if len(page.classes) == most:
            break
        mine = slice(starts[name], starts[name + 1])
        dense = np.count_nonzero(found.counts[mine] >= PEAK * found.counts[starts[name]])
        _write(page, name, found.places[mine][: min(dense, TRIES)], half[name], spots, apart)
    classes, centres = np.array(page.classes, np.int32), page.centres[: len(page.classes)].astype(np.float32)
    return Labels(classes=classes, x=centres[:, 0], y=centres[:, 1], counts=sizes[classes].astype(np.int32))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Spots:
    """Cells that hold samples of a class, class by class, the densest first, with the samples' mean place."""

    classes: Int64[np.ndarray, " S"]
    counts: Int64[np.ndarray, " S"]
    places: Float64[np.ndarray, "S 2"]


def _spots(
    frame: Frame,
    classes: int,
    labels: Integer[np.ndarray, " n"],
    x: Float32[np.ndarray, " n"],
    y: Float32[np.ndarray, " n"],
) -> _Spots:
    cells = frame.width * frame.height
    key = labels.astype(np.int64) * cells + frame.pixels(x, y)
    counts = np.bincount(key, minlength=classes * cells)
    there = np.flatnonzero(counts)
    many = counts[there]
    places = np.stack([np.bincount(key, each, len(counts))[there] / many for each in (x, y)], 1)
    order = np.lexsort((-many, there // cells))
    return _Spots(classes=there[order] // cells, counts=many[order], places=places[order])


class _Page:
    """Names written so far, at most `most`, all within a box."""

    def __init__(self, box: Box, most: int) -> None:
        self.low, self.high = np.array([box.left, box.bottom]), np.array([box.right, box.top])
        self.classes: list[int] = []
        self.centres, self.halves = np.empty((most, 2)), np.empty((most, 2))

    def write(self, name: int, place: Float64[np.ndarray, " 2"], half: Float64[np.ndarray, " 2"]) -> bool:
        """Write a name as near to a place as the box allows; False where it has no room."""
        written = len(self.classes)
        if (2 * half > self.high - self.low).any() or written == len(self.centres):
            return False
        place = np.clip(place, self.low + half, self.high - half)
        over = np.abs(self.centres[:written] - place) < self.halves[:written] + half
        if over.all(1).any():
            return False
        self.centres[written], self.halves[written] = place, half
        self.classes.append(name)
        return True


def _write(
    page: _Page,
    name: int,
    places: Float64[np.ndarray, "S 2"],
    half: Float64[np.ndarray, " 2"],
    spots: int,
    apart: float,
) -> None:
    """One class at its best places with room, at most `spots` of them, `apart` from each other."""
    done: list[np.ndarray] = []
    for place in places:
        free = len(done) < spots and all(np.abs(place - other).max() > apart for other in done)
        if free and page.write(name, place, half):
            done.append(place)
