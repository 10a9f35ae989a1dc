"""The map: real samples grey, generated ones by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from modescope.figures.style import PALETTE, REAL_GREY, bare, class_colours, page, panel

SIDE, LEGEND, CROWDED = 4.3, 1.6, 15_000
PIXELS = 470  # of a panel's side, which is about what is drawn


def map_figure(
    real: Float[np.ndarray, "N E"],
    fakes: Mapping[str, tuple[Float[np.ndarray, "M E"], Int64[np.ndarray, " M"]]],
    class_names: Sequence[str],
) -> Figure:
    """Real samples in grey, generated ones on top by class: a panel per title => (points, labels), on one scale.

    Up to 15,000 points are drawn as such, more as pixels: the colour is the mean over the classes there, the strength
    the number of samples. Ten classes have a colour each; more are coloured along their order.
    """
    figure = page(0.24 + (SIDE + 0.15) * len(fakes) + LEGEND, SIDE + 0.5)
    present = np.unique(np.concatenate([labels for _, labels in fakes.values()]))
    colours = _colours(present, len(class_names))
    box = _box([real, *(points for points, _ in fakes.values())])
    for number, (title, (points, labels)) in enumerate(fakes.items()):
        axes = bare(panel(figure, 0.12 + number * (SIDE + 0.15), 0.38, SIDE, SIDE))
        if len(real) + len(points) > CROWDED:
            axes.imshow(_pixels(real, points, colours[labels], box), extent=box, origin="lower", aspect="auto")
        else:
            _scatter(axes, real, points, colours[labels])
        axes.set(xlim=box[:2], ylim=box[2:])
        axes.set_title(title, fontsize=11)
    (_names if len(present) <= len(PALETTE) else _scale)(figure, class_names, present, colours)
    return figure


def _colours(present: Int64[np.ndarray, " K"], classes: int) -> Float[np.ndarray, "C 3"]:
    """Of every class, those that are there as far apart as their number allows."""
    colours = np.zeros((classes, 3))
    few = len(present) <= len(PALETTE)
    spread = colormaps["turbo"](np.linspace(0.02, 0.98, len(present)))[:, :3]
    colours[present] = [to_rgb(colour) for colour in class_colours(len(present))] if few else spread
    return colours


def _box(sets: Sequence[np.ndarray]) -> tuple[float, float, float, float]:
    """A square around all points: left, right, bottom, top."""
    low, high = (np.stack([f(p[:, :2], axis=0) for p in sets]) for f in (np.min, np.max))
    middle, half = (low.min(0) + high.max(0)) / 2, max(float((high.max(0) - low.min(0)).max()) * 0.52, 1e-6)
    return tuple(float(v) for v in (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half))  # type: ignore[return-value]


def _scatter(
    axes: Axes, real: Float[np.ndarray, "N E"], points: Float[np.ndarray, "M E"], colours: Float[np.ndarray, "M 3"]
) -> None:
    size = float(np.clip(12_000 / (len(real) + len(points) + 1), 0.3, 9))
    axes.scatter(real[:, 0], real[:, 1], s=size * 2.5, c=REAL_GREY, linewidths=0, rasterized=True)
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colours, linewidths=0, alpha=0.9, rasterized=True)


def _pixels(
    real: Float[np.ndarray, "N E"],
    points: Float[np.ndarray, "M E"],
    colours: Float[np.ndarray, "M 3"],
    box: Sequence[float],
) -> Float[np.ndarray, "P P 3"]:
    """White, then the real samples in grey, then the generated ones in their colours, each as strong as it is frequent."""
    picture = np.ones((PIXELS * PIXELS, 3))
    for where, shades in ((_cells(real, box), np.array([to_rgb(REAL_GREY)])), (_cells(points, box), colours)):
        count = np.bincount(where, minlength=len(picture))
        there = count > 0
        strength = 0.35 + 0.65 * np.log1p(count[there]) / np.log1p(np.quantile(count[there], 0.99))
        sums = [np.bincount(where, np.broadcast_to(shades[:, c], where.shape), len(picture)) for c in range(3)]
        mean = np.stack(sums, axis=1)[there] / count[there, None]
        strength = np.minimum(strength, 1)[:, None]
        picture[there] = strength * mean + (1 - strength) * picture[there]
    return picture.reshape(PIXELS, PIXELS, 3)


def _cells(points: Float[np.ndarray, "N E"], box: Sequence[float]) -> Int64[np.ndarray, " N"]:
    left, right, bottom, top = box
    place = (points[:, :2] - np.array([left, bottom])) / np.array([right - left, top - bottom]) * PIXELS
    column, row = place.astype(np.int64).clip(0, PIXELS - 1).T
    return row * PIXELS + column


def _names(
    figure: Figure, class_names: Sequence[str], present: Int64[np.ndarray, " K"], colours: Float[np.ndarray, "C 3"]
) -> None:
    shown = [("real", REAL_GREY), *((class_names[c][:16], colours[c]) for c in present)]
    marks = [Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in shown]
    left = 1 - (LEGEND - 0.05) / figure.get_figwidth()
    figure.legend(handles=marks, loc="center left", bbox_to_anchor=(left, 0.5), frameon=False, fontsize=9)


def _scale(
    figure: Figure, class_names: Sequence[str], present: Int64[np.ndarray, " K"], colours: Float[np.ndarray, "C 3"]
) -> None:
    """Classes in their order, some of them by name."""
    axes = panel(figure, figure.get_figwidth() - LEGEND + 0.1, 0.6, 0.14, SIDE - 0.6)
    axes.imshow(colours[present][:, None], aspect="auto")
    axes.spines[:].set_visible(False)
    marked = np.unique(np.linspace(0, len(present) - 1, 9).astype(int))
    axes.set_xticks([])
    axes.set_yticks(marked, [class_names[present[i]].split(",")[0][:20] for i in marked])
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=7, length=2)
    axes.set_title("classes; real: grey", fontsize=8, loc="left")
