"""Precision, recall, density and coverage from one pass over the distances, with every sample's own membership.

The manifold of a set is the union of balls around its samples that reach to their k-th nearest neighbour in the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from scipy.special import betaln, gammaln
from torch import Tensor

from modescope.neighbours import Balls, Features, Nearest, as_points, count_balls, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Prdc:
    """Shares in [0, 1], except density, which is >= 0 and 1 on average under equal laws (Naeem et al. 2020)."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecall:
    precision: float
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """Clipped density and clipped coverage, in [0, 1]: 1 - x is about the share of bad samples (Salvy et al. 2026)."""

    density: float
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """Which of N real and M fake samples lie in whose balls, at one k. Rows are in the order of the input.

    From these counts come the scores of any part of the samples, without another distance: a class, a subsample, all
    but one. The `only_*` arrays name the one sample behind a count of 1 (and are -1 elsewhere).
    """

    k: int
    real_radii: Float64[np.ndarray, " N"]  # distance of each real sample to its k-th nearest other real one
    fake_radii: Float64[np.ndarray, " M"]
    fakes_in_reach: Int64[np.ndarray, " N"]  # fake samples within the ball of each real one
    recalling_balls: Int64[np.ndarray, " N"]  # balls of fake samples that each real one lies in
    real_balls: Int64[np.ndarray, " M"]  # balls of real samples that each fake one lies in
    clipped_balls: Int64[np.ndarray, " M"]  # the same for closed balls of at most the median real radius
    real_clipped_balls: Int64[np.ndarray, " N"]  # such balls of other real samples that each real one lies in
    only_fake_in_reach: Int64[np.ndarray, " N"]
    only_recalling: Int64[np.ndarray, " N"]
    only_real_ball: Int64[np.ndarray, " M"]

    @property
    def covered(self) -> Bool[np.ndarray, " N"]:
        return self.fakes_in_reach > 0

    @property
    def recalled(self) -> Bool[np.ndarray, " N"]:
        return self.recalling_balls > 0

    @property
    def precise(self) -> Bool[np.ndarray, " M"]:
        return self.real_balls > 0

    def prdc(self) -> Prdc:
        return Prdc(
            precision=float(self.precise.mean()),
            recall=float(self.recalled.mean()),
            density=float(self.real_balls.mean() / self.k),
            coverage=float(self.covered.mean()),
        )

    def clipped(self) -> Clipped:
        """Clipped density and coverage (Salvy et al. 2026, arXiv 2507.01761, with the authors' reference code).

        Density: radii clipped at their median, balls closed, a sample's count clipped at k; then over the score that
        the real samples get from each other, and at most 1. Coverage: a ball's count of fake samples clipped at k; then
        mapped to the number of good samples that is expected to score so. The reference takes the next whole number
        over M + 1; here it is interpolated, over M. nan where all real radii are 0.
        """
        ideal = np.minimum(self.real_clipped_balls / self.k, 1).mean()
        density = np.minimum(self.clipped_balls / self.k, 1).mean()
        reached = float(np.minimum(self.fakes_in_reach / self.k, 1).mean())
        return Clipped(
            density=float(min(density / ideal, 1.0)) if ideal else float("nan"),
            coverage=_good_share(reached, len(self.real_radii), len(self.fake_radii), self.k),
        )


def prdc(real: Features, fake: Features, k: int = 5, *, chunk: int | None = None) -> Prdc:
    """Precision, recall, density and coverage of `fake` (M, D) against `real` (N, D); every comparison is strict.

    Precision and density are about fidelity, recall and coverage about diversity. A single real outlier can raise
    precision and density; coverage and the clipped pair of `memberships(...).clipped()` hardly move. All depend on
    N, M and k: compare with `expected_coverage` and with real samples in place of the fake ones.
    ValueError when a set has fewer than k + 1 samples, the widths differ, or a value is not finite.
    Source: Naeem et al. 2020, arXiv 2002.09797; the same values as PyPI `prdc`.
    """
    return memberships(real, fake, k, chunk=chunk).prdc()


def improved_precision_recall(
    real: Features, fake: Features, k: int = 3, *, chunk: int | None = None
) -> PrecisionRecall:
    """Precision and recall with closed balls (Kynkaanniemi et al. 2019, arXiv 1904.06991)."""
    scores = sweep(real, fake, (k,), closed=True, chunk=chunk)[k].prdc()
    return PrecisionRecall(precision=scores.precision, recall=scores.recall)


def memberships(real: Features, fake: Features, k: int = 5, *, chunk: int | None = None) -> Memberships:
    """The memberships behind `prdc`, sample by sample."""
    return sweep(real, fake, (k,), chunk=chunk)[k]


