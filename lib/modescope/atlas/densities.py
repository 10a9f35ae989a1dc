"""Where real and generated samples lie how densely: kernel densities on a grid, their contours and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import LineType, contour_generator
from jaxtyping import Float, Float32, Float64, UInt32
from scipy.fft import rfft2, rfftfreq
from scipy.ndimage import gaussian_filter

from modescope.atlas.clouds import Cloud, Keep
from modescope.atlas.colours import DIFFERENCE, rgb, rgba
from modescope.atlas.frames import Box, Frame
from modescope.atlas.rasters import count

FINE = 512  # cells along the longer side, of the search for a width
WIDTHS = 48  # tried from one of those cells to `WIDEST`
WIDEST = 0.1  # of the longer side
REACH = 4.0  # kernel widths beyond which a kernel is cut off
DOUBT = 2.0  # standard errors below which a difference is not shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Densities:
    """Density of both sides, as share of a side's `sizes` samples per square map unit, by kernels of one `width`."""

    frame: Frame
    width: float
    real: Float32[np.ndarray, "H W"]
    fake: Float32[np.ndarray, "H W"]
    sizes: tuple[int, int]


def densities(
    real: Cloud,
    fake: Cloud,
    frame: Frame,
    *,
    keep_real: Keep = None,
    keep_fake: Keep = None,
    width: float | None = None,
) -> Densities:
    """Both densities in a frame; without a width, that of `bandwidth` for the side with fewer samples.

    Densities of a part of the map compare with those of the whole if the width is the whole's.
    """
    sizes = _kept(real, keep_real), _kept(fake, keep_fake)
    if width is None:
        width = bandwidth(real, frame, keep_real) if sizes[0] < sizes[1] else bandwidth(fake, frame, keep_fake)
    return Densities(
        frame=frame,
        width=width,
        real=density(real, frame, width=width, keep=keep_real),
        fake=density(fake, frame, width=width, keep=keep_fake),
        sizes=sizes,
    )


def _kept(cloud: Cloud, keep: Keep) -> int:
    return len(cloud) if keep is None else int(np.count_nonzero(keep))


def density(cloud: Cloud, frame: Frame, *, width: float, keep: Keep = None) -> Float32[np.ndarray, "H W"]:
    """Share of the kept samples per square map unit, smoothed by a Gaussian of this width; samples beyond the frame count."""
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"width is {width}; give the kernel's standard deviation in map units, above 0")
    across, up = frame.step
    rim = int(np.ceil(REACH * width / across)), int(np.ceil(REACH * width / up))
    counts = count(cloud, _wider(frame, *rim), keep).astype(np.float32)
    smooth = gaussian_filter(counts, (width / up, width / across), mode="constant", truncate=REACH)
    inner = smooth[rim[1] : rim[1] + frame.height, rim[0] : rim[0] + frame.width]
    return inner / np.float32(max(_kept(cloud, keep), 1) * across * up)


def _wider(frame: Frame, columns: int, rows: int) -> Frame:
    """The frame with so many more cells on each side."""
    (across, up), box = frame.step, frame.box
    left, right = box.left - columns * across, box.right + columns * across
    wide = Box(left=left, right=right, bottom=box.bottom - rows * up, top=box.top + rows * up)
    return Frame(box=wide, width=frame.width + 2 * columns, height=frame.height + 2 * rows)


def bandwidth(cloud: Cloud, frame: Frame, keep: Keep = None) -> float:
    """Kernel width in map units for the samples in a frame: the geometric mean of `fine_width` and `plain_width`.

    Our rule, not a published one. On one bell the two agree. A UMAP is threads in clumps in groups: the fine width, the best
    in squared error, draws every thread, and the plain one blurs groups into each other; between them lie the clumps.
    """
    return (fine_width(cloud, frame, keep) * plain_width(cloud, frame, keep)) ** 0.5


def plain_width(cloud: Cloud, frame: Frame, keep: Keep = None) -> float:
    """Scott's rule in two dimensions, n^(-1/6) times the spread (Scott 1992), a robust one; at least a cell."""
    least = max(frame.box.width, frame.box.height) / FINE
    _, *places = cloud.seen(frame.box, keep)
    if len(places[0]) < 2:
        return WIDEST * FINE * least
    quartiles = [np.subtract(*np.quantile(each, (0.75, 0.25))) / 1.349 for each in places]
    spread = [
        min(float(np.std(each, dtype=np.float64)), q or np.inf) for each, q in zip(places, quartiles, strict=True)
    ]
    return max(float(np.mean(spread)) * len(places[0]) ** (-1 / 6), least)


