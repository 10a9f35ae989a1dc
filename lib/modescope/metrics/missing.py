"""Gaps: regions of the real data in which generated samples are missing, with control over false discoveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float64, Int64, Shaped

from modescope.metrics.comparison import Comparison
from modescope.metrics.discovery import benjamini_yekutieli
from modescope.metrics.expectations import too_few_p
from modescope.metrics.manifolds import check_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A region of real samples around each of which significantly few generated ones lie.

    A generated sample belongs to the region when its nearest real sample does. `centre` is the member around which
    the evidence is strongest; around it `scale` real neighbours make the ball that held `centre_found` generated
    samples where equal laws put `centre_expected`.
    """

    rows: Int64[np.ndarray, " R"]  # of the real samples, rising
    centre: int
    expected: float  # generated samples in the region under equal laws
    found: int
    missing: float  # mass: expected less found, as a share of all generated samples
    p_value: float  # of the centre, over all scales
    q_value: float  # the smallest false discovery rate at which the region is still called
    scale: int
    centre_expected: float
    centre_found: int
    classes: Mapping[int | str, int]  # label => real samples of the region, most first; empty without labels

    @property
    def real(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTest:
    """For each real sample: p-value over all scales, q-value, and the scale (its position) with the most evidence."""

    p_values: Float64[np.ndarray, " N"]
    q_values: Float64[np.ndarray, " N"]
    best: Int64[np.ndarray, " N"]


def gaps(
    comparison: Comparison, *, real_labels: Shaped[np.ndarray, " N"] | None = None, rate: float = 0.05
) -> tuple[Gap, ...]:
    """Gaps by missing mass, the largest first; none when no real sample has a q-value of at most `rate`.

    The test is local (see `local_test`). Two called samples belong to one region when one lies in the ball that
    called the other. Under equal laws at most the share `rate` of comparisons shows any gap; in practice far fewer.
    Power is that of the smaller set: with many times more real samples, compare a random part of them, because balls
    grow with N / M. A mode of fewer real samples than the smallest scale is not seen alone.
    ValueError for a rate outside (0, 1), or another number of labels than of real samples.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate = {rate}; a false discovery rate lies between 0 and 1, for example 0.05")
    if real_labels is not None:
        check_labels(real_labels, comparison.real, "real_labels")
    test = local_test(comparison)
    called = np.flatnonzero(test.q_values <= rate)
    region = _regions(comparison, test, called)
    counts = np.bincount(comparison.fake_to_real.rows[:, 0], minlength=comparison.real)
    found = [
        _gap(comparison, test, called[region == r], counts, real_labels) for r in range(region.max(initial=-1) + 1)
    ]
    return tuple(sorted(found, key=lambda gap: (-gap.missing, gap.centre)))


def local_test(comparison: Comparison) -> LocalTest:
    """Are there fewer generated samples around a real one than equal laws would put there?

    Around every real sample the ball to its K-th nearest other real one is looked at, for every scale K. The number of
    generated samples in it is negative hypergeometric under equal laws, whatever the law (`too_few_p`). Scales are
    combined by Bonferroni's rule, samples by that of Benjamini and Yekutieli (2001), which holds under any dependence:
    neighbours share most of their balls.
    """
    n, m = comparison.real, comparison.fake
    p = np.stack([too_few_p(n, m, k, found) for k, found in zip(comparison.scales, comparison.found, strict=True)])
    p_values = np.minimum(p.min(axis=0) * len(p), 1)
    return LocalTest(p_values=p_values, q_values=benjamini_yekutieli(p_values), best=p.argmin(axis=0))


def _regions(comparison: Comparison, test: LocalTest, called: Int64[np.ndarray, " R"]) -> Int64[np.ndarray, " R"]:
    """Number of the region of each called sample: connected where one lies in the ball that called the other."""
    place = np.full(comparison.real, -1)
    place[called] = np.arange(len(called))
    scales = np.array(comparison.scales)[test.best[called]]
    others = place[comparison.among_real.rows[called, : max(comparison.scales)]]
    linked = (others >= 0) & (np.arange(others.shape[1]) < scales[:, None])
    one, two = np.nonzero(linked)[0], others[linked]
    graph = scipy.sparse.coo_array((np.ones(len(one), np.int8), (one, two)), shape=(len(called), len(called)))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def _gap(
    comparison: Comparison,
    test: LocalTest,
    rows: Int64[np.ndarray, " R"],
    counts: Int64[np.ndarray, " N"],
    labels: Shaped[np.ndarray, " N"] | None,
) -> Gap:
    n, m = comparison.real, comparison.fake
    centre = rows[np.argmin(test.p_values[rows])]
    best = test.best[centre]
    expected, found = m * len(rows) / n, int(counts[rows].sum())
    return Gap(
        rows=rows,
        centre=int(centre),
        expected=expected,
        found=found,
        missing=(expected - found) / m,
        p_value=float(test.p_values[centre]),
        q_value=float(test.q_values[centre]),
        scale=comparison.scales[best],
        centre_expected=m * comparison.scales[best] / n,
        centre_found=int(comparison.found[best, centre]),
        classes={} if labels is None else _histogram(labels[rows]),
    )


def _histogram(labels: Shaped[np.ndarray, " R"]) -> dict[int | str, int]:
    names, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return dict(zip(names[order].tolist(), counts[order].tolist(), strict=True))
