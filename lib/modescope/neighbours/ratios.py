"""For every sample of one set, how far inside the best of another set's balls it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from modescope.neighbours.bounds import Block, Cloud, clouds, exact
from modescope.neighbours.passes import crowded, visit_pairs
from modescope.neighbours.sides import above, split

_MARGIN = 1e-5  # far more than the roundings of one float32 product and quotient


def depths(
    a: Tensor, b: Tensor, a_squared: Float64[Tensor, " N"], *, chunk: int | None = None
) -> Float64[Tensor, " M"]:
    """max_i r_i^2 / d_ij^2 for every sample j of `b`, over the balls around `a` of a radius above 0.

    Above 1 inside a ball, inf at the centre of one, 0 where no ball has a radius. `chunk` as in `nearest`.
    """
    one, two = clouds(a, b)
    visitor = Depths(one, two, a_squared)
    visit_pairs([visitor], one, two, chunk=chunk)
    return visitor.result()


@dataclass(frozen=True, slots=True)
class _Candidates:
    i: Int64[Tensor, " P"]
    j: Int64[Tensor, " P"]


class Depths:
    """Keeps the smallest d^2 / r^2 of every sample of `b`, measured exactly."""

    def __init__(self, a: Cloud, b: Cloud, squared: Float64[Tensor, " N"]) -> None:
        self.a, self.b, self.squared = a, b, squared
        self.best = torch.full((len(b.raw),), torch.inf, dtype=torch.float64, device=squared.device)

    def look(self, block: Block, rows: slice, columns: slice) -> tuple[_Candidates, bool]:
        dtype, unit = block.closeness.dtype, self.a.scale**2
        squared = self.squared[rows]
        # A tiny ball is taken for a larger one, which keeps the bound a bound and the quotient finite.
        weight = (1 / (squared * unit).clamp(min=1e-30)).to(dtype)
        scaled = block.closeness * weight[:, None]
        scaled[squared <= 0] = -torch.inf
        flat = self._promising(scaled, columns, block.compiled)
        if len(flat) > 8 * scaled.shape[1]:
            self._start(scaled, rows, columns)
            flat = self._promising(scaled, columns, block.compiled)
        j, i = split(flat, scaled.shape[0])
        return _Candidates(i + rows.start, j + columns.start), crowded(len(i), block)

    def _promising(self, scaled: Tensor, columns: slice, compiled: bool) -> Int64[Tensor, " P"]:
        """Places, column * rows + row, of the pairs whose -d^2 / 2 r^2 may exceed the best."""
        floor = (self.best[columns] * (-(1 + _MARGIN) / 2)).to(scaled.dtype)
        return above(scaled, floor, transposed=True, compiled=compiled)

    def _start(self, scaled: Tensor, rows: slice, columns: slice) -> None:
        """Measure the most promising pair of each column, which leaves few others."""
        i = scaled.argmax(dim=0) + rows.start
        self._measure(i, torch.arange(columns.start, columns.stop, device=i.device))

    def _measure(self, i: Tensor, j: Tensor) -> None:
        held = self.squared[i] > 0
        i, j = i[held], j[held]
        self.best.scatter_reduce_(0, j, exact(self.a, self.b, i, j) / self.squared[i], "amin")

    def take(self, candidates: _Candidates) -> None:
        self._measure(candidates.i, candidates.j)

    def result(self) -> Float64[Tensor, " M"]:
        return 1 / self.best

    def asks(self) -> list[Tensor]:
        return [self.squared]

    def state(self) -> dict[str, Tensor]:
        return {"best": self.best}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.best.copy_(state["best"])
