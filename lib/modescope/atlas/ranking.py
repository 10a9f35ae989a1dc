"""A fixed order of points whose every beginning covers the occupied parts of the map evenly.

Progressive sampling over a quadtree: of the points of a square, the one of least random priority stands for it; those that
stand for squares of the coarsest grid come first, then those of the next finer grid, and so on. An outlier, alone in its
square, therefore comes early, and no beginning of the order is crowded where the points are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, UInt32

from modescope.atlas.frames import extent
from modescope.seeds import stream

LEVELS = 16  # 65,536 squares a side: fine enough where a few outliers stretch the frame a thousandfold


def ranked(points: Float32[np.ndarray, "N 2"], seed: int) -> Int32[np.ndarray, " N"]:
    """Rows of finite points, best first."""
    shuffled = stream(seed, "atlas rank").permutation(len(points))
    code, best = _sorted(morton(points)[shuffled])
    level = np.full(len(points), LEVELS + 1, np.int8)
    for depth in range(LEVELS, -1, -1):
        first = np.flatnonzero(np.diff(code, prepend=~code[:1]))
        best = np.minimum.reduceat(best, first) if len(first) else best
        code = code[first] >> 2
        level[best] = depth
    return shuffled[np.argsort(level, kind="stable")].astype(np.int32)


def order(keys: UInt32[np.ndarray, " N"]) -> Int32[np.ndarray, " N"]:
    """Rows by key, equal keys by row; several times faster than a stable argsort."""
    return _sorted(keys)[1].astype(np.int32)


def _sorted(keys: UInt32[np.ndarray, " N"]) -> tuple[UInt32[np.ndarray, " N"], UInt32[np.ndarray, " N"]]:
    """Ascending keys and their rows, from one sort of both packed into 64 bits."""
    both = keys.astype(np.uint64) << 32
    both |= np.arange(len(keys), dtype=np.uint64)
    both.sort()
    return (both >> 32).astype(np.uint32), both.astype(np.uint32)


def morton(points: Float32[np.ndarray, "N 2"]) -> UInt32[np.ndarray, " N"]:
    """Place of each point along the Z-curve through a grid of 2^LEVELS squares a side (Morton 1966)."""
    if not len(points):
        return np.empty(0, np.uint32)
    low, high = extent(points)
    side = float((high - low).max()) or 1.0
    scale = (2**LEVELS - 1) / side
    across, up = (((points[:, axis] - low[axis]) * scale).astype(np.uint32) for axis in (0, 1))
    return _apart(across) | (_apart(up) << 1)


def _apart(bits: UInt32[np.ndarray, " N"]) -> UInt32[np.ndarray, " N"]:
    """The lower 16 bits, each followed by a zero bit."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | (bits << shift)) & np.uint32(mask)
    return bits
