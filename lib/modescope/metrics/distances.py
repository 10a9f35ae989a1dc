"""Frechet and kernel distance between two sets of features, in float64, with their bias or standard error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from modescope import seeds
from modescope.metrics.manifolds import paired
from modescope.neighbours import Features, as_points

_ROWS = 4096


def frechet_distance(real: Features, fake: Features) -> float:
    """|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), covariances over N - 1 (Heusel et al. 2017).

    With A^T A = (N - 1) S_1 and B^T B = (M - 1) S_2 the trace of the root is the nuclear norm of A B^T over
    sqrt((N - 1)(M - 1)). A is the centred samples, or their triangular factor where they outnumber the dimensions: no
    covariance is formed, so a singular one costs no accuracy. Features (N, D), (M, D) with N, M >= 2.
    The value is biased upwards at finite N and M, see `frechet_bias`.
    """
    x, y = paired(real, fake)
    return frechet_of(factored(x, "real"), factored(y, "fake"))


@dataclass(frozen=True, slots=True)
class Factored:
    """The mean, and a factor F with F^T F the covariance."""

    mean: Float64[Tensor, " D"]
    factor: Float64[Tensor, "R D"]


def factored(points: Tensor, name: str) -> Factored:
    n, width = points.shape
    if n < 2:
        raise ValueError(f"{name} has {n} sample; a covariance needs at least 2: add samples")
    mean = points.mean(dim=0, dtype=torch.float64)
    factor = torch.empty((0, width), dtype=torch.float64, device=points.device)
    step = max(_ROWS, 2 * width)
    for start in range(0, n, step):
        factor = torch.cat([factor, points[start : start + step].double() - mean])
        if len(factor) > width:
            factor = torch.linalg.qr(factor, mode="r").R
    return Factored(mean, factor / (n - 1) ** 0.5)


def frechet_of(a: Factored, b: Factored) -> float:
    root = torch.linalg.svdvals(a.factor @ b.factor.T).sum()
    spread = a.factor.square().sum() + b.factor.square().sum() - 2 * root
    return float((a.mean - b.mean).square().sum() + spread.clamp(min=0))


def frechet_bias(real: Features, n: int, m: int) -> float:
    """What `frechet_distance` is expected to be between n and m samples of one Gaussian with the covariance of `real`.

    To first order in 1/n and 1/m, with eigenvalues l of the covariance: (1/n + 1/m) sum l for the means, and
    (1/(n-1) + 1/(m-1)) sum_ij l_i l_j (1 + [i = j]) / (2 (l_i + l_j)) for the covariances. For the identity and n = m
    it is 2 d/n + d (d + 1) / (2 (n - 1)). Good when n and m are well above the number of dimensions
    that carry variance.
    """
    if n < 2 or m < 2:
        raise ValueError(f"n = {n}, m = {m}: a covariance needs at least 2 samples; add samples")
    factor = factored(as_points(real, "real"), "real").factor
    values = torch.linalg.eigvalsh(factor @ factor.T if len(factor) <= factor.shape[1] else factor.T @ factor)
    values = values[values > values.max() * 1e-12]
    pairs = values[:, None] * values / (2 * (values[:, None] + values))
    means = values.sum() * (1 / n + 1 / m)
    return float(means + (pairs.sum() + pairs.diagonal().sum()) * (1 / (n - 1) + 1 / (m - 1)))


def frechet_extrapolated(real: Features, fake: Features, *, seed: int, points: int = 8) -> float:
    """Frechet distance at infinitely many fake samples: a line in 1/m through subsamples of m = M/2 .. M, at 1/m = 0.

    Removes the bias that comes from the number of fake samples, not that of the real ones. Noisier than the plain
    value. Source: Chong and Forsyth 2020, arXiv 1911.07023 (with plain random subsamples).
    """
    x, y = paired(real, fake)
    if points < 2 or len(y) < 4:
        raise ValueError(f"points = {points} with {len(y)} fake samples: a line needs 2 sizes of 2 samples or more")
    reference, sizes = factored(x, "real"), np.linspace(len(y) // 2, len(y), points).astype(int)
    values = []
    for turn, size in enumerate(sizes):
        chosen = seeds.stream(seed, "frechet subsample", turn).permutation(len(y))[:size]
        values.append(frechet_of(reference, factored(y[torch.from_numpy(np.sort(chosen))], "fake")))
    return float(np.polynomial.polynomial.polyfit(1 / sizes, values, 1)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDistance:
    """An unbiased estimate (it may be negative) and its standard error."""

    value: float
    standard_error: float


def kernel_distance(real: Features, fake: Features) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3: see `kernel_estimate`."""
    return kernel_estimate(real, fake).value


