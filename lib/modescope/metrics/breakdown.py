"""What the global scores hide: classes, intervals, mode collapse, and what real samples would score themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from scipy.special import ndtri
from torch import Tensor

from modescope import seeds
from modescope.metrics.manifolds import Memberships, check_labels, paired
from modescope.neighbours import Features, as_points

Score = TypeVar("Score")


def per_class(
    members: Memberships, real_labels: Shaped[np.ndarray, " N"], fake_labels: Shaped[np.ndarray, " M"]
) -> pd.DataFrame:
    """A row per class that occurs: class_id, real and fake (counts), precision, recall, density, coverage.

    Recall and coverage are over the class's real samples, precision and density over the samples generated for it,
    each against all samples of the other side. A score without samples is missing (nan), not 0.
    """
    check_labels(real_labels, len(members.real_radii), "real_labels")
    check_labels(fake_labels, len(members.fake_radii), "fake_labels")
    classes = np.union1d(real_labels, fake_labels)
    on_real = pd.DataFrame({"recall": members.recalled, "coverage": members.covered}).astype(float)
    on_fake = pd.DataFrame({"precision": members.precise, "density": members.real_balls / members.k}).astype(float)
    return pd.DataFrame(
        {
            "class_id": classes,
            "real": _count(real_labels, classes),
            "fake": _count(fake_labels, classes),
            "precision": on_fake["precision"].groupby(fake_labels).mean().reindex(classes).to_numpy(),
            "recall": on_real["recall"].groupby(real_labels).mean().reindex(classes).to_numpy(),
            "density": on_fake["density"].groupby(fake_labels).mean().reindex(classes).to_numpy(),
            "coverage": on_real["coverage"].groupby(real_labels).mean().reindex(classes).to_numpy(),
        }
    )


def _count(labels: Shaped[np.ndarray, " N"], classes: Shaped[np.ndarray, " K"]) -> Int64[np.ndarray, " K"]:
    return pd.Series(labels).value_counts().reindex(classes, fill_value=0).to_numpy(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    value: float
    standard_error: float
    low: float
    high: float


def intervals(
    members: Memberships,
    *,
    level: float = 0.95,
    real_rows: Bool[np.ndarray, " N"] | None = None,
    fake_rows: Bool[np.ndarray, " M"] | None = None,
) -> dict[str, Interval]:
    """Confidence intervals of precision, recall, density and coverage, of all samples or of the chosen rows.

    Two jackknife variances, added: leaving out each sample that is scored, and each of the other side that scores it.
    Both come from the stored counts; the radii stay as they are (bootstrapping them would make radii of 0). The error
    leans to the large side (Efron and Stein 1981): near a coverage or recall of 1 it is up to twice the true one.
    Normal limits, cut to the possible range; nan without scored samples.
    """
    if not 0 < level < 1:
        raise ValueError(f"level = {level}; a confidence level lies between 0 and 1, for example 0.95")
    n, m, k = len(members.real_radii), len(members.fake_radii), members.k
    real = np.ones(n, bool) if real_rows is None else real_rows
    fake = np.ones(m, bool) if fake_rows is None else fake_rows
    z = float(ndtri((1 + level) / 2))
    # Without sample i of the other side, what it alone held is lost.
    lost = {
        "precision": np.bincount(members.only_real_ball[fake & (members.real_balls == 1)], minlength=n),
        "recall": np.bincount(members.only_recalling[real & (members.recalling_balls == 1)], minlength=m),
        "density": members.fakes_in_reach / k if fake_rows is None else np.zeros(n),
        "coverage": np.bincount(members.only_fake_in_reach[real & (members.fakes_in_reach == 1)], minlength=m),
    }
    scored = {
        "precision": members.precise[fake].astype(float),
        "recall": members.recalled[real].astype(float),
        "density": members.real_balls[fake] / k,
        "coverage": members.covered[real].astype(float),
    }
    return {name: _interval(scored[name], lost[name], z, 1.0 if name != "density" else np.inf) for name in scored}


def _interval(scored: Float64[np.ndarray, " R"], lost: np.ndarray, z: float, top: float) -> Interval:
    count, others = len(scored), len(lost)
    if count < 2:
        value = float(scored[0]) if count else float("nan")
        return Interval(value=value, standard_error=float("nan"), low=float("nan"), high=float("nan"))
    value = float(scored.mean())
    variance = scored.var(ddof=1) / count + (others - 1) * (lost / count).var()
    error = float(np.sqrt(variance))
    return Interval(
        value=value, standard_error=error, low=max(0.0, value - z * error), high=min(top, value + z * error)
    )


def half_vs_half(real: Features, score: Callable[[Tensor, Tensor], Score], *, seed: int) -> Score:
    """What `score(real, fake)` gives when a random half of the real samples stands in for the fake ones.

    The null of every score without a closed form. Mind that a half has half the samples: compare like with like, by
    scoring as many fake samples against as many real ones.
    """
    points = as_points(real, "real")
    if len(points) < 2:
        raise ValueError("real has 1 sample; two halves need at least 2: add samples")
    order = torch.from_numpy(seeds.stream(seed, "half versus half").permutation(len(points))).to(points.device)
    half = len(points) // 2
    return score(points[order[half : 2 * half]], points[order[:half]])


def per_class_spread(
    real: Features, fake: Features, real_labels: Shaped[np.ndarray, " N"], fake_labels: Shaped[np.ndarray, " M"]
) -> pd.DataFrame:
    """A row per class: class_id, real, fake, spread_ratio, centroid_shift, shift_null. Mode collapse shows here.

    The spread of a class is the root of the trace of its covariance (over n - 1). `spread_ratio` is fake over real: 1
    under equal laws, near 0 for a generator that makes one image per class. `centroid_shift` is the distance between
    the class means in units of the real spread; `shift_null` is its root mean square under equal laws, sqrt(1/n + 1/m).
    Missing (nan) below 2 samples on either side, or where the real spread is 0.
    """
    x, y = paired(real, fake)
    check_labels(real_labels, len(x), "real_labels")
    check_labels(fake_labels, len(y), "fake_labels")
    rows = [
        _class_spread(label, x[_rows(real_labels, label, x)], y[_rows(fake_labels, label, y)])
        for label in np.union1d(real_labels, fake_labels).tolist()
    ]
    return pd.DataFrame(rows)


def _rows(labels: Shaped[np.ndarray, " N"], label: int | str, points: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(labels == label)).to(points.device)


def _class_spread(label: int | str, x: Tensor, y: Tensor) -> dict[str, float | int | str]:
    n, m = len(x), len(y)
    row: dict[str, float | int | str] = {"class_id": label, "real": n, "fake": m}
    spread = _spread(x) if n > 1 else 0.0
    if m < 2 or spread == 0:
        return row | dict.fromkeys(("spread_ratio", "centroid_shift", "shift_null"), float("nan"))
    shift = float(torch.linalg.vector_norm(x.mean(0, dtype=torch.float64) - y.mean(0, dtype=torch.float64)))
    return row | {
        "spread_ratio": _spread(y) / spread,
        "centroid_shift": shift / spread,
        "shift_null": (1 / n + 1 / m) ** 0.5,
    }


def _spread(points: Tensor) -> float:
    return float(points.double().var(dim=0).sum().sqrt())
