"""Balls around the samples of one set, counted against the samples of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from modescope.neighbours.bounds import Block, Cloud, clouds, exact
from modescope.neighbours.journal import Journal
from modescope.neighbours.passes import crowded, visit_pairs
from modescope.neighbours.sides import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Balls:
    """Open balls around C centres, counted against P points, for S choices of radii.

    `inside` is the number of points in each ball, `holding` the number of balls around each point. The sums of the
    indices that were counted name the one point (or the one ball) wherever the count is 1.
    """

    inside: Int64[Tensor, "S C"]
    inside_sum: Int64[Tensor, "S C"]
    holding: Int64[Tensor, "S P"]
    holding_sum: Int64[Tensor, "S P"]


def count_balls(
    a: Tensor,
    b: Tensor,
    a_squared: Float64[Tensor, "S N"],
    b_squared: Float64[Tensor, "T M"],
    *,
    chunk: int | None = None,
    ready: Sequence[Cloud] | None = None,
    journal: Journal | None = None,
) -> tuple[Balls, Balls]:
    """Balls around the samples of `a` counted against `b`, and balls around `b` counted against `a`, in one pass.

    The radii are squared distances, S choices for each sample of `a` and T for each of `b`; a sample lies in a ball
    when its distance is strictly smaller. A closed ball is the open one of the next larger float64.
    `chunk` and `journal` as in `nearest`; `ready` is `clouds(a, b)` where the caller has that.
    """
    one, two = clouds(a, b) if ready is None else ready
    families = Family(one, two, a_squared, False), Family(one, two, b_squared, True)
    visit_pairs(families, one, two, chunk=chunk, journal=journal)
    return families[0].balls, families[1].balls


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs that may lie in a ball: centre and point, bounds on the distance, and those that it leaves open."""

    centre: Int64[Tensor, " P"]
    point: Int64[Tensor, " P"]
    high: Float64[Tensor, " P"]
    undecided: Bool[Tensor, " P"]


class Family:
    """The balls around one of two sets, and their running counts."""

    def __init__(self, a: Cloud, b: Cloud, squared: Float64[Tensor, "S C"], around_b: bool) -> None:
        self.own, self.other, self.around_b = (b, a, True) if around_b else (a, b, False)
        self.squared, self.unit = squared, a.scale**2
        widest = squared.amax(dim=0)
        self.reach = torch.where(widest > 0, (widest * self.unit).clamp(min=1e-300), 0)  # scaling must not empty a ball

        def zeros(count: int) -> Tensor:
            return torch.zeros((len(squared), count), dtype=torch.int64, device=squared.device)

        centres, points = len(self.own.raw), len(self.other.raw)
        self.balls = Balls(
            inside=zeros(centres), inside_sum=zeros(centres), holding=zeros(points), holding_sum=zeros(points)
        )

    def look(self, block: Block, rows: slice, columns: slice) -> tuple[_Pairs, bool]:
        mine, theirs = (columns, rows) if self.around_b else (rows, columns)
        side = Side(block, mine, theirs, self.around_b)
        centre, point, low, high = side.pairs(side.above(self.reach[mine]))
        low, high, squared = low.double() / self.unit, high / self.unit, self.squared[:, centre]
        undecided = ((low < squared) & (high >= squared)).any(dim=0)
        return _Pairs(centre, point, high, undecided), crowded(int(undecided.sum()), block)

    def take(self, pairs: _Pairs) -> None:
        high, open_ = pairs.high, pairs.undecided
        high[open_] = exact(self.own, self.other, pairs.centre[open_], pairs.point[open_])
        for s, squared in enumerate(self.squared):
            inside = high < squared[pairs.centre]
            c, p = pairs.centre[inside], pairs.point[inside]
            one = torch.ones_like(c)
            self.balls.inside[s].index_add_(0, c, one)
            self.balls.inside_sum[s].index_add_(0, c, p)
            self.balls.holding[s].index_add_(0, p, one)
            self.balls.holding_sum[s].index_add_(0, p, c)

    def asks(self) -> list[Tensor]:
        return [self.squared]

    def state(self) -> dict[str, Tensor]:
        return asdict(self.balls)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, counts in state.items():
            getattr(self.balls, name).copy_(counts)