def kernel_estimate(real: Features, fake: Features, *, chunk: int = 1024) -> KernelDistance:
    """Kernel distance as a U-statistic over all pairs, with its jackknife standard error (Binkowski et al. 2018, KID).

    Unbiased, so negative values are legal: they mean that no difference is visible. The standard error leaves out one
    sample at a time, of both sets, from the row sums of the kernel. Needs 3 samples a side. `chunk` samples a side
    make a block of the kernel, which bounds the memory.
    """
    x, y = paired(real, fake)
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise ValueError(f"{n} real and {m} fake samples; the kernel distance needs at least 3 of each: add samples")
    ones_x, ones_y = (torch.ones(len(points), 1, dtype=torch.float64, device=x.device) for points in (x, y))
    within_x, within_y = (kernel_within(p, w, chunk=chunk)[:, 0] for p, w in ((x, ones_x), (y, ones_y)))
    across_x, across_y = (sums[:, 0] for sums in kernel_across(x, y, ones_x, ones_y, chunk=chunk))
    across = across_x.sum() / (n * m)
    value = within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2 * across
    variance = _jackknife(within_x, across_x, m) + _jackknife(within_y, across_y, n)
    return KernelDistance(value=float(value), standard_error=float(variance**0.5))


def _jackknife(within: Float64[Tensor, " N"], across: Float64[Tensor, " N"], others: int) -> Tensor:
    """Variance from leaving out each of N samples: what is left of the sums that it takes part in."""
    n = len(within)
    left = (within.sum() - 2 * within) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / ((n - 1) * others)
    return (left - left.mean()).square().sum() * (n - 1) / n


def _kernel(x: Tensor, y: Tensor) -> Float64[Tensor, "B W"]:
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def kernel_within(x: Tensor, weights: Float64[Tensor, "N W"], *, chunk: int = 1024) -> Float64[Tensor, "N W"]:
    """For each sample, the weighted sums of its kernel with all others; it is symmetric, so half of it is computed."""
    sums = torch.zeros_like(weights)
    for rows in _blocks(len(x), chunk):
        for columns in _blocks(len(x), chunk):
            if columns.start < rows.start:
                continue
            kernel = _kernel(x[rows], x[columns])
            if rows == columns:
                kernel.fill_diagonal_(0)
            else:
                sums[columns] += kernel.T @ weights[rows]
            sums[rows] += kernel @ weights[columns]
    return sums


def kernel_across(
    x: Tensor, y: Tensor, weights_x: Float64[Tensor, "N W"], weights_y: Float64[Tensor, "M V"], *, chunk: int = 1024
) -> tuple[Float64[Tensor, "N V"], Float64[Tensor, "M W"]]:
    """For each sample, the sums of its kernel with all of the other set, weighted by theirs."""
    sums_x, sums_y = weights_x.new_zeros(len(x), weights_y.shape[1]), weights_y.new_zeros(len(y), weights_x.shape[1])
    for rows in _blocks(len(x), chunk):
        for columns in _blocks(len(y), chunk):
            kernel = _kernel(x[rows], y[columns])
            sums_x[rows] += kernel @ weights_y[columns]
            sums_y[columns] += kernel.T @ weights_x[rows]
    return sums_x, sums_y