def sweep(
    real: Features,
    fake: Features,
    ks: Sequence[int],
    *,
    closed: bool = False,
    real_nearest: Nearest | None = None,
    chunk: int | None = None,
) -> dict[int, Memberships]:
    """Memberships at several k from one pass. `closed` counts a sample at exactly the radius as inside.

    `real_nearest` is `neighbours.nearest` of the real samples with at least max(ks) neighbours: it depends on them
    alone and can be kept. `chunk` bounds the memory (see `neighbours.nearest`) and changes no result.
    """
    x, y = paired(real, fake)
    deepest = max(ks, default=0)
    for name, points in (("real", x), ("fake", y)):
        if not 1 <= min(ks, default=0) <= deepest < len(points):
            raise ValueError(
                f"k = {list(ks)} with {len(points)} {name} samples: every k must be at least 1 and smaller than the "
                f"number of samples; use a k up to {len(points) - 1} or more {name} samples"
            )
    near_x = nearest(x, deepest, chunk=chunk) if real_nearest is None else _checked(real_nearest, len(x), deepest)
    near_y = nearest(y, deepest, chunk=chunk)
    last = torch.tensor([k - 1 for k in ks])
    radii_x, radii_y = near_x.squared[:, last].T, near_y.squared[:, last].T
    clipped = torch.minimum(radii_x, _median(radii_x))
    reach = [_wider(radii) if closed else radii for radii in (radii_x, radii_y)]
    around_x, around_y = count_balls(x, y, torch.cat([reach[0], _wider(clipped)]), reach[1], chunk=chunk)
    return {
        k: _memberships(k, row, len(ks), near_x, radii_x, radii_y, clipped, around_x, around_y)
        for row, k in enumerate(ks)
    }


def paired(real: Features, fake: Features) -> tuple[Tensor, Tensor]:
    """Both sets as tensors (N, D), (M, D); ValueError when they cannot be compared."""
    x, y = as_points(real, "real"), as_points(fake, "fake")
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"real has {x.shape[1]} dimensions and fake has {y.shape[1]}; both must come from the same view: "
            "capture both sides with the same network and layers"
        )
    if x.device != y.device:
        raise ValueError(f"real is on {x.device} and fake on {y.device}; move both to one device")
    return x, y


def _checked(near: Nearest, n: int, k: int) -> Nearest:
    rows, depth = near.squared.shape
    if rows != n or depth < k:
        raise ValueError(
            f"real_nearest holds {depth} neighbours of {rows} samples; here {k} neighbours of {n} samples are needed: "
            "compute it from these real samples with neighbours.nearest(real, max(ks))"
        )
    return near


def _wider(squared: Tensor) -> Tensor:
    return torch.nextafter(squared, torch.full_like(squared, torch.inf))  # d <= r is d < the float64 after r


def _median(squared: Float64[Tensor, "S N"]) -> Float64[Tensor, "S 1"]:
    """Squared median radius: for an even N the mean of the two middle radii."""
    ordered = squared.sqrt().sort(dim=1).values
    n = ordered.shape[1]
    return ordered[:, [(n - 1) // 2, n // 2]].mean(dim=1, keepdim=True).square()


def _memberships(
    k: int,
    row: int,
    total: int,
    near: Nearest,
    radii_x: Tensor,
    radii_y: Tensor,
    clipped: Tensor,
    around_x: Balls,
    around_y: Balls,
) -> Memberships:
    within = near.squared[:, :k] <= clipped[row][:, None]
    real_clipped = torch.bincount(near.indices[:, :k][within], minlength=len(near.indices))
    return Memberships(
        k=k,
        real_radii=_numpy(radii_x[row].sqrt()),
        fake_radii=_numpy(radii_y[row].sqrt()),
        fakes_in_reach=_numpy(around_x.inside[row]),
        recalling_balls=_numpy(around_y.holding[row]),
        real_balls=_numpy(around_x.holding[row]),
        clipped_balls=_numpy(around_x.holding[total + row]),
        real_clipped_balls=_numpy(real_clipped),
        only_fake_in_reach=_only(around_x.inside[row], around_x.inside_sum[row]),
        only_recalling=_only(around_y.holding[row], around_y.holding_sum[row]),
        only_real_ball=_only(around_x.holding[row], around_x.holding_sum[row]),
    )


def _only(count: Tensor, index_sum: Tensor) -> np.ndarray:
    return _numpy(torch.where(count == 1, index_sum, -1))


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()


def expected_coverage(n: int, m: int, k: int) -> float:
    """Coverage that m samples of the real law itself score on average against n real ones: 1 - prod (n-i)/(m+n-i).

    The product runs over i = 1..k. It holds for every continuous law in any dimension (Naeem et al. 2020, appendix):
    the coverage of a perfect generator, and the mark to compare with.
    """
    _check_counts(n, m, k)
    i = np.arange(1, k + 1)
    return float(1 - np.prod((n - i) / (m + n - i)))


def _check_counts(n: int, m: int, k: int) -> None:
    if not 1 <= k < n or m < 0:
        raise ValueError(f"n = {n}, m = {m}, k = {k}: need 1 <= k < n and m >= 0; lower k or add samples")


def expected_clipped_coverage(n: int, m: int, k: int) -> float:
    """The mean of min(fakes in reach, k) / k under equal laws, for m fake samples.

    The number of fakes in a real ball is beta-binomial (m, k, n - k), so
    1 - (1/k) sum_{j<k} (k - j) C(m, j) B(k + j, n - k + m - j) / B(k, n - k)   (Salvy et al. 2026).
    """
    _check_counts(n, m, k)
    j = np.arange(min(k, m + 1))
    choose = gammaln(m + 1) - gammaln(j + 1) - gammaln(m - j + 1)
    share = np.exp(choose + betaln(k + j, n - k + m - j) - betaln(k, n - k))
    return float(1 - np.sum((k - j) * share) / k)


def _good_share(reached: float, n: int, m: int, k: int) -> float:
    """The share of m samples that, drawn from the real law, would score `reached`: the inverse of the expectation."""
    low, high = 0, m
    if reached >= expected_clipped_coverage(n, m, k):
        return 1.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if expected_clipped_coverage(n, middle, k) <= reached else (low, middle)
    below, above = (expected_clipped_coverage(n, count, k) for count in (low, high))
    return (low + (reached - below) / (above - below)) / m
