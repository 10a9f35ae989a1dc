"""Balls, nearest samples and depths of two sets from one pass over their distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from modescope.neighbours.balls import Balls, Family
from modescope.neighbours.bounds import Cloud, clouds
from modescope.neighbours.journal import Journal
from modescope.neighbours.passes import Visitor, visit_pairs
from modescope.neighbours.ratios import Depths
from modescope.neighbours.search import Between, Nearest, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """What `count_balls`, `nearest_between` and `depths` say of `a` and `b`."""

    around_a: Balls
    around_b: Balls
    of_a: Nearest  # for every sample of a, samples of b
    of_b: Nearest
    depths: Float64[Tensor, " M"]


def visit_both(
    a: Tensor,
    b: Tensor,
    a_squared: Float64[Tensor, "S N"],
    b_squared: Float64[Tensor, "T M"],
    *,
    k: int,
    weights: Float64[Tensor, " N"],
    chunk: int | None = None,
    ready: Sequence[Cloud] | None = None,
    journal: Journal | None = None,
) -> Both:
    """Radii as in `count_balls`, k as in `nearest_between`, weights the squared radii of `depths`: all in one pass."""
    one, two = clouds(a, b) if ready is None else ready
    families = Family(one, two, a_squared, False), Family(one, two, b_squared, True)
    searches = Search(one, two, k), Search(two, one, k)
    depths = Depths(one, two, weights)
    visitors: list[Visitor] = [*families, Between(searches[0], False), Between(searches[1], True), depths]
    visit_pairs(visitors, one, two, chunk=chunk, journal=journal)
    return Both(
        around_a=families[0].balls,
        around_b=families[1].balls,
        of_a=searches[0].result(),
        of_b=searches[1].result(),
        depths=depths.result(),
    )
