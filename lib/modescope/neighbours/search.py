"""The k nearest samples of every sample: others of its own set, or those of another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from modescope.neighbours.bounds import Block, Cloud, clouds, default_chunk, exact
from modescope.neighbours.journal import Journal
from modescope.neighbours.passes import crowded, visit_pairs, visit_pairs_within
from modescope.neighbours.points import blocks
from modescope.neighbours.sides import Side

_PAIRS = 1 << 15  # in question for a part of the samples, at least so many are held before some are ruled out


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The K nearest samples of each of N, nearest first; equal distances in the order of their indices."""

    squared: Float64[Tensor, "N K"]
    indices: Int64[Tensor, "N K"]


def nearest(
    points: Tensor,
    k: int,
    *,
    chunk: int | None = None,
    cloud: Cloud | None = None,
    journal: Journal | None = None,
    name: str = "within",
) -> Nearest:
    """The k nearest other samples of every sample: squared distances in float64 and indices.

    `points` is what `as_points` gives. Needs at least k + 1 samples. `chunk` samples by twice as many make a block of
    distances: memory is about 15 chunk^2 bytes (30 where a block needs float64), 40 bytes for each neighbour, and a
    float32 copy of the points (of 2 chunk of them where that is above 64 MB). The result does not depend on it, nor on
    `cloud`, which is the points made ready (`clouds`) where the caller has that, nor on being stopped and resumed:
    `journal` keeps the pass under `name`.
    """
    n = len(points)
    if not 1 <= k < n:
        raise ValueError(f"k = {k} needs at least k + 1 samples and k >= 1; there are {n}: lower k or add samples")
    cloud = clouds(points)[0] if cloud is None else cloud
    search = Search(cloud, cloud, k)
    visit_pairs_within([Within(search)], cloud, chunk=chunk, journal=journal, name=name)
    return search.result()


