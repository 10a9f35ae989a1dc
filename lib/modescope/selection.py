"""Which rows of a source to use, and in which order: by class, balanced, by score; and whose label each sample follows.

The order never depends on how many rows are asked for, so that a smaller selection begins every larger one. The seed
decides two things alone: which classes `num_classes` keeps, and the order of the rows within each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from modescope.seeds import stream


def select(
    labels: Int64[np.ndarray, " N"],
    *,
    num_samples: int | None = None,
    num_classes: int | None = None,
    target_classes: Sequence[int] | None = None,
    samples_per_class: int | None = None,
    seed: int,
    scores: np.ndarray | None = None,
    percentile: tuple[float, float] | None = None,
) -> Int64[np.ndarray, " n"]:
    """Rows of the source in selection order; all of them, in source order, when nothing is asked for.

    Classes: the first `num_classes` of `target_classes` where given, else of a seeded permutation of the classes there
    are. Rows: cycle after cycle through these classes in ascending order, `samples_per_class` (default 1) rows of each
    per cycle, an exhausted class being skipped, until there are `num_samples` or no more. Without `num_samples`,
    `samples_per_class` means one cycle: exactly so many of each class.

    `percentile` (low, high), 0..100, keeps the rows whose score lies between these two percentiles, both ends included,
    of the scores (one per row, NaN: none, never kept) of the chosen classes; linear between neighbours. Scores may be a
    table's column in any float type. Errors are ValueErrors that say how many rows or classes there are.
    """
    counted = {"num_samples": num_samples, "num_classes": num_classes, "samples_per_class": samples_per_class}
    for name, value in counted.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} {value} must be at least 1; null takes all there are")
    if target_classes is None and percentile is None and all(value is None for value in counted.values()):
        return np.arange(len(labels), dtype=np.int64)
    chosen = choose_classes(labels, num_classes=num_classes, target_classes=target_classes, seed=seed)
    kept = np.isin(labels, chosen)
    if percentile is not None:
        kept &= scored_between(_usable(scores, len(labels)), kept, *percentile)
    per_cycle = samples_per_class or 1
    rows, ranks = _shuffled_by_class(labels, kept, seed)
    if samples_per_class is not None and num_samples is None:
        _check_one_cycle(labels[rows], chosen, samples_per_class)
        rows, ranks = rows[ranks < samples_per_class], ranks[ranks < samples_per_class]
    if num_samples is not None and num_samples > len(rows):
        raise ValueError(
            f"num_samples {num_samples} is more than the {len(rows)} rows that the other limits leave "
            f"(of {len(labels)} in all); ask for at most {len(rows)}, or widen the classes or the percentile"
        )
    order = np.lexsort((ranks, labels[rows], ranks // per_cycle))  # last key first: cycle, class, place in the class
    return rows[order][:num_samples]


def choose_classes(
    labels: Int64[np.ndarray, " N"], *, num_classes: int | None, target_classes: Sequence[int] | None, seed: int
) -> Int64[np.ndarray, " K"]:
    """The classes to use, in the order of choice: raising `num_classes` keeps those that were chosen."""
    present = np.unique(labels)
    if target_classes is None:
        wanted = stream(seed, "select-classes").permutation(present)
    else:
        wanted = np.asarray(target_classes, np.int64)
        _check_targets(wanted, present)
    if num_classes is not None and num_classes > len(wanted):
        where = "this source" if target_classes is None else "target_classes"
        raise ValueError(
            f"num_classes {num_classes} is more than the {len(wanted)} classes of {where}; "
            f"ask for at most {len(wanted)}, or null for all of them"
        )
    return wanted[:num_classes]


def _check_targets(wanted: Int64[np.ndarray, " K"], present: Int64[np.ndarray, " P"]) -> None:
    if not len(wanted):
        raise ValueError("target_classes names no class; name at least one, or give null for all")
    if len(np.unique(wanted)) != len(wanted):
        twice = next(c for c in wanted.tolist() if np.count_nonzero(wanted == c) > 1)
        raise ValueError(f"target_classes names class {twice} more than once; name each class once")
    absent = wanted[~np.isin(wanted, present)].tolist()
    if absent:
        raise ValueError(
            f"target_classes asks for class {absent[0]} ({len(absent)} of {len(wanted)} have no image here); "
            f"this source has images of {len(present)} classes: leave the others out"
        )


def _usable(scores: np.ndarray | None, rows: int) -> Float[np.ndarray, " N"]:
    if scores is None:
        raise ValueError("percentile needs scores, one per row; give them, or set percentile to null")
    if scores.shape != (rows,):
        raise ValueError(f"scores have shape {scores.shape}; give one per row of the source, ({rows},)")
    values = scores.astype(np.float64)
    if np.isinf(values).any():
        raise ValueError(f"scores hold inf (row {int(np.isinf(values).argmax())}); give finite ones, NaN for none")
    return values


def scored_between(
    scores: Float[np.ndarray, " N"], among: Bool[np.ndarray, " N"], low: float, high: float
) -> Bool[np.ndarray, " N"]:
    """Rows whose score lies from the low to the high percentile of the scores of the rows `among`, ends included."""
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentile ({low:g}, {high:g}) is no range; give 0 <= low < high <= 100, such as (0, 10)")
    among = among & ~np.isnan(scores)
    if not among.any():
        raise ValueError(
            "no row of the chosen classes has a score (all are NaN); score them, or set percentile to null"
        )
    bounds = np.percentile(scores[among], [low, high])
    within = among & (scores >= bounds[0]) & (scores <= bounds[1])
    if not within.any():
        raise ValueError(
            f"percentile ({low:g}, {high:g}) keeps none of the {np.count_nonzero(among)} scored rows: it lies between "
            "two of them; widen it"
        )
    return within


def _shuffled_by_class(
    labels: Int64[np.ndarray, " N"], kept: Bool[np.ndarray, " N"], seed: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Kept rows, class after class, each class in its own seeded order; and each row's place in its class.

    All rows of a class are permuted before those not kept are dropped: what is kept decides which rows, not their order.
    """
    rows, ranks = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    by_class = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[by_class])) + 1
    for members in np.split(by_class, starts):
        if kept[members].any():
            order = stream(seed, "select-rows", int(labels[members[0]])).permutation(members)
            rows.append(order[kept[order]])
            ranks.append(np.arange(len(rows[-1])))
    return np.concatenate(rows), np.concatenate(ranks)


