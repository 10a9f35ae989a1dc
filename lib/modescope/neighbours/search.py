"""The k nearest other samples of every sample of a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from modescope.neighbours.bounds import CROWDED, Cloud, Side, clouds, default_chunk, exact, full_precision, measure
from modescope.neighbours.points import blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The K nearest other samples of each sample, nearest first; equal distances in the order of their indices."""

    squared: Float64[Tensor, "N K"]
    indices: Int64[Tensor, "N K"]


def nearest(points: Tensor, k: int, *, chunk: int | None = None) -> Nearest:
    """The k nearest other samples of every sample: squared distances in float64 and indices.

    `points` is what `as_points` gives. Needs at least k + 1 samples. `chunk` samples by twice as many make a block of
    distances: memory is about 15 chunk^2 bytes (30 where a block needs float64) and a float32 copy of the points. The
    result does not depend on it.
    """
    n = len(points)
    if not 1 <= k < n:
        raise ValueError(f"k = {k} needs at least k + 1 samples and k >= 1; there are {n}: lower k or add samples")
    chunk = chunk or default_chunk(points)
    (cloud,) = clouds(points)
    search = _Search(cloud, k)
    with full_precision(points.device):
        for rows in blocks(n, chunk):
            search.visit(rows, rows)
            for columns in blocks(n, 2 * chunk, rows.stop):  # d(x, y) = d(y, x): a block serves its columns too
                search.visit(rows, columns)
        return search.result()


class _Search:
    """Keeps, for every sample, upper bounds on its k smallest distances and every pair that may be among them."""

    def __init__(self, cloud: Cloud, k: int) -> None:
        self.cloud, self.k, self.unit = cloud, k, cloud.scale**2
        device = cloud.raw.device
        self.best = torch.full((len(cloud.raw), k), torch.inf, dtype=torch.float64, device=device)
        self.found: list[tuple[Tensor, Tensor, Tensor]] = []  # sample, other, lower bound
        self.pairs = 0

    def visit(self, rows: slice, columns: slice) -> None:
        for dtype in (torch.float32, torch.float64):
            block = measure(self.cloud, self.cloud, rows, columns, dtype)
            sides = [Side(block, rows, columns, False), Side(block, columns, rows, True)]
            if rows == columns:
                block.closeness.fill_diagonal_(-torch.inf)
                sides.pop()
            best = [self._improved(side) for side in sides]
            flats = [side.above(bounds.amax(dim=1)) for side, bounds in zip(sides, best, strict=True)]
            pairs = sum(map(len, flats))
            crowded = pairs > block.closeness.numel() // CROWDED + sum(4 * bounds.numel() for bounds in best)
            if not crowded:
                break
        for side, bounds, flat in zip(sides, best, flats, strict=True):
            self.best[side.mine] = bounds
            self.found.append(side.pairs(flat))
        self.pairs += pairs
        if crowded or self.pairs > 16 * self.best.numel() + block.closeness.numel():
            self._measure()

    def _improved(self, side: Side) -> Float64[Tensor, "R K"]:
        upper = side.upper(max(32, 4 * self.k))
        return _smallest(torch.cat([self.best[side.mine], upper], dim=1), self.k)

    def _measure(self) -> tuple[Tensor, Tensor]:
        """Measure the pairs still in question and keep the k nearest of each sample, which bounds the memory."""
        i, j, low = (torch.cat(parts) for parts in zip(*self.found, strict=True))
        kept = low < self.best.amax(dim=1)[i]
        i, j = i[kept], j[kept]
        squared = exact(self.cloud, self.cloud, i, j)
        order = _lexsort(j, squared, i)
        i, j, squared = i[order], j[order], squared[order]
        first = torch.searchsorted(i, torch.arange(len(self.best), device=i.device))
        rank = torch.arange(len(i), device=i.device) - first[i]
        kept = rank < self.k
        i, j, squared, rank = i[kept], j[kept], squared[kept], rank[kept]
        known = (torch.bincount(i, minlength=len(self.best)) == self.k)[i]
        self.best[i[known], rank[known]] = squared[known] * self.unit
        self.found, self.pairs = [(i, j, torch.full_like(squared, -torch.inf))], len(i)
        return squared, j

    def result(self) -> Nearest:
        squared, indices = self._measure()
        return Nearest(squared=squared.view(-1, self.k), indices=indices.view(-1, self.k))


def _smallest(values: Float64[Tensor, "R G"], k: int) -> Float64[Tensor, "R K"]:
    """The k smallest of each row, in no order."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, :k])
    return values.topk(k, dim=1, largest=False, sorted=False).values


def _lexsort(*keys: Tensor) -> Int64[Tensor, " P"]:
    """The order that sorts by the last key, then the one before, and so on."""
    order = torch.argsort(keys[0], stable=True)
    for key in keys[1:]:
        order = order[torch.argsort(key[order], stable=True)]
    return order
