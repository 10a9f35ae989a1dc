"""How long a large map takes to be indexed, asked and drawn: 1,281,167 real and 50,000 generated points, 1,000 classes.

    python -m benchmarks.atlas [--points 1281167] [--repeats 5]

Each line: milliseconds of our first call, the median of the following ones, the most memory that a call takes beyond its
inputs, the plain way to the same answer with NumPy, SciPy or matplotlib where there is one, and the time wanted. Times are
CPU time of one process on one thread: what a quiet core takes, whatever else runs.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.path import Path
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from modescope import atlas
from modescope.atlas import Box, Cloud, Frame

CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Points and labels of both sides of a map that looks like UMAP's: groups of class clumps, threads, a few outliers."""

    real: np.ndarray
    real_labels: np.ndarray
    fake: np.ndarray
    fake_labels: np.ndarray


def synthetic(points: int, generated: int, *, classes: int = CLASSES, seed: int = 0) -> Synthetic:
    """The generated side makes too little of some classes and too much of others."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(0, 6, (max(classes // 25, 1), 2))
    middles = groups[rng.integers(0, len(groups), classes)] + rng.normal(0, 1.1, (classes, 2))
    widths, turns = rng.uniform(0.03, 0.2, (classes, 2)), rng.uniform(0, np.pi, classes)
    shares = rng.dirichlet(np.full(classes, 20.0))
    skewed = shares * rng.gamma(1.0, 1.0, classes)

    def side(count: int, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(classes, count, p=share / share.sum()).astype(np.int32)
        along, across = (rng.standard_normal((count, 2)) * widths[labels]).T
        cosine, sine = np.cos(turns[labels]), np.sin(turns[labels])
        xy = middles[labels] + np.stack([cosine * along - sine * across, sine * along + cosine * across], 1)
        xy[: count // 5000] = rng.uniform(-22, 22, (count // 5000, 2))
        return xy.astype(np.float32), labels

    real, real_labels = side(points, shares)
    fake, fake_labels = side(generated, skewed)
    return Synthetic(real=real, real_labels=real_labels, fake=fake, fake_labels=fake_labels)


def timed(action: Callable[[], Any]) -> float:
    start = time.process_time()
    action()
    return 1e3 * (time.process_time() - start)


class Table:
    """Lines of one form; `repeats` calls after the first."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        print(f"{'':<48}{'first':>9}{'median':>9}{'MiB':>9}{'plain':>9}{'wanted':>9}")

    def line(
        self, what: str, ours: Callable[[], Any], plain: Callable[[], Any] | None = None, wanted: float | None = None
    ) -> None:
        first = timed(ours)
        after = statistics.median(timed(ours) for _ in range(self.repeats))
        tracemalloc.start()
        ours()
        most = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        beside = f"{timed(plain):9.1f}" if plain else f"{'':9}"
        limit = f"{wanted:9.0f}" if wanted else ""
        print(f"{what:<48}{first:9.1f}{after:9.1f}{most:9.1f}{beside}{limit}")


def plain_within(points: np.ndarray, box: Box) -> np.ndarray:
    x, y = points.T
    return np.flatnonzero((x >= box.left) & (x <= box.right) & (y >= box.bottom) & (y <= box.top))


def plain_nearest(points: np.ndarray, place: tuple[float, float], keep: np.ndarray | None) -> np.ndarray:
    far = ((points - np.array(place, np.float32)) ** 2).sum(1)
    return np.argpartition(far if keep is None else np.where(keep, far, np.inf), 15)[:15]


def plain_raster(points: np.ndarray, frame: Frame, colours: np.ndarray | None = None) -> list[np.ndarray]:
    box, columns = frame.box, (None, *([] if colours is None else colours.T))
    ends = np.array([(box.bottom, box.top), (box.left, box.right)])
    bins = [frame.height, frame.width]
    return [np.histogram2d(points[:, 1], points[:, 0], bins, ends, weights=each)[0] for each in columns]


def plain_names(points: np.ndarray, labels: np.ndarray, box: Box) -> list[np.ndarray]:
    seen = plain_within(points, box)
    points, labels = points[seen], labels[seen]
    return [
        np.histogram2d(own[:, 0], own[:, 1], 24)[0] for own in (points[labels == name] for name in np.unique(labels))
    ]


def questions(table: Table, made: Synthetic, cloud: Cloud, views: dict[str, Box]) -> None:
    points = made.real
    keeps = {"": None, ", a tenth kept": np.random.default_rng(1).random(len(points)) < 0.1}
    keeps[", one class"] = made.real_labels == 7
    for name, box in views.items():
        table.line(f"within, {name}", partial(cloud.within, box), partial(plain_within, points, box))
        for which, keep in keeps.items():
            table.line(f"markers 20,000, {name}{which}", partial(cloud.markers, box, 20_000, keep), None, 50)
    whole, tree = views["whole"], cKDTree(points)
    middle = ((whole.left + whole.right) / 2, (whole.bottom + whole.top) / 2)
    for name, place in {"middle": middle, "corner": (whole.right, whole.top), "an outlier": tuple(points[9])}.items():
        for which, keep in keeps.items():
            plain = partial(plain_nearest, points, place, keep)
            table.line(f"nearest 15, {name}{which}", partial(cloud.nearest, place, 15, keep), plain, 100)
        table.line(f"  SciPy's cKDTree, {name} (no filter)", partial(tree.query, place, 15))
    for name, polygon in lassos(whole, middle).items():
        table.line(name, partial(cloud.inside, polygon), partial(Path(polygon).contains_points, points), 100)


