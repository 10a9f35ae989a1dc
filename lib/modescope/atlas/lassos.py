"""Which places lie inside a polygon, by the even-odd rule: crossings of a ray to the left are counted.

Cells that no edge touches are decided together; only points of the others are measured, each against the edges that
pass its row of cells.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64


def edges(polygon: np.ndarray) -> Float64[np.ndarray, "V 4"]:
    """x0, y0, x1, y1 of each edge of a closed polygon (V, 2); edges of no length are left out."""
    ends = np.asarray(polygon, np.float64)
    if ends.ndim != 2 or ends.shape[1] != 2 or not np.isfinite(ends).all():
        raise ValueError(f"the polygon has shape {ends.shape}; give finite corners (V, 2)")
    both = np.concatenate([ends, np.roll(ends, -1, 0)], 1)
    return both[(both[:, :2] != both[:, 2:]).any(1)]


def crossings(
    sides: Float64[np.ndarray, "V 4"], x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Whether each place has an odd number of edges to its left. An edge owns its lower end and not its upper one."""
    x0, y0, x1, y1 = (side[:, None] for side in sides.T)
    meets = (y0 <= y) != (y1 <= y)
    slope = np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y0 != y1)
    at = y - y0
    at *= slope
    at += x0
    return np.logical_xor.reduce(meets & (at < x), axis=0)


def cells(
    sides: Float64[np.ndarray, "V 4"], columns: Float64[np.ndarray, " C"], rows: Float64[np.ndarray, " R"]
) -> tuple[Bool[np.ndarray, "R-1 C-1"], Bool[np.ndarray, "R-1 C-1"]]:
    """For cells between ascending lines: whether the centre is inside, and whether an edge touches the cell."""
    height, width = len(rows) - 1, len(columns) - 1
    y0, y1 = sides[:, 1, None], sides[:, 3, None]
    middle, centres = (rows[:-1] + rows[1:]) / 2, (columns[:-1] + columns[1:]) / 2
    meets = (y0 <= middle) != (y1 <= middle)
    edge, row = np.nonzero(meets)
    slope = (sides[edge, 2] - sides[edge, 0]) / (sides[edge, 3] - sides[edge, 1])
    at = np.searchsorted(centres, sides[edge, 0] + (middle[row] - sides[edge, 1]) * slope, side="right")
    passed = np.bincount(row * (width + 1) + at, minlength=height * (width + 1)).reshape(height, width + 1)
    inside = (np.cumsum(passed, 1)[:, :-1] & 1).astype(bool)
    return inside, _touched(sides, columns, rows)


def _touched(
    sides: Float64[np.ndarray, "V 4"], columns: Float64[np.ndarray, " C"], rows: Float64[np.ndarray, " R"]
) -> Bool[np.ndarray, "R-1 C-1"]:
    """Cells that an edge may touch: its part within each row of cells covers a run of them."""
    height, width = len(rows) - 1, len(columns) - 1
    low, high = np.minimum(sides[:, 1], sides[:, 3]), np.maximum(sides[:, 1], sides[:, 3])
    slack = 1e-9 * max(np.abs(columns).max(), np.abs(rows).max())
    edge, row = np.nonzero((low[:, None] <= rows[1:] + slack) & (high[:, None] >= rows[:-1] - slack))
    x0, y0, x1, y1 = sides[edge].T
    flat = y0 == y1
    slope = np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=~flat)
    one = np.where(flat, x0, x0 + (np.clip(rows[row], low[edge], high[edge]) - y0) * slope)
    two = np.where(flat, x1, x0 + (np.clip(rows[row + 1], low[edge], high[edge]) - y0) * slope)
    begin = np.clip(np.searchsorted(columns, np.minimum(one, two) - slack) - 1, 0, width)
    end = np.clip(np.searchsorted(columns, np.maximum(one, two) + slack), 0, width)
    steps = np.zeros((height, width + 1), np.int32)
    np.add.at(steps, (row, begin), 1)
    np.add.at(steps, (row, end), -1)
    return np.cumsum(steps, 1)[:, :-1] > 0