def _check_one_cycle(labels: Int64[np.ndarray, " n"], chosen: Int64[np.ndarray, " K"], samples_per_class: int) -> None:
    counts = np.bincount(labels, minlength=int(chosen.max()) + 1)[chosen]
    fewest, smallest = counts.min(), chosen[counts.argmin()]
    if fewest < samples_per_class:
        raise ValueError(
            f"samples_per_class {samples_per_class} is more than the {fewest} rows of class {smallest} "
            f"({np.count_nonzero(counts < samples_per_class)} of {len(chosen)} classes have too few); ask for at most "
            f"{fewest}, or give num_samples, with which classes that are used up are skipped"
        )


def histogram_labels(real_labels: Int64[np.ndarray, " N"], indices: Int64[np.ndarray, " M"]) -> Int64[np.ndarray, " M"]:
    """Labels of generated samples that follow the real selection: N samples have its histogram, and so has every N more.

    The real labels are taken in turn, one of each class per cycle, so that fewer samples are as even as can be; sample i
    has the label at place i mod N of that order, which stays when a balanced selection grows.
    """
    if not len(real_labels):
        raise ValueError(
            "real_labels is empty: there is no real image to follow; run `prepare` on a source with images"
        )
    by_class = np.argsort(real_labels, kind="stable")
    _, starts, counts = np.unique(real_labels[by_class], return_index=True, return_counts=True)
    cycle = np.arange(len(real_labels)) - np.repeat(starts, counts)
    in_turn = real_labels[by_class][np.lexsort((real_labels[by_class], cycle))]
    return in_turn[indices % len(real_labels)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Images per class, of the classes that have any: `classes` ascending, with their names and counts."""

    classes: tuple[int, ...]
    names: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def fewest(self) -> int:
        return min(self.counts, default=0)

    @property
    def most(self) -> int:
        return max(self.counts, default=0)

    @property
    def ratio(self) -> float:
        """The largest class over the smallest; 1 is balance."""
        return self.most / self.fewest if self.counts else 1.0

    def __str__(self) -> str:
        """One line: `10 classes, 174 to 183 images each`."""
        classes = "1 class" if len(self.counts) == 1 else f"{len(self.counts)} classes"
        each = "" if len(self.counts) < 2 else " each"
        count = f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{classes}, {count} {'image' if self.most == 1 else 'images'}{each}"


def balance(labels: Int64[np.ndarray, " N"], class_names: Sequence[str]) -> Balance:
    """How evenly the classes share the images."""
    found, counts = np.unique(labels, return_counts=True)
    if len(found) and not 0 <= found[0] <= found[-1] < len(class_names):
        raise ValueError(
            f"labels run from {found[0]} to {found[-1]}, but there are {len(class_names)} class names; "
            "give a name for every class"
        )
    names = tuple(class_names[c] for c in found.tolist())
    return Balance(classes=tuple(found.tolist()), names=names, counts=tuple(counts.tolist()))


def spread(rows: int, most: int, seed: int) -> Int64[np.ndarray, " n"]:
    """All of `rows` rows, or a seeded choice of `most` of them, rising."""
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(stream(seed, "spread").choice(rows, most, replace=False)).astype(np.int64)
