"""Mode coverage at one threshold for all samples, and how far the whole distribution moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from scipy.special import gammaln

from modescope.metrics.comparison import Comparison
from modescope.metrics.manifolds import paired
from modescope.neighbours import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeCoverage:
    """Share of real samples with a generated one within `threshold`, and what equal laws would score."""

    value: float
    standard_error: float  # over the real samples
    expected: float
    threshold: float
    covered: Bool[np.ndarray, " N"]


def mode_coverage(comparison: Comparison, *, level: float = 0.95, k: int = 1) -> ModeCoverage:
    """The threshold is the `level` quantile of the distances from real samples to their k-th nearest other real one.

    Unlike coverage, whose reach grows where real samples are rare, this asks the same closeness everywhere, on any
    space: features or map. `expected` puts random other real samples in place of the generated ones (extrapolated where
    there are more generated than real ones); `among_real` must reach deep enough that a sample with all of its
    neighbours within the threshold is nearly sure to be covered.
    """
    depth = comparison.among_real.distances.shape[1]
    if not 0 < level < 1 or not 1 <= k <= depth:
        raise ValueError(
            f"level = {level}, k = {k}: level lies between 0 and 1 and k from 1 to the {depth} neighbours at hand; "
            "the defaults are 0.95 and 1"
        )
    threshold = float(np.quantile(comparison.among_real.distances[:, k - 1], level, method="inverted_cdf"))
    covered = comparison.real_to_fake.distances[:, 0] <= threshold
    within = (comparison.among_real.distances <= threshold).sum(axis=1)
    return ModeCoverage(
        value=float(covered.mean()),
        standard_error=float(covered.std() / len(covered) ** 0.5),
        expected=1 - _missed(within, comparison.real - 1, comparison.fake),
        threshold=threshold,
        covered=covered,
    )


def _missed(within: Int64[np.ndarray, " N"], others: int, m: int) -> float:
    """Mean of P(none of `within` marked among `others` is drawn in m draws without replacement).

    Unbiased up to m = others; beyond, the power law in m through the values at half of the others and at all of them.
    """
    if m > others:
        half, whole = _missed(within, others, max(1, others // 2)), _missed(within, others, others)
        return whole * (whole / half) ** np.log2(m / others) if half else 0.0
    left = others - within
    possible = left >= m
    last = np.where(possible, left - m, 0)
    logs = gammaln(left + 1) - gammaln(last + 1) - gammaln(others + 1) + gammaln(others - m + 1)
    return float(np.where(possible, np.exp(logs), 0.0).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Distance between the centroids in units of the real spread; `null` is its root mean square under equal laws."""

    value: float
    null: float


def distribution_shift(real: Features, fake: Features) -> Shift:
    """How far the mean moved, over the root of the trace of the real covariance; per class see `per_class_spread`."""
    x, y = paired(real, fake)
    if len(x) < 2:
        raise ValueError("real has 1 sample; a spread needs at least 2: add samples")
    spread = float(x.double().var(dim=0).sum().sqrt())
    apart = float(torch.linalg.vector_norm(x.mean(0, dtype=torch.float64) - y.mean(0, dtype=torch.float64)))
    return Shift(value=apart / spread if spread else float("nan"), null=(1 / len(x) + 1 / len(y)) ** 0.5)
