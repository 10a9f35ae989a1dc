"""The points of one map, indexed: which are in a box or a lasso, which are nearest, which to draw first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int32, Integer

from modescope.atlas import lassos
from modescope.atlas.frames import Box
from modescope.atlas.ranking import order, ranked

PER_CELL, MOST_CELLS = 4, 1024  # samples per cell on average; cells along a side
SPARSE = 32  # points to one that is kept, from which on cells do not help
FIRST = 1 << 15  # samples looked at in the first step along the rank

Rows: TypeAlias = Integer[np.ndarray, " n"]
Keep: TypeAlias = np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cloud:
    """Points by cell and by rank, read-only, so that sessions share them.

    `keep`, in every question, says which points count: a bool each, None for all. Rows are those of `points`; `by_cell` and
    `by_rank` hold them in either order, beside their places in that order. Rows of cell c, counted along rows of cells from
    the lower left, are by_cell[starts[c]:starts[c + 1]].
    """

    points: Float32[np.ndarray, "N 2"]
    box: Box
    side: int
    starts: Int32[np.ndarray, " C"]
    by_cell: Int32[np.ndarray, " N"]
    by_rank: Int32[np.ndarray, " N"]
    cell_places: Float32[np.ndarray, "2 N"]
    rank_places: Float32[np.ndarray, "2 N"]

    @classmethod
    def of(cls, points: np.ndarray, *, seed: int = 0) -> Cloud:
        """Index finite points (N, 2). Seconds for a million; the seed settles the rank."""
        xy = _checked(points)
        box = Box.around(xy, pad=0)
        side = int(np.clip(np.sqrt(len(xy) / PER_CELL), 1, MOST_CELLS))
        cell = _cells(xy[:, 1], box.bottom, box.height, side) * side + _cells(xy[:, 0], box.left, box.width, side)
        by_cell = order(cell.astype(np.uint32))
        by_rank = ranked(xy, seed)
        starts = np.zeros(side * side + 1, np.int32)
        np.cumsum(np.bincount(cell, minlength=side * side), out=starts[1:])
        arrays = {
            "points": xy,
            "starts": starts,
            "by_cell": by_cell,
            "by_rank": by_rank,
            "cell_places": np.stack([column[by_cell] for column in xy.T]),
            "rank_places": np.stack([column[by_rank] for column in xy.T]),
        }
        for array in arrays.values():
            array.flags.writeable = False
        return cls(box=box, side=side, **arrays)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, the points included."""
        every = (getattr(self, each.name) for each in fields(self))
        return sum(value.nbytes for value in every if isinstance(value, np.ndarray))

    def within(self, box: Box, keep: Keep = None) -> Rows:
        """Rows in the closed box, in no set order."""
        return self.seen(box, keep)[0]

    def seen(self, box: Box, keep: Keep = None) -> tuple[Rows, Float32[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
        """Rows in the closed box, in no set order, and their coordinates."""
        if (few := self._few(keep)) is not None:
            inside = _inside(box, *self.points[few].T)
            return few[inside], *self.points[few[inside]].T
        x, y, rows = self._candidates(box)
        if not _holds(box, self.box):
            inside = _inside(box, x, y)
            rows, x, y = rows[inside], x[inside], y[inside]
        if keep is not None:
            kept = keep[rows]
            rows, x, y = rows[kept], x[kept], y[kept]
        return rows, x, y

    def _span(self, box: Box) -> tuple[int, int, int, int]:
        """First and last column and row of the cells that a box touches; the first is beyond the last if it touches none."""
        own = self.box
        if box.right < own.left or box.left > own.right or box.top < own.bottom or box.bottom > own.top:
            return 0, -1, 0, -1
        columns = _cells(np.array([box.left, box.right]), own.left, own.width, self.side)
        rows = _cells(np.array([box.bottom, box.top]), own.bottom, own.height, self.side)
        return int(columns[0]), int(columns[1]), int(rows[0]), int(rows[1])

    def _candidates(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates and rows of all points in the cells that a box touches."""
        left, right, bottom, top = self._span(box)
        if (left, right) == (0, self.side - 1):
            slots = [slice(self.starts[bottom * self.side], self.starts[(top + 1) * self.side])]
        else:
            first = np.arange(bottom, top + 1) * self.side
            ends = zip(self.starts[first + left].tolist(), self.starts[first + right + 1].tolist(), strict=True)
            slots = [slice(begin, end) for begin, end in ends if begin < end] or [slice(0, 0)]
        x, y, rows = (
            lane[slots[0]] if len(slots) == 1 else np.concatenate([lane[slot] for slot in slots])
            for lane in (*self.cell_places, self.by_cell)
        )
        return x, y, rows

    def nearest(
        self, point: Sequence[float] | np.ndarray, k: int = 1, keep: Keep = None
    ) -> tuple[Rows, Float64[np.ndarray, " k"]]:
        """Rows nearest to a place and their distances, nearest first, equal ones by row; all there are if fewer than k."""
        x, y = (float(each) for each in point)
        if not np.isfinite([x, y]).all() or k < 1:
            raise ValueError(f"nearest to ({x}, {y}), k {k}: give a finite place and k of at least 1")
        rings = self._rings(x, y) if self._few(keep) is None else [(np.inf, self.box)]
        for reach, box in rings:
            rows, across, up = self.seen(box, keep)
            far = np.hypot(across - np.float64(x), up - np.float64(y))
            if (far <= reach).sum() >= k or _holds(box, self.box):
                break
        if len(far) > k:
            close = np.flatnonzero(far <= np.partition(far, k - 1)[k - 1])
            rows, far = rows[close], far[close]
        first = np.lexsort((rows, far))[:k]
        return rows[first], far[first]

    def _rings(self, x: float, y: float) -> Iterator[tuple[float, Box]]:
        """Ever larger squares about a place with half their side, until the last holds all points."""
        own = self.box
        off = max(own.left - x, x - own.right, own.bottom - y, y - own.top, 0.0)
        reach = off + max(own.width, own.height) / self.side
        while True:
            box = Box(left=x - reach, bottom=y - reach, right=x + reach, top=y + reach)
            yield reach, box
            if _holds(box, own):
                return
            reach *= 2

    def inside(self, polygon: np.ndarray, keep: Keep = None) -> Rows:
        """Rows inside a polygon (V, 2), by the even-odd rule, in no set order; a polygon of no area holds none."""
        self._check(keep)
        sides = lassos.edges(polygon)
        if len(sides) < 3 or not (np.ptp(sides[:, 0]) and np.ptp(sides[:, 1])):
            return np.empty(0, np.int32)
        (left, bottom), (right, top) = sides[:, :2].min(0).tolist(), sides[:, :2].max(0).tolist()
        first, last, low, high = self._span(Box(left=left, bottom=bottom, right=right, top=top))
        own, count = self.box, self.side
        columns = own.left + np.arange(first, last + 2) * (own.width / count)
        lines = own.bottom + np.arange(low, high + 2) * (own.height / count)
        if len(columns) < 2:
            return np.empty(0, np.int32)
        whole, touched = lassos.cells(sides, columns, lines)
        parts = [
            self._row_inside(sides, low + row, first, whole[row], touched[row])
            for row in np.flatnonzero((whole | touched).any(1)).tolist()
        ]
        rows = np.concatenate(parts) if parts else np.empty(0, np.int32)
        return rows if keep is None else rows[keep[rows]]

    def _row_inside(
        self, sides: np.ndarray, row: int, first: int, whole: np.ndarray, touched: np.ndarray
    ) -> np.ndarray:
        """Rows inside, of a run of cells in one row of them; points of touched cells are measured."""
        cell = row * self.side + first
        ends = self.starts[cell : cell + len(whole) + 1]
        span = slice(ends[0], ends[-1])
        sizes = np.diff(ends)
        chosen = np.repeat(whole, sizes)
        unsure = np.flatnonzero(np.repeat(touched, sizes))
        if len(unsure):
            x, y = self.cell_places[:, span][:, unsure].astype(np.float64)
            low, high = np.sort(sides[:, 1::2], 1).T
            chosen[unsure] = lassos.crossings(sides[(low <= y.max()) & (high >= y.min())], x, y)
        return self.by_cell[span][chosen]

    def markers(self, box: Box, most: int, keep: Keep = None) -> Rows:
        """The first `most` rows in the box by rank, best first: they cover its occupied parts evenly, outliers among them."""
        self._check(keep)
        found, begin, step = [np.empty(0, np.int32)], 0, FIRST
        while begin < len(self) and most > 0:
            part = slice(begin, begin + step)
            rows = self.by_rank[part][_inside(box, *self.rank_places[:, part])]
            rows = rows if keep is None else rows[keep[rows]]
            found.append(rows[:most])
            begin, step, most = begin + step, 2 * step, most - len(rows)
        return np.concatenate(found)

    def _few(self, keep: np.ndarray | None) -> np.ndarray | None:
        """Rows kept, where they are so few that each is better looked at than the cells."""
        self._check(keep)
        if keep is None or np.count_nonzero(keep) * SPARSE > len(self):
            return None
        return np.flatnonzero(keep).astype(np.int32)

    def _check(self, keep: np.ndarray | None) -> None:
        if keep is not None and (keep.shape != (len(self),) or keep.dtype != np.bool_):
            raise ValueError(f"keep is {keep.dtype} {keep.shape}; give one bool per point, ({len(self)},)")


def _checked(points: np.ndarray) -> Float32[np.ndarray, "N 2"]:
    if points.ndim != 2 or points.shape[1] != 2 or not np.issubdtype(points.dtype, np.floating):
        raise ValueError(f"points are {points.dtype} {points.shape}; give floats (N, 2)")
    xy = np.ascontiguousarray(points, np.float32).view()
    if not np.isfinite(xy).all():
        row = int(np.flatnonzero(~np.isfinite(xy).all(1))[0])
        raise ValueError(f"point {row} is {points[row].tolist()}; a map has finite places only: leave such rows out")
    return xy


def _cells(values: np.ndarray, start: float, size: float, side: int) -> np.ndarray:
    """Number of the cell along an axis, in int64; beyond the ends, the first or last. Never falls as values rise."""
    return np.clip((values.astype(np.float64) - start) * (side / size), 0, side - 1).astype(np.int64)


def _inside(box: Box, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether float32 places lie in a closed box, compared as if in float64."""
    left, bottom = (_rounded(end, up=True) for end in (box.left, box.bottom))
    right, top = (_rounded(end, up=False) for end in (box.right, box.top))
    return (x >= left) & (x <= right) & (y >= bottom) & (y <= top)


def _rounded(value: float, *, up: bool) -> np.float32:
    """The nearest float32 that is not below (up) or not above a value."""
    near = np.float32(value)
    if up and float(near) < value:
        return np.nextafter(near, np.float32(np.inf))
    if not up and float(near) > value:
        return np.nextafter(near, np.float32(-np.inf))
    return near


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer.left <= inner.left
        and outer.bottom <= inner.bottom
        and outer.right >= inner.right
        and outer.top >= inner.top
    )