def lassos(whole: Box, middle: tuple[float, float]) -> dict[str, np.ndarray]:
    rng, angle = np.random.default_rng(2), np.linspace(0, 2 * np.pi, 100, endpoint=False)
    radius = 0.25 * whole.width * (1 + 0.1 * rng.standard_normal(100))
    lasso = middle + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return {
        "lasso of 100 corners": lasso,
        "scribble of 100 corners": middle + 0.2 * whole.width * rng.standard_normal((100, 2)),
    }


def pictures(table: Table, made: Synthetic, cloud: Cloud, views: dict[str, Box]) -> None:
    rng = np.random.default_rng(4)
    palette = rng.integers(0, 256, (CLASSES, 3)).astype(np.uint8)
    values = rng.random(len(cloud)).astype(np.float32)
    keep = rng.random(len(cloud)) < 0.5
    colours = palette[made.real_labels].astype(np.float64)
    for name, box in views.items():
        frame = Frame(box=box, width=900, height=700)
        rules: dict[str, tuple[dict[str, Any], Callable[[], Any] | None]] = {
            "one colour": ({}, partial(plain_raster, made.real, frame)),
            "classes": ({"labels": made.real_labels}, partial(plain_raster, made.real, frame, colours)),
            "classes, half kept": ({"labels": made.real_labels, "keep": keep}, None),
            "classes, equalised": ({"labels": made.real_labels, "intensity": "equal"}, None),
            "values": ({"values": values}, None),
        }
        for rule, (how, plain) in rules.items():
            draw = partial(atlas.raster, cloud, frame, palette=palette, **how)
            table.line(f"raster 900 x 700, {name}, {rule}", draw, plain, 110)


def marks(table: Table, made: Synthetic, cloud: Cloud, views: dict[str, Box]) -> None:
    fake, whole = Cloud.of(made.fake), views["whole"]
    frame = Frame.fitting(whole, 256)
    both = atlas.densities(cloud, fake, frame)

    def plain_density() -> np.ndarray:
        return gaussian_filter(plain_raster(made.real, frame)[0], both.width / frame.step[0])

    table.line("kernel width, generated", partial(atlas.bandwidth, fake, frame))
    table.line("kernel width, real", partial(atlas.bandwidth, cloud, frame))
    table.line("density, real", partial(atlas.density, cloud, frame, width=both.width), plain_density)
    table.line("both densities and their width", partial(atlas.densities, cloud, fake, frame))
    table.line("contours at three levels", partial(atlas.contours, both.real, frame, atlas.mass_levels(both.real)))
    table.line("difference as an image", partial(atlas.difference_image, both))
    gap = np.concatenate([made.real[cloud.nearest(made.real[row], 45)[0]] for row in (9, 99_999 % len(cloud))])
    table.line("outlines of 90 samples", partial(atlas.outlines, gap, pad=0.01 * whole.width))
    names = [f"class number {number}" for number in range(CLASSES)]
    for name, box in views.items():
        letter = (7 * box.width / 900, 16 * box.height / 700)
        places = partial(atlas.label_places, cloud, made.real_labels, names, box, letter=letter)
        table.line(f"class names, {name}", places, partial(plain_names, made.real, made.real_labels, box), 50)
        size, rows = (32 * box.width / 900, 32 * box.height / 700), cloud.markers(box, 5000)
        table.line(f"thumbnails, {name}", partial(atlas.thumbnails, cloud.points, rows, size))
    column = np.random.default_rng(5).lognormal(size=len(cloud)).astype(np.float32)
    table.line("scale of a column", partial(atlas.Scale.of, column, "log"))
    table.line("places of a column on it", partial(atlas.Scale.of(column, "log").unit, column))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_281_167)
    parser.add_argument("--generated", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    made = synthetic(arguments.points, arguments.generated)
    print(f"{arguments.points:,} real and {arguments.generated:,} generated points, {CLASSES:,} classes")
    table = Table(arguments.repeats)
    table.line("index (plain: cKDTree)", partial(Cloud.of, made.real), partial(cKDTree, made.real), 2000)
    cloud = Cloud.of(made.real)
    whole = Box.around(made.real)
    clump = Box.around(made.real[cloud.nearest(made.real[-1], 5000 * len(cloud) // 1_000_000 + 50)[0]])
    views = {"whole": whole, "a quarter": whole.enlarged(-0.25), "a clump": clump}
    questions(table, made, cloud, views)
    pictures(table, made, cloud, views)
    marks(table, made, cloud, views)
    print(f"the index holds {cloud.nbytes / 2**20:.0f} MiB, the points included")
    print(f"most memory of the whole run: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()
