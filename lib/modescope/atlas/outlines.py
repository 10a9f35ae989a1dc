"""Lines around a few samples that follow their shape: padded alpha hulls, one for each clump."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from contourpy import FillType, contour_generator
from jaxtyping import Float, Float32, Float64, Integer
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from modescope.atlas.frames import Box, Frame

FINE, LARGEST = 6, 400  # cells to the padding; along the longer side of a clump
SPACINGS, MOST_PADS = 3.0, 5.0  # reach: in typical distances to the nearest other sample; at most so many paddings

Ring: TypeAlias = Float32[np.ndarray, "_ 2"]


def outlines(points: Float[np.ndarray, "N 2"], *, pad: float, reach: float | None = None) -> list[list[Ring]]:
    """A polygon around each clump: its closed rings in map units, the outer one first, then holes.

    Samples further apart than twice the `reach` are in different clumps or have empty space between them: the shape is
    the samples' alpha hull of that radius (Edelsbrunner, Kirkpatrick, Seidel 1983), which is what no disc of the radius
    without a sample in it can touch, `pad` wider all round. Without a reach, three times the median distance to the
    nearest other sample, but from one to five paddings. One sample gets a circle.
    """
    if not (np.isfinite(pad) and pad > 0 and (reach is None or (np.isfinite(reach) and reach >= 0))):
        raise ValueError(f"pad is {pad}, reach {reach}; give map units, pad above 0 and reach of at least 0")
    if not np.isfinite(points).all():
        raise ValueError("points to outline are not all finite; leave out rows that have no place on the map")
    places = np.unique(points.astype(np.float64), axis=0)
    wide = min(_spacing(places) * SPACINGS, MOST_PADS * pad) if reach is None else reach
    wide = max(wide, pad)
    return [polygon for clump in _clumps(places, 2 * wide) for polygon in _hull(clump, wide, pad)]


def _spacing(places: Float64[np.ndarray, "N 2"]) -> float:
    """Median distance to the nearest other place; 0 for fewer than two."""
    if len(places) < 2:
        return 0.0
    return float(np.median(cKDTree(places).query(places, 2)[0][:, 1]))


def _clumps(places: Float64[np.ndarray, "N 2"], apart: float) -> list[Float64[np.ndarray, "_ 2"]]:
    """Places linked by steps of at most `apart` (single linkage), the largest clump first."""
    if not len(places):
        return []
    one, two = cKDTree(places).query_pairs(apart, output_type="ndarray").T
    links = coo_array((np.ones(len(one), np.int8), (one, two)), shape=(len(places),) * 2)
    names: Integer[np.ndarray, " N"] = connected_components(links, directed=False)[1]
    order = np.argsort(-np.bincount(names), kind="stable")
    return [places[names == name] for name in order.tolist()]


def _hull(places: Float64[np.ndarray, "N 2"], reach: float, pad: float) -> list[list[Ring]]:
    """Alpha hull by distances on a grid: grown by the reach, then shrunk by the reach less the padding."""
    pad = max(pad, 2 * float(np.ptp(places, 0).max()) / LARGEST)  # a line must not fall between two cells
    reach = max(reach, pad)
    (left, bottom), (right, top) = (places.min(0) - reach - pad).tolist(), (places.max(0) + reach + pad).tolist()
    box = Box(left=left, bottom=bottom, right=right, top=top)
    longest = max(box.width, box.height)
    frame = Frame.fitting(box, min(int(np.ceil(longest * FINE / pad)), LARGEST))
    x, y = frame.centres
    near = cKDTree(places).query(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))[0].reshape(len(y), len(x))
    grown, steps = near <= reach, frame.step[::-1]
    inward = distance_transform_edt(grown, sampling=steps) - distance_transform_edt(~grown, sampling=steps)
    shape = np.maximum(gaussian_filter(inward, 1.0) - (reach - pad), pad - near)
    drawn = contour_generator(x, y, shape, fill_type=FillType.OuterOffset).filled(0.0, np.inf)
    return [
        [ring.astype(np.float32) for ring in np.split(rings, offsets[1:-1])]
        for rings, offsets in zip(*drawn, strict=True)
    ]
