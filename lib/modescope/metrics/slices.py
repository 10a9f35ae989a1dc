"""Sliced Wasserstein distance: transport along random lines, where it is a matter of sorting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from modescope import seeds
from modescope.metrics.manifolds import paired
from modescope.neighbours import Features

_LINES = 32  # projected at a time, which bounds the memory to about 1 kB a sample


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicedWasserstein:
    """The distance and its standard error from the finite number of lines (not from that of the samples)."""

    value: float
    standard_error: float
    lines: int


def sliced_wasserstein(real: Features, fake: Features, *, seed: int, lines: int = 256) -> SlicedWasserstein:
    """Root of the mean squared 2-Wasserstein distance along `lines` random directions (Bonneel et al. 2015).

    In units of the features; exact on each line, also for different numbers of samples. At finite numbers it is above
    0 under equal laws: compare with `half_vs_half`. A mean shift s alone gives |s| / sqrt(D) on average over lines.
    Needs 2 lines or more.
    """
    x, y = paired(real, fake)
    if lines < 2:
        raise ValueError(f"lines = {lines}: a standard error needs at least 2 lines; the default is 256")
    squared = torch.cat(
        [_along(x, y, _directions(seed, range(a, min(a + _LINES, lines)), x)) for a in range(0, lines, _LINES)]
    )
    value = squared.mean().sqrt()
    error = squared.std() / lines**0.5 / (2 * value) if value > 0 else torch.zeros(())
    return SlicedWasserstein(value=float(value), standard_error=float(error), lines=lines)


def _directions(seed: int, keys: range, points: Tensor) -> Float64[Tensor, "D L"]:
    """Unit vectors, one column per key."""
    drawn = torch.from_numpy(seeds.normal(seed, "sliced wasserstein", keys, (points.shape[1],))).double()
    return (drawn / drawn.norm(dim=1, keepdim=True)).T.to(points.device)


def _along(x: Tensor, y: Tensor, directions: Float64[Tensor, "D L"]) -> Float64[Tensor, " L"]:
    """Squared 2-Wasserstein distances of the projections."""
    centre = x.mean(dim=0, dtype=torch.float64)
    one, two = (_sorted(points, centre, directions) for points in (x, y))
    rows_x, rows_y, mass = _coupling(len(x), len(y))
    device = x.device
    gap = one[torch.from_numpy(rows_x).to(device)] - two[torch.from_numpy(rows_y).to(device)]
    return torch.from_numpy(mass).to(device) @ gap.square_()


def _sorted(
    points: Tensor, centre: Float64[Tensor, " D"], directions: Float64[Tensor, "D L"]
) -> Float64[Tensor, "N L"]:
    parts = [(points[a : a + 4096].double() - centre) @ directions for a in range(0, len(points), 4096)]
    return torch.cat(parts).sort(dim=0).values


def _coupling(n: int, m: int) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " S"], Float64[np.ndarray, " S"]]:
    """Which ordered samples share mass, and how much: the steps of both quantile functions, in units of 1 / (n m)."""
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, (ends - starts) / (n * m)
