"""Where on the map real and generated samples lie how densely, and where one side has more."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Float
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from modescope.figures.style import bare, page, panel

CELLS, SIDE = 200, 2.9
STEPS = ("1/4", "1/2", "1", "2", "4")
WIDTH = 0.035  # of the smoothing, in shares of the map's side, for one sample
BANDS = 16  # flat bands of colour read like contours, and make small files
MORE = LinearSegmentedColormap.from_list("more", ["#ffffff", "#777777", "#222222"], N=BANDS)
RATIO = LinearSegmentedColormap.from_list("ratio", ["#b35806", "#f1a340", "#ffffff", "#998ec3", "#542788"], N=BANDS + 1)


def density_figure(title: str, real: Float[np.ndarray, "N E"], fake: Float[np.ndarray, "M E"]) -> Figure:
    """Real density, generated density, and their ratio: orange where too little is generated, purple where too much.

    A ratio needs samples: two samples' kernels are added to both sides, so that where few samples lie it is near 1. The
    line is where the real density falls below that of one sample.
    """
    one, two, least = smoothed(real, fake)
    figure = page(0.24 + 3 * (SIDE + 0.12) + 0.75, SIDE + 0.8, title)
    heads = ("real samples", "generated samples", "generated over real: orange too few, purple too many")
    places = [bare(panel(figure, 0.12 + i * (SIDE + 0.12), 0.65, SIDE, SIDE)) for i in range(3)]
    top = float(np.quantile(one[one > least], 0.98)) if (one > least).any() else 1.0
    for axes, density in zip(places, (one, two), strict=False):
        axes.imshow(np.sqrt(density.T), origin="lower", cmap=MORE, vmin=0, vmax=top**0.5, interpolation="bilinear")
    ratio = np.log2((two + least) / (one + least))
    shown = places[2].imshow(ratio.T, origin="lower", cmap=RATIO, vmin=-2, vmax=2, interpolation="bilinear")
    for axes in places:
        axes.contour(one.T, [least / 2], colors="#888888", linewidths=0.5)
    for axes, head in zip(places, heads, strict=True):
        axes.set_title(head, fontsize=9, loc="left")
    bar = figure.colorbar(shown, cax=panel(figure, 0.2 + 3 * (SIDE + 0.12), 0.9, 0.14, SIDE - 0.5), ticks=range(-2, 3))
    bar.ax.set_yticklabels(STEPS, fontsize=8)
    bar.outline.set_visible(False)
    return figure


def smoothed(
    real: Float[np.ndarray, "N E"], fake: Float[np.ndarray, "M E"]
) -> tuple[Float[np.ndarray, "P P"], Float[np.ndarray, "P P"], float]:
    """Both densities on one grid (their sums are about 1), and the height of two samples' kernels.

    One width for both sides, from the smaller number of samples: n^(-1/6) is the rate of Scott's rule in two dimensions
    (Scott 1992), its constant suits maps of many clusters.
    """
    both = np.concatenate([real[:, :2], fake[:, :2]]).astype(np.float64)
    low, high = both.min(0), both.max(0)
    pad = np.maximum((high - low) * 0.04, 1e-6)
    edges = [np.linspace(a, b, CELLS + 1) for a, b in zip(low - pad, high + pad, strict=True)]
    fewest = min(len(real), len(fake))
    width = max(WIDTH * CELLS * fewest ** (-1 / 6), 0.8)
    one, two = (
        scipy.ndimage.gaussian_filter(np.histogram2d(p[:, 0], p[:, 1], bins=edges)[0] / len(p), width, mode="constant")
        for p in (both[: len(real)], both[len(real) :])
    )
    return one, two, 2 / (fewest * 2 * np.pi * width**2)
