"""What came of aiming at missing regions, in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure

from modescope.figures.style import PALETTE

Way = tuple[UInt8[np.ndarray, "M C H W"], Bool[np.ndarray, " M"], bool]
"""Images of one way, which of them count as in the region, and whether the region counts as reached."""


def reach_figure(
    title: str, regions: Sequence[tuple[str, UInt8[np.ndarray, "R C H W"], Mapping[str, Way]]], *, tiles: int = 8
) -> Figure:
    """A line per region: words, real images of it, and what each way made. Images that count are framed, and a way that
    reached the region has a tick. Without regions the picture says so.
    """
    ways = list(regions[0][2]) if regions else []
    columns = 2 + max(len(ways), 1)
    figure = Figure(
        figsize=(2.4 + 2.3 * (columns - 1), 0.9 + 0.42 * max(len(regions), 1)), dpi=130, layout="constrained"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    if regions:
        said = "framed: counts as in the region; tick: the region is reached"
        figure.text(0.995, 0.995, said, ha="right", va="top", fontsize=8, color="#555555")
    ratios = [0.75, *[1.0] * (columns - 1)]
    panels = figure.subplots(max(len(regions), 1), columns, squeeze=False, gridspec_kw={"width_ratios": ratios})
    for axes in panels.flat:
        axes.set_axis_off()
    if not regions:
        panels[0][0].text(
            0, 0.5, "no region of the real data is missing, so none was aimed at", fontsize=10, color="#555555"
        )
        return figure
    for axes, name in zip(panels[0][1:], ["real, of the region", *ways], strict=True):
        axes.set_title(name, loc="left", fontsize=9)
    for line, (words, real, made) in zip(panels, regions, strict=True):
        line[0].text(0, 0.5, words, fontsize=7.5, va="center", transform=line[0].transAxes)
        _draw(line[1], real[:tiles], np.zeros(len(real[:tiles]), bool), tiles)
        for axes, name in zip(line[2:], ways, strict=True):
            images, inside, reached = made[name]
            _draw(axes, images[:tiles], inside[:tiles], tiles)
            if reached:
                axes.text(1.01, 0.5, "✓", fontsize=10, va="center", color=PALETTE[2], transform=axes.transAxes)
    return figure


def _draw(axes: object, images: UInt8[np.ndarray, "M C H W"], framed: Bool[np.ndarray, " M"], tiles: int) -> None:
    """Images side by side, each with a frame in colour or white around it."""
    _, channels, height, width = images.shape
    edge = max(1, width // 8)
    high, step = height + 2 * edge, width + 3 * edge
    canvas = np.full((high, tiles * step - edge, 3), 255, np.uint8)
    colour = tuple(int(PALETTE[1][i : i + 2], 16) for i in (1, 3, 5))
    for place, (image, inside) in enumerate(zip(images, framed, strict=True)):
        left = place * step
        if inside:
            canvas[:, left : left + width + 2 * edge] = colour
        rgb = image.transpose(1, 2, 0) if channels >= 3 else np.repeat(image[:1].transpose(1, 2, 0), 3, axis=2)
        canvas[edge : edge + height, left + edge : left + edge + width] = rgb[..., :3]
    axes.imshow(canvas, interpolation="nearest")  # type: ignore[attr-defined]