def nearest_between(
    a: Tensor, b: Tensor, k: int = 1, *, chunk: int | None = None, journal: Journal | None = None
) -> tuple[Nearest, Nearest]:
    """For every sample of `a` its k nearest in `b`, and for every one of `b` its k nearest in `a`, in one pass.

    Both are what `as_points` gives, of one width. Needs at least k samples in each. `chunk`, `journal` as in `nearest`.
    """
    one, two = clouds(a, b)
    searches = Search(one, two, k), Search(two, one, k)
    visitors = [Between(searches[0], False), Between(searches[1], True)]
    visit_pairs(visitors, one, two, chunk=chunk, journal=journal)
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
    """Keeps, for every sample of `own`, upper bounds on its k smallest distances to `other` and every pair in question.

    Pairs are held for a part of the samples at a time: what sorts or measures them needs little memory beside.
    """

    def __init__(self, own: Cloud, other: Cloud, k: int) -> None:
        if not 1 <= k <= len(other.raw):
            raise ValueError(f"k = {k} neighbours are wanted of {len(other.raw)} samples; take a k from 1 to that many")
        self.own, self.other, self.k, self.unit = own, other, k, own.scale**2
        self.best = torch.full((len(own.raw), k), torch.inf, dtype=torch.float64, device=own.raw.device)
        self.size = default_chunk(own.raw)
        self.parts = list(blocks(len(own.raw), self.size))
        self.found: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in self.parts]  # sample, other, lower bound
        self.pairs = [0] * len(self.parts)

    def look(self, side: Side) -> _Found:
        bounds = side.lower(self.best[side.mine], max(32, 4 * self.k))
        return _Found(side, bounds, side.above(bounds.amax(dim=1)))

    def take(self, found: _Found) -> None:
        mine = found.side.mine
        self.best[mine] = found.bounds
        i, j, low, _ = found.side.pairs(found.flat)
        self._add(*_compact(i, j, low))
        for part in self._touched(mine):
            if self.pairs[part] > self._limit:
                self._prune(part)
            if self.pairs[part] > self._limit or found.crowded:
                self._measure(part)

    @property
    def _limit(self) -> int:
        return max(2 * self.k * self.size, _PAIRS)

    def _touched(self, mine: slice) -> range:
        return range(mine.start // self.size, (mine.stop - 1) // self.size + 1)

    def _add(self, i: Tensor, j: Tensor, low: Tensor) -> None:
        """Pairs in rising order of their samples."""
        ends = torch.searchsorted(i, torch.tensor([part.stop for part in self.parts], dtype=i.dtype, device=i.device))
        first = 0
        for part, end in enumerate(ends.tolist()):
            if end > first:
                self.found[part].append((i[first:end], j[first:end], low[first:end]))
                self.pairs[part] += end - first
            first = end

    def _prune(self, part: int) -> tuple[Tensor, Tensor]:
        """The pairs still in question: sample and other."""
        i, j, low = (torch.cat(some) for some in zip(*self.found[part], strict=True))
        left = low < self.best[self.parts[part]].amax(dim=1)[i - self.parts[part].start]
        i, j, low = i[left], j[left], low[left]
        self.found[part], self.pairs[part] = [(i, j, low)], len(i)
        return i.long(), j.long()

    def _measure(self, part: int) -> tuple[Tensor, Tensor]:
        """Measure the pairs still in question and keep the k nearest of each sample, which bounds the memory."""
        i, j = self._prune(part)
        squared = exact(self.own, self.other, i, j)
        # Blocks come in rising order, and so do samples at equal distances.
        order = torch.argsort(squared, stable=True)
        order = order[torch.argsort(i[order], stable=True)]
        i, j, squared = i[order], j[order], squared[order]
        rank = torch.arange(len(i), device=i.device) - torch.searchsorted(i, i)
        kept = rank < self.k
        i, j, squared, rank = i[kept], j[kept], squared[kept], rank[kept]
        local = i - self.parts[part].start
        complete = torch.zeros(self.size, dtype=torch.bool, device=i.device)
        complete[local[rank == self.k - 1]] = True
        known = complete[local]
        self.best[i[known], rank[known]] = squared[known] * self.unit
        self.found[part], self.pairs[part] = [_compact(i, j, torch.full_like(squared, -torch.inf))], len(i)
        return squared, j

    def result(self) -> Nearest:
        """Ends the search: the bounds make room for the distances."""
        indices = torch.empty(self.best.shape, dtype=torch.int64, device=self.best.device)
        for part, rows in enumerate(self.parts):
            squared, j = self._measure(part)
            self.best[rows], indices[rows] = squared.view(-1, self.k), j.view(-1, self.k)
            self.found[part] = []
        return Nearest(squared=self.best, indices=indices)

    def asks(self) -> list[Tensor]:
        return [torch.tensor([self.k])]

    def state(self) -> dict[str, Tensor]:
        every = [pairs for part in self.found for pairs in part]
        return {"best": self.best} | dict(zip(("i", "j", "low"), map(torch.cat, zip(*every, strict=True)), strict=True))

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.best.copy_(state["best"])
        self._add(*(state[name].to(self.best.device) for name in ("i", "j", "low")))


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

    def asks(self) -> list[Tensor]:
        return self.search.asks()

    def state(self) -> dict[str, Tensor]:
        return self.search.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.search.restore(state)


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

    def asks(self) -> list[Tensor]:
        return self.search.asks()

    def state(self) -> dict[str, Tensor]:
        return self.search.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.search.restore(state)


def _compact(i: Tensor, j: Tensor, low: Float[Tensor, " P"]) -> tuple[Tensor, Tensor, Float32[Tensor, " P"]]:
    """Half the memory, for lists of pairs that are held for long: the bound is rounded down, so it stays one."""
    if low.dtype == torch.float64:
        low = low.float()
        low = torch.nextafter(low, torch.full_like(low, -torch.inf))
    return i.int(), j.int(), low