def fine_width(cloud: Cloud, frame: Frame, keep: Keep = None) -> float:
    """Least-squares cross-validation (Rudemo 1982; Bowman 1984) on binned samples, for all widths from one spectrum.

    It asks the samples how finely their density varies; at least a cell of `FINE` along the frame's longer side.
    """
    grid = Frame.fitting(frame.box, FINE)
    counts = count(cloud, grid, keep)
    total = int(counts.sum())
    longest = max(frame.box.width, frame.box.height)
    if total < 2:
        return WIDEST * longest
    power = np.abs(rfft2(counts, [2 * size for size in counts.shape])).astype(np.float64) ** 2
    power[:, 1:-1] *= 2
    tried = np.geomspace(1, WIDEST * FINE, WIDTHS)
    risks = [_risk(power, width, total) for width in tried]
    return float(tried[int(np.argmin(risks))] * longest / FINE)


def _risk(power: Float64[np.ndarray, "R C"], width: float, total: int) -> float:
    """Integrated squared error of a kernel estimate of this width (in cells), up to what does not depend on the width.

    power: of counts in twice the frame, so that nothing wraps around. Sum of K(x_i - x_j) over pairs i, j is a product
    of the spectra of counts and kernel; pairs i = j, K(0) each, do not predict anything and are taken off.
    """
    rows, columns = power.shape[0], 2 * (power.shape[1] - 1)
    agreement, centre = _pairs(power, width, rows, columns)
    own, _ = _pairs(power, width * 2**0.5, rows, columns)
    return own / total**2 - 2 * (agreement - total * centre) / (total * (total - 1))


def _pairs(power: Float64[np.ndarray, "R C"], width: float, rows: int, columns: int) -> tuple[float, float]:
    """Sum over all pairs of the kernel between them, and the kernel at 0."""
    by_row = np.exp(-2 * (np.pi * width * np.fft.fftfreq(rows)) ** 2)
    by_column = np.exp(-2 * (np.pi * width * rfftfreq(columns)) ** 2)
    twice = by_column.copy()
    twice[1:-1] *= 2
    return float(by_row @ power @ by_column) / (rows * columns), float(by_row.sum() * twice.sum()) / (rows * columns)


def mass_levels(density: Float[np.ndarray, "H W"], shares: Sequence[float] = (0.5, 0.8, 0.95)) -> tuple[float, ...]:
    """Densities whose contours bound the smallest areas that hold these shares of the frame's mass (Hyndman 1996)."""
    if any(not 0 < share < 1 for share in shares):
        raise ValueError(f"shares are {tuple(shares)}; a contour holds a share between 0 and 1 of the mass")
    heights = np.sort(density.ravel())[::-1].astype(np.float64)
    mass = np.cumsum(heights)
    if not mass[-1] > 0:
        return (0.0,) * len(shares)
    return tuple(float(heights[np.searchsorted(mass, share * mass[-1])]) for share in shares)


def contours(
    density: Float[np.ndarray, "H W"], frame: Frame, levels: Sequence[float]
) -> list[list[Float32[np.ndarray, "_ 2"]]]:
    """For each level (above 0) its lines, in map units; open ones end at the frame. Frames of one cell have none."""
    if min(density.shape) < 2:
        return [[] for _ in levels]
    drawn = contour_generator(*frame.centres, density, line_type=LineType.Separate)
    return [[np.asarray(line, np.float32) for line in drawn.lines(level)] if level > 0 else [] for level in levels]


def difference(both: Densities) -> tuple[Float32[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
    """Real minus generated density, and the same in standard errors.

    The error is that of two samples from one density, the pooled one; one sample's kernel is added to it, so that single
    samples far from all others are no finding.
    """
    (n, m), kernel = both.sizes, 1 / (4 * np.pi * both.width**2)
    if min(n, m) < 1:
        raise ValueError(f"{n} real and {m} generated samples are kept; a difference needs both: clear a filter")
    pooled = (n * both.real + m * both.fake) / (n + m) + 2 * kernel / min(n, m)
    away = both.real - both.fake
    return away, (away / np.sqrt(pooled * kernel * (1 / n + 1 / m))).astype(np.float32)


def difference_image(both: Densities, *, dark: bool = False) -> UInt32[np.ndarray, "H W"]:
    """Pixels 0xAABBGGRR: orange where generated samples are too few, purple where too many, more opaque with the size.

    Transparent up to `DOUBT` standard errors, whole one standard error further.
    """
    away, errors = difference(both)
    size, sure = np.abs(away), np.clip(np.abs(errors) - DOUBT, 0, 1)
    top = float(np.quantile(size[sure > 0], 0.98)) if sure.any() else 1.0
    alpha = (np.sqrt(np.minimum(size / top, 1)) * sure).ravel()
    colours = rgb(DIFFERENCE[dark])[(away < 0).ravel().astype(np.int8)]
    return np.where(alpha > 0, rgba(colours, alpha), np.uint32(0)).reshape(away.shape)
