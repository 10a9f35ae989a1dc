"""Precision, recall, density and coverage from one pass over the distances, with every sample's own membership.

The manifold of a set is the union of balls around its samples that reach to their k-th nearest neighbour in the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from modescope.metrics.expectations import good_share
from modescope.neighbours import Balls, Cloud, Features, Journal, Nearest, as_points, clouds, count_balls, nearest


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
            coverage=good_share(reached, len(self.real_radii), len(self.fake_radii), self.k),
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
    journal: Journal | None = None,
) -> dict[int, Memberships]:
    """Memberships at several k from one pass. `closed` counts a sample at exactly the radius as inside.

    `real_nearest` is `neighbours.nearest` of the real samples with at least max(ks) neighbours: it depends on them
    alone and can be kept. `chunk` bounds the memory (see `neighbours.nearest`), `journal` reports progress and keeps
    finished passes; neither changes a result.
    """
    x, y = paired(real, fake)
    return sweep_points(x, y, ks, closed=closed, real_nearest=real_nearest, chunk=chunk, journal=journal)


def sweep_points(
    x: Tensor,
    y: Tensor,
    ks: Sequence[int],
    *,
    closed: bool = False,
    real_nearest: Nearest | None = None,
    chunk: int | None = None,
    journal: Journal | None = None,
) -> dict[int, Memberships]:
    """`sweep` of what `paired` has checked."""
    both = Manifolds.of(x, y, ks, closed=closed, real_nearest=real_nearest, chunk=chunk, journal=journal)
    around_x, around_y = both.reach()
    return both.memberships(*count_balls(x, y, around_x, around_y, chunk=chunk, ready=both.ready, journal=journal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifolds:
    """Both sets with their radii at S values of k: what can be said before the sets are held against each other."""

    ks: tuple[int, ...]
    closed: bool
    ready: tuple[Cloud, Cloud]
    near_x: Nearest
    radii_x: Float64[Tensor, "S N"]  # squared, as all below
    radii_y: Float64[Tensor, "S M"]
    clipped: Float64[Tensor, "S N"]

    @classmethod
    def of(
        cls,
        x: Tensor,
        y: Tensor,
        ks: Sequence[int],
        *,
        depth: int = 0,
        closed: bool = False,
        real_nearest: Nearest | None = None,
        ready: tuple[Cloud, Cloud] | None = None,
        chunk: int | None = None,
        journal: Journal | None = None,
    ) -> Manifolds:
        """`depth` neighbours of the real samples are found at least; `ready` is both sets where the caller has that."""
        check_ks(ks, x, y)
        deepest = max(ks)
        # Else about its own centre: fake samples may lie far from the real ones.
        near_y = nearest(y, deepest, chunk=chunk, cloud=ready and ready[1], journal=journal, name="fake")
        one, two = ready or clouds(x, y)
        if real_nearest is None:
            near_x = nearest(x, max(depth, deepest), chunk=chunk, cloud=one, journal=journal, name="real")
        else:
            near_x = _checked(real_nearest, x, max(depth, deepest))
        last = torch.tensor([k - 1 for k in ks])
        radii_x, radii_y = near_x.squared[:, last].T, near_y.squared[:, last].T
        return cls(
            ks=tuple(ks),
            closed=closed,
            ready=(one, two),
            near_x=near_x,
            radii_x=radii_x,
            radii_y=radii_y,
            clipped=torch.minimum(radii_x, _median(radii_x)),
        )

    def reach(self) -> tuple[Float64[Tensor, "T N"], Float64[Tensor, "S M"]]:
        """Squared radii of open balls: around the real samples those of every k, then the clipped ones."""
        radii = [wider(r) if self.closed else r for r in (self.radii_x, self.radii_y)]
        return torch.cat([radii[0], wider(self.clipped)]), radii[1]

    def memberships(self, around_x: Balls, around_y: Balls) -> dict[int, Memberships]:
        return {k: self._memberships(k, row, around_x, around_y) for row, k in enumerate(self.ks)}

    def _memberships(self, k: int, row: int, around_x: Balls, around_y: Balls) -> Memberships:
        near, total = self.near_x, len(self.ks)
        within = near.squared[:, :k] <= self.clipped[row][:, None]
        real_clipped = torch.bincount(near.indices[:, :k][within], minlength=len(near.indices))
        return Memberships(
            k=k,
            real_radii=_numpy(self.radii_x[row].sqrt()),
            fake_radii=_numpy(self.radii_y[row].sqrt()),
            fakes_in_reach=_numpy(around_x.inside[row]),
            recalling_balls=_numpy(around_y.holding[row]),
            real_balls=_numpy(around_x.holding[row]),
            clipped_balls=_numpy(around_x.holding[total + row]),
            real_clipped_balls=_numpy(real_clipped),
            only_fake_in_reach=_only(around_x.inside[row], around_x.inside_sum[row]),
            only_recalling=_only(around_y.holding[row], around_y.holding_sum[row]),
            only_real_ball=_only(around_x.holding[row], around_x.holding_sum[row]),
        )


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


def check_labels(labels: np.ndarray, count: int, name: str) -> None:
    if labels.shape != (count,):
        raise ValueError(f"{name} has shape {labels.shape} for {count} samples; pass one label per sample")


def check_ks(ks: Sequence[int], x: Tensor, y: Tensor) -> None:
    for name, points in (("real", x), ("fake", y)):
        if not 1 <= min(ks, default=0) <= max(ks, default=0) < len(points):
            raise ValueError(
                f"k = {list(ks)} with {len(points)} {name} samples: every k must be at least 1 and smaller than the "
                f"number of samples; use a k up to {len(points) - 1} or more {name} samples"
            )


def _checked(near: Nearest, x: Tensor, k: int) -> Nearest:
    rows, depth = near.squared.shape
    if rows != len(x) or depth < k:
        raise ValueError(
            f"real_nearest holds {depth} neighbours of {rows} samples; here {k} neighbours of {len(x)} samples are "
            "needed: compute it from these real samples with neighbours.nearest(real, max(ks))"
        )
    return Nearest(squared=near.squared.to(x.device), indices=near.indices.to(x.device))


def wider(squared: Tensor) -> Tensor:
    return torch.nextafter(squared, torch.full_like(squared, torch.inf))  # d <= r is d < the float64 after r


def _median(squared: Float64[Tensor, "S N"]) -> Float64[Tensor, "S 1"]:
    """Squared median radius: for an even N the mean of the two middle radii."""
    ordered = squared.sqrt().sort(dim=1).values
    n = ordered.shape[1]
    return ordered[:, [(n - 1) // 2, n // 2]].mean(dim=1, keepdim=True).square()


def _only(count: Tensor, index_sum: Tensor) -> np.ndarray:
    return _numpy(torch.where(count == 1, index_sum, -1))


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
