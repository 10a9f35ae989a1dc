"""The k nearest samples of every sample: others of its own set, or those of another one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from modescope.neighbours.bounds import Block, Cloud, Side, clouds, exact
from modescope.neighbours.passes import crowded, visit_pairs, visit_pairs_within

_PAIRS = 1 << 20  # about so many are measured and sorted at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The K nearest samples of each of N, nearest first; equal distances in the order of their indices."""

    squared: Float64[Tensor, "N K"]
    indices: Int64[Tensor, "N K"]


def nearest(points: Tensor, k: int, *, chunk: int | None = None, cloud: Cloud | None = None) -> Nearest:
    """The k nearest other samples of every sample: squared distances in float64 and indices.

    `points` is what `as_points` gives. Needs at least k + 1 samples. `chunk` samples by twice as many make a block of
    distances: memory is about 15 chunk^2 bytes (30 where a block needs float64), a float32 copy of the points and
    100 bytes for each neighbour. The result does not depend on it, nor on `cloud`, which is the points made ready
    (`clouds`) where the caller has that.
    """
    n = len(points)
    if not 1 <= k < n:
        raise ValueError(f"k = {k} needs at least k + 1 samples and k >= 1; there are {n}: lower k or add samples")
    cloud = clouds(points)[0] if cloud is None else cloud
    search = Search(cloud, cloud, k)
    visit_pairs_within([Within(search)], cloud, chunk=chunk)
    return search.result()


def nearest_between(a: Tensor, b: Tensor, k: int = 1, *, chunk: int | None = None) -> tuple[Nearest, Nearest]:
    """For every sample of `a` its k nearest in `b`, and for every one of `b` its k nearest in `a`, in one pass.

    Both are what `as_points` gives, of one width. Needs at least k samples in each. `chunk` as in `nearest`.
    """
    one, two = clouds(a, b)
    searches = Search(one, two, k), Search(two, one, k)
    visit_pairs([Between(searches[0], False), Between(searches[1], True)], one, two, chunk=chunk)
    return searches[0].result(), searches[1].result()


@dataclass(frozen=True, slots=True)
class _Found:
    """New upper bounds on the k smallest squared distances of the samples of a side, and pairs that may be among them."""

    side: Side
    bounds: Float64[Tensor, "R K"]
    flat: Int64[Tensor, " P"]

    @property
    def crowded(self) -> bool:
        return crowded(len(self.flat) - 4 * self.bounds.numel(), self.side.block)


