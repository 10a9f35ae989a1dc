"""What a generator can make of given images, and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modescope.figures.style import PALETTE, bare, page, panel, strip

COLUMNS, LINES = 5, 4
"""Pairs of images shown, at most."""
LEAST = 1e-6


def inversion_figure(
    title: str,
    errors: Mapping[str, Float[np.ndarray, " N"]],
    enough: float,
    real: UInt8[np.ndarray, "R C H W"],
    made: UInt8[np.ndarray, "R C H W"],
    words: Sequence[str],
) -> Figure:
    """Left: of each kind of images, the share that is made to an error or better; right: pairs of a real image and what comes
    nearest to it, each under its words.
    """
    figure = page(11.5, 4.4, title)
    _shares(panel(figure, 0.7, 0.65, 4.2, 2.7), errors, enough)
    figure.text(
        5.4 / 11.5, 1 - 0.32 / 4.4, "real | the nearest that the generator makes; largest error first", fontsize=9
    )
    for place, (image, attempt, said) in enumerate(zip(real, made, words, strict=True)):
        down, across = divmod(place, COLUMNS)
        if down == LINES:
            break
        axes = bare(panel(figure, 5.4 + 1.22 * across, 0.72 + 0.9 * down, 1.1, 0.55))
        axes.imshow(strip(np.stack([image, attempt]), 2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(said, loc="left", fontsize=7.5, pad=2)
    return figure


def _shares(axes: Axes, errors: Mapping[str, np.ndarray], enough: float) -> None:
    for (kind, error), colour in zip(errors.items(), PALETTE, strict=False):
        ordered = np.sort(np.maximum(error, LEAST))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        label = f"{kind}: {(error <= enough).mean():.1%} made"
        axes.step(ordered, share, where="post", color=colour, linewidth=2 if kind == "real" else 1.3, label=label)
    axes.axvline(enough, color="#444444", linewidth=1, linestyle="--")
    axes.annotate(f"enough: {enough:g}", (enough, 1.06), fontsize=8, ha="center", annotation_clip=False)
    axes.set(xscale="log", ylim=(0, 1.03))
    axes.set_xlabel("mean squared error left, images in [-1, 1]", fontsize=9)
    axes.set_ylabel("share of images with this error or less", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8, frameon=False)
