"""What equal laws score: closed forms that hold for every continuous law in any dimension."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import betaln, gammaln


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
    share = np.exp(_log_choose(m, j) + betaln(k + j, n - k + m - j) - betaln(k, n - k))
    return float(1 - np.sum((k - j) * share) / k)


def good_share(reached: float, n: int, m: int, k: int) -> float:
    """The share of m samples that, drawn from the real law, would score `reached`: the inverse of the expectation."""
    low, high = 0, m
    if reached >= expected_clipped_coverage(n, m, k):
        return 1.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if expected_clipped_coverage(n, middle, k) <= reached else (low, middle)
    below, above = (expected_clipped_coverage(n, count, k) for count in (low, high))
    return (low + (reached - below) / (above - below)) / m


def gap_scales(n: int, m: int, *, rate: float = 0.05, count: int = 3) -> tuple[int, ...]:
    """Numbers of real neighbours that set the balls in which `gaps` looks for m fake samples among n real ones.

    The smallest is the first at which an empty ball alone passes the test of `gaps`: under equal laws a ball is empty
    with probability of about (n / (n + m))^K. The others are 2, 4, ... times as many; none is above a quarter of n.
    """
    _check_counts(n, m, 1)
    harmonic = np.log(n) + np.euler_gamma
    empty = np.log(n * count * harmonic / rate) / np.log1p(max(m, 1) / n)
    most = max(1, n // 4)
    return tuple(sorted({min(int(np.ceil(empty)) << step, most) for step in range(count)}))


def too_few_p(n: int, m: int, k: int, found: Int64[np.ndarray, ...]) -> Float64[np.ndarray, ...]:
    """P(at most `found` of m fake samples lie nearer than the k-th of n - 1 other real ones), under equal laws.

    Ordered by distance, the other samples of both sets come in random order, and the number of fake ones before the
    k-th real one is negative hypergeometric: j of them with probability C(k - 1 + j, j) C(n - 1 - k + m - j, m - j) /
    C(n - 1 + m, m), exact in any dimension. With ties (counted as found) the sum errs to the large side.
    """
    _check_counts(n, m, k)
    j = np.arange(min(int(found.max(initial=0)), m) + 1)
    logs = _log_choose(k - 1 + j, j) + _log_choose(n - 1 - k + m - j, m - j) - _log_choose(n - 1 + m, m)
    tails = np.minimum(np.cumsum(np.exp(logs)), 1.0)
    return tails[np.minimum(found, m)]


def _log_choose(n: Int64[np.ndarray, ...] | int, k: Int64[np.ndarray, ...] | int) -> Float64[np.ndarray, ...]:
    return np.asarray(gammaln(np.add(n, 1)) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1))