class Search:
    """Keeps, for every sample of `own`, upper bounds on its k smallest distances to `other` and every pair in question."""

    def __init__(self, own: Cloud, other: Cloud, k: int) -> None:
        if not 1 <= k <= len(other.raw):
            raise ValueError(f"k = {k} neighbours are wanted of {len(other.raw)} samples; take a k from 1 to that many")
        self.own, self.other, self.k, self.unit = own, other, k, own.scale**2
        self.best = torch.full((len(own.raw), k), torch.inf, dtype=torch.float64, device=own.raw.device)
        self.found: list[tuple[Tensor, ...]] = []  # sample, other, lower bound
        self.pairs = 0

    def look(self, side: Side) -> _Found:
        upper = side.upper(max(32, 4 * self.k))
        bounds = _smallest(torch.cat([self.best[side.mine], upper], dim=1), self.k)
        return _Found(side, bounds, side.above(bounds.amax(dim=1)))

    def take(self, found: _Found) -> None:
        self.best[found.side.mine] = found.bounds
        self.found.append(_compact(*found.side.pairs(found.flat)))
        self.pairs += len(found.flat)
        limit = 2 * self.best.numel() + found.side.block.closeness.numel()
        if self.pairs > limit:
            self._prune()
        if self.pairs > limit or found.crowded:
            self._measure()

    def _prune(self) -> tuple[Tensor, Tensor]:
        """The pairs still in question: sample and other."""
        reach = self.best.amax(dim=1)
        self.found = [tuple(part[low < reach[i]] for part in (i, j, low)) for i, j, low in self.found]
        i, j, low = (torch.cat(parts) for parts in zip(*self.found, strict=True))
        self.found, self.pairs = [(i, j, low)], len(i)
        return i.long(), j.long()

    def _measure(self) -> tuple[Tensor, Tensor]:
        """Measure the pairs still in question and keep the k nearest of each sample, which bounds the memory."""
        i, j = self._prune()
        self.found = []
        parts = [self._nearest_of(a, b) for a, b in _by_sample(i, j, len(self.best))]
        i, j, squared = (torch.cat(part) for part in zip(*parts, strict=True))
        self.found, self.pairs = [_compact(i, j, torch.full_like(squared, -torch.inf))], len(i)
        return squared, j

    def _nearest_of(self, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of some samples => their k nearest, sample by sample. Blocks come in rising order: ties are in order."""
        squared = exact(self.own, self.other, i, j)
        order = torch.argsort(squared, stable=True)
        order = order[torch.argsort(i[order], stable=True)]
        i, j, squared = i[order], j[order], squared[order]
        rank = torch.arange(len(i), device=i.device) - torch.searchsorted(i, i)
        kept = rank < self.k
        i, j, squared, rank = i[kept], j[kept], squared[kept], rank[kept]
        known = rank == self.k - 1
        complete = torch.zeros(len(self.best), dtype=torch.bool, device=i.device)
        complete[i[known]] = True
        known = complete[i]
        self.best[i[known], rank[known]] = squared[known] * self.unit
        return i, j, squared

    def result(self) -> Nearest:
        squared, indices = self._measure()
        return Nearest(squared=squared.view(-1, self.k), indices=indices.view(-1, self.k))


@dataclass(frozen=True, slots=True)
class Between:
    """A search from one set into the other: `transposed` when its own samples are the columns of a block."""

    search: Search
    transposed: bool

    def look(self, block: Block, rows: slice, columns: slice) -> tuple[_Found, bool]:
        mine, theirs = (columns, rows) if self.transposed else (rows, columns)
        found = self.search.look(Side(block, mine, theirs, self.transposed))
        return found, found.crowded

    def take(self, found: _Found) -> None:
        self.search.take(found)


@dataclass(frozen=True, slots=True)
class Within:
    """A search among the samples of one set: a block serves its rows and its columns."""

    search: Search

    def look(self, block: Block, rows: slice, columns: slice) -> tuple[list[_Found], bool]:
        sides = [Side(block, rows, columns, False), Side(block, columns, rows, True)]
        if rows == columns:
            block.closeness.fill_diagonal_(-torch.inf)
            sides.pop()
        found = [self.search.look(side) for side in sides]
        return found, any(one.crowded for one in found)

    def take(self, found: list[_Found]) -> None:
        for one in found:
            self.search.take(one)


def _compact(i: Tensor, j: Tensor, low: Float64[Tensor, " P"]) -> tuple[Tensor, Tensor, Tensor]:
    """Half the memory, for lists of pairs that are held for long: the bound is rounded down, so it stays one."""
    bound = low.float()
    return i.int(), j.int(), torch.nextafter(bound, torch.full_like(bound, -torch.inf))


def _by_sample(i: Tensor, j: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs => those of some thousand samples at a time, in their order: sorting and measuring needs memory."""
    if len(i) <= _PAIRS:
        return [(i, j)]
    order = torch.argsort(i, stable=True)
    i, j = i[order], j[order]
    step = max(1, count * _PAIRS // len(i))
    ends = torch.searchsorted(i, torch.arange(0, count + step, step, device=i.device)).tolist()
    return [(i[a:b], j[a:b]) for a, b in pairwise(ends)]


def _smallest(values: Float64[Tensor, "R G"], k: int) -> Float64[Tensor, "R K"]:
    """The k smallest of each row, in no order."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, :k])
    return values.topk(k, dim=1, largest=False, sorted=False).values
