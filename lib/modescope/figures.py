"""Static pictures: the map, and coverage class by class. Functions return matplotlib figures; whoever asked saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64, UInt8
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PALETTE = ("#332288", "#e69f00", "#44aa99", "#cc6677", "#88ccee", "#882255", "#999933", "#aa4499", "#aa7744", "#ddcc77")
"""Ten colours that stay apart for colour-blind readers (after Paul Tol's schemes); classes cycle through them."""

REAL_GREY = "#b9b9b9"


def class_colours(classes: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(classes)]


def map_figure(
    real: Float[np.ndarray, "N E"],
    fakes: Mapping[str, tuple[Float[np.ndarray, "M E"], Int64[np.ndarray, " M"]]],
    class_names: Sequence[str],
) -> Figure:
    """Real samples in grey, generated ones on top by class: a panel per title => (points, labels), on one scale."""
    figure = Figure(figsize=(4.6 * len(fakes) + 1.2, 4.9), dpi=110, layout="constrained")
    colours = np.array(class_colours(len(class_names)))
    panels = figure.subplots(1, len(fakes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, (points, labels)) in zip(panels, fakes.items(), strict=True):
        size = float(np.clip(12_000 / (len(real) + len(points) + 1), 0.3, 9))
        axes.scatter(real[:, 0], real[:, 1], s=size * 2.5, c=REAL_GREY, linewidths=0, rasterized=True)
        axes.scatter(points[:, 0], points[:, 1], s=size, c=colours[labels], linewidths=0, alpha=0.9, rasterized=True)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=11)
        axes.set_aspect("equal", adjustable="box")
        axes.spines[:].set_visible(False)
    present = np.unique(np.concatenate([labels for _, labels in fakes.values()]))[: len(PALETTE)]
    shown = [(class_names[c], colours[c]) for c in present]
    marks = [Line2D([], [], marker="o", linestyle="", color=c, label=name) for name, c in [("real", REAL_GREY), *shown]]
    figure.legend(handles=marks, loc="outside right center", frameon=False, fontsize=9)
    return figure


def coverage_figure(table: pd.DataFrame, title: str, *, expected: float) -> Figure:
    """Coverage and recall per class as bars, worst class first; the line is what equal laws would score."""
    table = table.sort_values("coverage", kind="stable").head(40)
    figure = Figure(figsize=(7.2, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(table))
    axes.bar(place - 0.2, table["coverage"], width=0.4, color=PALETTE[0], label="coverage")
    axes.bar(place + 0.2, table["recall"], width=0.4, color=PALETTE[3], label="recall")
    axes.axhline(expected, color="#444444", linewidth=1, linestyle="--", label="coverage under equal laws")
    axes.set_xticks(place, [str(name) for name in table["class_name"]], rotation=0 if len(table) <= 12 else 90)
    axes.set(ylim=(0, 1.05), xlabel="class, worst covered first", ylabel="share of real samples")
    axes.set_title(title, loc="left", fontsize=11)
    figure.legend(loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def gaps_figure(
    title: str,
    gaps: Sequence[tuple[str, UInt8[np.ndarray, "R C H W"], UInt8[np.ndarray, "F C H W"]]],
    *,
    tiles: int = 10,
) -> Figure:
    """A line per gap: what is missing in words, real images of the region, and the generated ones that lie nearest to it.

    Without gaps the picture says so.
    """
    figure = Figure(figsize=(11, 0.85 + 0.62 * max(len(gaps), 1)), dpi=110, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    panels = figure.subplots(max(len(gaps), 1), 3, squeeze=False, gridspec_kw={"width_ratios": [0.4, 1, 1]})
    for axes in panels.flat:
        axes.set_axis_off()
    if not gaps:
        panels[0][0].text(0, 0.5, "no region of the real data is missing beyond chance", fontsize=10, color="#555555")
        return figure
    for line, (words, *sides) in zip(panels, gaps, strict=True):
        line[0].text(0, 0.5, words, fontsize=8, va="center")
        for axes, images in zip(line[1:], sides, strict=True):
            axes.imshow(strip(images[:tiles], tiles), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    panels[0][1].set_title("real images of the region", loc="left", fontsize=9)
    panels[0][2].set_title("generated images nearest to it", loc="left", fontsize=9)
    return figure


def strip(images: UInt8[np.ndarray, "N C H W"], tiles: int) -> np.ndarray:
    """Up to `tiles` images side by side on white, an eighth of their width apart: (H, width) or (H, width, 3)."""
    _, channels, height, width = images.shape
    step = width + width // 8
    canvas = np.full((height, tiles * step - width // 8, channels), 255, np.uint8)
    for place, image in enumerate(images):
        canvas[:, place * step : place * step + width] = image.transpose(1, 2, 0)
    return canvas[..., 0] if channels == 1 else canvas


def png(figure: Figure) -> bytes:
    """A figure => PNG bytes, the same on every run."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
