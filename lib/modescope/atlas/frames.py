"""Rectangles of the map, and rectangles seen in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64


def extent(points: Float[np.ndarray, "N _"]) -> Float64[np.ndarray, "2 2"]:
    """Lowest and highest coordinates of at least one point; by column, ten times faster than along the rows of an array."""
    columns = (points[:, 0], points[:, 1])
    return np.array([[column.min() for column in columns], [column.max() for column in columns]], np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A closed rectangle of the map, in map units."""

    left: float
    bottom: float
    right: float
    top: float

    def __post_init__(self) -> None:
        for side in ("left", "bottom", "right", "top"):
            object.__setattr__(self, side, float(getattr(self, side)))  # of NumPy's numbers, plain ones
        sides = (self.left, self.bottom, self.right, self.top)
        if not (np.isfinite(sides).all() and self.left < self.right and self.bottom < self.top):
            raise ValueError(f"box {sides} is no rectangle; give finite left < right and bottom < top")

    @classmethod
    def around(cls, *points: np.ndarray, pad: float = 0.05) -> Box:
        """The smallest box around all points (N, 2), larger by `pad` of its longer side; at the origin if there are none."""
        ends = [extent(each) for each in points if len(each)] or [np.zeros((2, 2))]
        low, high = np.min(ends, (0, 1)), np.max(ends, (0, 1))
        room = pad * (high - low).max()
        if (high - low).min() + room <= 0:
            room = max(1e-3 * np.abs(ends).max(), 1e-3)
        (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()
        return cls(left=left, bottom=bottom, right=right, top=top)

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.top - self.bottom

    def enlarged(self, share: float) -> Box:
        """A box with the same centre and `share` of its size more on each side."""
        across, up = share * self.width, share * self.height
        return Box(left=self.left - across, bottom=self.bottom - up, right=self.right + across, top=self.top + up)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A box seen in `width` by `height` pixels (or cells); images of it have shape (height, width), row 0 at the bottom."""

    box: Box
    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ValueError(f"a frame of {self.width} by {self.height} pixels shows nothing; both are at least 1")

    @classmethod
    def fitting(cls, box: Box, longest: int = 256) -> Frame:
        """Pixels (nearly) square in map units, `longest` along the longer side."""
        unit = max(box.width, box.height) / longest
        return cls(box=box, width=max(1, round(box.width / unit)), height=max(1, round(box.height / unit)))

    @property
    def step(self) -> tuple[float, float]:
        """Width and height of a pixel, in map units."""
        return self.box.width / self.width, self.box.height / self.height

    @property
    def centres(self) -> tuple[Float64[np.ndarray, " W"], Float64[np.ndarray, " H"]]:
        """x of each column's and y of each row's centres."""
        across, up = self.step
        x, y = (np.arange(self.width) + 0.5) * across, (np.arange(self.height) + 0.5) * up
        return self.box.left + x, self.box.bottom + y

    def pixels(self, x: Float32[np.ndarray, " n"], y: Float32[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Pixel of each place in the box, counted along rows from the lower left; the far edges are in the last pixels."""
        across, up = self.step
        columns = ((x - np.float64(self.box.left)) * (1 / across)).astype(np.int32)
        rows = ((y - np.float64(self.box.bottom)) * (1 / up)).astype(np.int32)
        flat = np.minimum(rows, self.height - 1).astype(np.int64)
        flat *= self.width
        flat += np.minimum(columns, self.width - 1)
        return flat
