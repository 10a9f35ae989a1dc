"""Scores of every class by itself: its generated samples against its real ones alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from modescope.metrics.expectations import expected_coverage
from modescope.metrics.manifolds import check_labels, paired, sweep_points
from modescope.neighbours import Features


@dataclass(frozen=True, slots=True)
class ClassScores:
    """A sized iterable of rows, one class at a time, so that the caller can show progress."""

    real: Tensor
    fake: Tensor
    real_rows: dict[int | str, Int64[np.ndarray, ...]]
    fake_rows: dict[int | str, Int64[np.ndarray, ...]]
    k: int
    workers: int

    def __len__(self) -> int:
        return len(self.real_rows | self.fake_rows)

    def __iter__(self) -> Iterator[dict[str, int | float | str]]:
        labels = sorted(self.real_rows | self.fake_rows)
        if self.workers == 1:
            yield from map(self._row, labels)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(self._row, labels)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(list(self))

    def _row(self, label: int | str) -> dict[str, int | float | str]:
        none = np.empty(0, np.int64)
        mine, theirs = self.real_rows.get(label, none), self.fake_rows.get(label, none)
        n, m = len(mine), len(theirs)
        row: dict[str, int | float | str] = {"class_id": label, "real": n, "fake": m}
        if min(n, m) <= self.k:
            return row | dict.fromkeys(_NAMES, float("nan"))
        members = sweep_points(_take(self.real, mine), _take(self.fake, theirs), (self.k,))[self.k]
        return row | asdict(members.prdc()) | {"expected_coverage": expected_coverage(n, m, self.k)}


_NAMES = ("precision", "recall", "density", "coverage", "expected_coverage")


def class_scores(
    real: Features,
    fake: Features,
    real_labels: Shaped[np.ndarray, " N"],
    fake_labels: Shaped[np.ndarray, " M"],
    *,
    k: int = 5,
    workers: int = 1,
) -> ClassScores:
    """Rows with class_id, real, fake, precision, recall, density, coverage and expected_coverage, by class.

    Neighbours and balls are those within the class: unlike `per_class`, a generated goldfish among real carp counts for
    nothing, and no distance between classes is computed. A class with k samples or fewer on either side is listed with
    missing (nan) scores. `workers` classes are scored at a time; with more than one, give torch a single thread each
    (`torch.set_num_threads(1)`): classes are too small to share.
    """
    x, y = paired(real, fake)
    check_labels(real_labels, len(x), "real_labels")
    check_labels(fake_labels, len(y), "fake_labels")
    if k < 1 or workers < 1:
        raise ValueError(
            f"k = {k}, workers = {workers}: the neighbour that sets a radius is at least the first, and someone has to "
            "work; the defaults are 5 and 1"
        )
    return ClassScores(x, y, _rows(real_labels), _rows(fake_labels), k, workers)


def _rows(labels: Shaped[np.ndarray, " N"]) -> dict[int | str, Int64[np.ndarray, ...]]:
    names, counts = np.unique(labels, return_counts=True)
    order = np.argsort(labels, kind="stable")
    return dict(zip(names.tolist(), np.split(order, np.cumsum(counts)[:-1]), strict=True))


def _take(points: Tensor, rows: Int64[np.ndarray, " R"]) -> Tensor:
    return points[torch.from_numpy(rows).to(points.device)]
