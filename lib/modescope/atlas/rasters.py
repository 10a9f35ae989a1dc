"""A map as an image: every sample counts, however many there are.

Counts per pixel set the opacity, the mean colour or value of a pixel's samples its colour (as datashader does), so that
one image looks well on a light and on a dark page.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, Integer, UInt8, UInt32

from modescope.atlas.clouds import Cloud, Keep
from modescope.atlas.colours import rgba
from modescope.atlas.frames import Frame

Intensity = Literal["log", "equal", "linear"]
TOP = 0.999  # share of the occupied pixels below the count that is fully opaque
MANY = 16  # samples in a pixel from which on one sample alone is as faint as asked
MOST_SPREAD = 2


def count(cloud: Cloud, frame: Frame, keep: Keep = None) -> Int32[np.ndarray, "H W"]:
    """Samples in each pixel."""
    _, x, y = cloud.seen(frame.box, keep)
    return _counted(frame, frame.pixels(x, y)).astype(np.int32).reshape(frame.height, frame.width)


def _counted(frame: Frame, pixels: Int64[np.ndarray, " n"], weights: np.ndarray | None = None) -> np.ndarray:
    return np.bincount(pixels, weights, minlength=frame.width * frame.height)


def raster(
    cloud: Cloud,
    frame: Frame,
    *,
    palette: UInt8[np.ndarray, "P 3"],
    labels: Integer[np.ndarray, " N"] | None = None,
    values: Float[np.ndarray, " N"] | None = None,
    keep: Keep = None,
    intensity: str = "log",
    spread: int | None = None,
    least: float = 0.3,
) -> UInt32[np.ndarray, "H W"]:
    """The samples in a frame as pixels 0xAABBGGRR, row 0 at the bottom; empty pixels are 0.

    Colour: the mean of palette[label] in a pixel (of squared channels, near to mixing light), or the mean value in [0, 1]
    along the palette, where samples with a NaN are left out; without labels and values, palette[0]. Alpha: from `least`
    for one sample to 1 by count, its logarithm, or its rank among the pixels ("equal", a histogram equalisation). `spread`
    enlarges a sample to a disc of so many pixels' radius; None chooses it by how lonely the occupied pixels are.
    """
    _check(cloud, palette, labels, values, intensity)
    rows, x, y = cloud.seen(frame.box, keep)
    pixels = frame.pixels(x, y)
    if values is not None:
        values = values[rows]
        known = np.isfinite(values)
        values, pixels = (values, pixels) if known.all() else (values[known], pixels[known])
    counts = _counted(frame, pixels)
    occupied = np.flatnonzero(counts)
    many = counts[occupied]
    if labels is not None:
        colours = _mixed(frame, pixels, labels[rows], palette, occupied, many)
    elif values is not None:
        mean = _counted(frame, pixels, values)[occupied] / many
        colours = palette[np.clip(mean * len(palette), 0, len(palette) - 1).astype(np.intp)]
    else:
        colours = np.broadcast_to(palette[0], (len(occupied), 3))
    image = np.zeros(counts.shape, np.uint32)
    image[occupied] = rgba(colours, opacity(many, intensity, least))
    whole = image.reshape(frame.height, frame.width)
    return enlarged(whole, loneliness(whole > 0) if spread is None else spread)


def _check(
    cloud: Cloud, palette: np.ndarray, labels: np.ndarray | None, values: np.ndarray | None, intensity: str
) -> None:
    if labels is not None and values is not None:
        raise ValueError("labels and values are both given; a raster has one colour rule: leave one out")
    for name, column in (("labels", labels), ("values", values)):
        if column is not None and len(column) != len(cloud):
            raise ValueError(f"{name} has {len(column)} rows; give one per point of the cloud, {len(cloud)}")
    if not len(palette):
        raise ValueError("the palette is empty; give at least one colour")
    if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(palette):
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()}; the palette has {len(palette)} colours")
    if intensity not in get_args(Intensity):
        raise ValueError(f"intensity {intensity!r} is unknown; choose from {', '.join(get_args(Intensity))}")


def _mixed(
    frame: Frame,
    pixels: Int64[np.ndarray, " n"],
    labels: Integer[np.ndarray, " n"],
    palette: UInt8[np.ndarray, "P 3"],
    occupied: Int64[np.ndarray, " p"],
    many: Int64[np.ndarray, " p"],
) -> Float32[np.ndarray, "p 3"]:
    """Root of the mean squared channels of each occupied pixel's samples."""
    channels = np.ascontiguousarray(palette.T, np.float64) ** 2
    means = [_counted(frame, pixels, channel[labels])[occupied] / many for channel in channels]
    return np.sqrt(np.stack(means, 1)).astype(np.float32)


def opacity(counts: Int64[np.ndarray, " p"], intensity: str = "log", least: float = 0.3) -> Float32[np.ndarray, " p"]:
    """Alpha of occupied pixels by their counts (at least 1): from `least` for one sample to 1.

    Where no pixel holds `MANY` samples, one alone starts higher, up to 1 where all are alone.
    """
    if not len(counts):
        return np.empty(0, np.float32)
    often = np.bincount(counts)
    below = np.cumsum(often)
    top = int(np.searchsorted(below, TOP * len(counts)))
    if intensity == "equal":
        place = (below - often[1]) / max(len(counts) - often[1], 1)
    else:
        steps, last = np.arange(len(often)).clip(1), max(top, 2)
        place = np.log(steps) / np.log(last) if intensity == "log" else (steps - 1) / (last - 1)
    least = max(least, 1 - np.log(top) / np.log(MANY))
    return (least + (1 - least) * np.clip(place, 0, 1)).astype(np.float32)[counts]


def loneliness(occupied: Bool[np.ndarray, "H W"]) -> int:
    """Radius, 0 to 2, to which pixels are enlarged: the least at which half of the occupied ones touch another."""
    total = np.count_nonzero(occupied)
    for radius in range(MOST_SPREAD):
        touching = np.zeros_like(occupied)
        for rows, columns in _disc(2 * radius + 1):
            for one, two in (_overlap(occupied.shape, rows, columns), _overlap(occupied.shape, -rows, -columns)):
                touching[one] |= occupied[two]
        if 2 * np.count_nonzero(touching & occupied) >= total:
            return radius
    return MOST_SPREAD if total else 0


def enlarged(image: UInt32[np.ndarray, "H W"], radius: int) -> UInt32[np.ndarray, "H W"]:
    """Each pixel takes the most opaque colour within a radius."""
    widest = image.copy()
    for rows, columns in _disc(radius):
        for one, two in (_overlap(image.shape, rows, columns), _overlap(image.shape, -rows, -columns)):
            np.maximum(widest[one], image[two], out=widest[one])
    return widest


def _disc(radius: int) -> list[tuple[int, int]]:
    """Shifts that, with their opposites, fill a disc but for its centre."""
    span = range(-radius, radius + 1)
    return [(r, c) for r in span for c in span if (r, c) > (0, 0) and r * r + c * c <= (radius + 0.5) ** 2]


def _overlap(shape: tuple[int, ...], rows: int, columns: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The parts of an image that lie on each other when it is shifted."""
    height, width = shape
    one = slice(max(rows, 0), max(height + min(rows, 0), 0)), slice(max(columns, 0), max(width + min(columns, 0), 0))
    two = slice(max(-rows, 0), max(height - max(rows, 0), 0)), slice(max(-columns, 0), max(width - max(columns, 0), 0))
    return one, two
