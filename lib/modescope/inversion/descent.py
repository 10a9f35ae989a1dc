"""L-BFGS on batches of unknowns that have nothing to do with each other, and the pull to typical noise."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from modescope.runtime import sharing

REACH = 0.4
"""Longest step, as a root mean square over the unknowns: noise has one of 1."""
SHORTER = 0.4
"""Factor on a step that did not descend."""
SUFFICIENT = 1e-4
"""Share of the decrease that the slope promises which a step has to bring (Nocedal and Wright 2006, eq. 3.4)."""
TOGETHER = 256
"""Rows in one evaluation, at most: more of them are no faster and take more memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How noise is searched for, and when a search ends.

    steps: evaluations of the network and its slope, at most. prior: weight of (mean square of the noise - 1)^2, which keeps
    the noise typical. enough: an image whose error comes down to this is done: it is searched no further and needs no other
    start. patience: so is one whose objective fell by less than a tenth in so many evaluations; it will not get there.
    memory: steps from which the curvature is known.
    """

    steps: int = 50
    prior: float = 0.03
    enough: float = 0.01
    patience: int = 10
    memory: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or self.patience < 1 or self.memory < 1 or not self.prior >= 0 or not self.enough >= 0:
            raise ValueError(
                f"steps {self.steps}, patience {self.patience}, memory {self.memory}, prior {self.prior:g}, enough "
                f"{self.enough:g} are no descent; give the first three from 1, the others from 0"
            )


Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Unknowns (n, D) of the rows (n,) => per row what to minimise, the error by which it is done, a by-product to keep."""


Sloped = tuple[Tensor, Tensor, Tensor, Tensor]
"""Objective, error, by-product and slope of some rows."""


@dataclass(slots=True, kw_only=True)
class Met:
    """Per row the best unknowns met (N, D), their objective and error (N,), their by-product (N, ...); evaluations taken."""

    unknowns: Tensor
    value: Tensor
    error: Tensor
    product: Tensor
    evaluations: Tensor


def descend(objective: Objective, start: Float[Tensor, "N D"], how: Descent, *, leave: bool = True) -> Met:
    """L-BFGS with backtracking from `start`, each row on its own (Nocedal and Wright 2006, algorithms 7.4 and 3.1).

    Rows share no number, so a row's result depends on its company by rounding alone. Rows that are done leave the batch,
    and the others go on faster (`leave` False: all go on to the last step, together). Of each row the best one met is kept.
    A CPU shares the rows between its threads.
    """
    with sharing(start.device) if leave else nullcontext() as spread:

        def evaluated(at: Tensor, rows: Tensor) -> Sloped:
            def work(part: slice) -> Sloped:
                return _sloped(objective, at[part], rows[part])

            found = spread(work, len(at), TOGETHER) if spread else [work(slice(None))]
            value, error, product, slope = map(torch.cat, zip(*found, strict=True))
            return value, error, product, slope

        return _descended(evaluated, start, how, leave)


def _descended(
    evaluated: Callable[[Tensor, Tensor], Sloped], start: Float[Tensor, "N D"], how: Descent, leave: bool
) -> Met:
    rows = torch.arange(len(start), device=start.device)
    here, value, slope = start, torch.full_like(start[:, 0], math.inf), torch.zeros_like(start)
    heading, length = torch.zeros_like(start), torch.ones_like(value)
    curvature, past = _Curvature(how.memory, value), deque[Tensor](maxlen=how.patience)
    met: Met | None = None
    for _ in range(how.steps):
        there = here + length[:, None] * heading
        new, error, product, new_slope = evaluated(there, rows)
        met = met or _nothing(start, product)
        _keep(met, rows, (new < met.value[rows]) | (leave & (error <= how.enough)), there, new, error, product)
        curvature.add(there - here, new_slope - slope)  # also of a step that is taken back: it tells as much
        down = new <= value + SUFFICIENT * length * (slope * heading).sum(1)
        here, slope = torch.where(down[:, None], there, here), torch.where(down[:, None], new_slope, slope)
        value, length = torch.where(down, new, value), torch.where(down, torch.ones_like(length), SHORTER * length)
        going = error > how.enough
        if len(past) == how.patience:
            going &= met.value[rows] < 0.9 * past[0]
        past.append(met.value[rows])
        if leave and not going.all():
            rows, here, value, slope, length = (part[going] for part in (rows, here, value, slope, length))
            curvature.leave(going)
            past = deque((part[going] for part in past), maxlen=how.patience)
        if not len(rows):
            break
        heading = _limited(curvature.heading(slope, value))
    assert met is not None  # noqa: S101 - there is at least one step
    return met


def _sloped(objective: Objective, at: Tensor, rows: Tensor) -> Sloped:
    with torch.enable_grad():
        free = at.detach().requires_grad_(True)
        value, error, product = objective(free, rows)
        slope = torch.autograd.grad(value.sum(), free)[0]
    return value.detach(), error.detach(), product.detach(), slope


def _nothing(start: Tensor, product: Tensor) -> Met:
    far = torch.full_like(start[:, 0], math.inf)
    return Met(
        unknowns=start.clone(),
        value=far,
        error=far.clone(),
        product=torch.zeros_like(product),
        evaluations=torch.zeros(len(start), dtype=torch.int64, device=start.device),
    )


def _keep(
    met: Met, rows: Tensor, better: Bool[Tensor, " n"], at: Tensor, value: Tensor, error: Tensor, product: Tensor
) -> None:
    met.evaluations[rows] += 1
    chosen = rows[better]
    met.unknowns[chosen], met.value[chosen] = at[better], value[better]
    met.error[chosen], met.product[chosen] = error[better], product[better]


def _limited(step: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    size = step.square().mean(1, keepdim=True).sqrt()
    return step * (REACH / size.clamp(min=REACH))


class _Curvature:
    """What the last steps tell of each row's inverse Hessian: pairs (step, change of slope), the newest first."""

    def __init__(self, memory: int, value: Tensor) -> None:
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory)
        self._scale = torch.zeros_like(value)

    def add(self, step: Float[Tensor, "n D"], change: Float[Tensor, "n D"]) -> None:
        """A pair along which the slope does not rise (the first one, which is no step, among them) counts for nothing."""
        along = (step * change).sum(1)
        rising = along > 1e-10
        inverse = torch.where(rising, 1 / along, torch.zeros_like(along))
        self._scale = torch.where(rising, along / change.square().sum(1), self._scale)
        self._pairs.appendleft((step, change, inverse))

    def leave(self, going: Bool[Tensor, " n"]) -> None:
        self._scale = self._scale[going]
        pairs = [(step[going], change[going], inverse[going]) for step, change, inverse in self._pairs]
        self._pairs = deque(pairs, maxlen=self._pairs.maxlen)

    def heading(self, slope: Float[Tensor, "n D"], value: Float[Tensor, " n"]) -> Float[Tensor, "n D"]:
        """Minus the inverse Hessian times the slope, by the two loops; without pairs, the step after which a value that
        falls as its slope says is 0 (Polyak's).
        """
        q, weights = slope.clone(), []
        for step, change, inverse in self._pairs:
            weights.append(inverse * (step * q).sum(1))
            q -= weights[-1][:, None] * change
        first = value / slope.square().sum(1).clamp(min=1e-20)
        q *= torch.where(self._scale > 0, self._scale, first)[:, None]
        for (step, change, inverse), weight in zip(reversed(self._pairs), reversed(weights), strict=True):
            q += (weight - inverse * (change * q).sum(1))[:, None] * step
        return -q


def atypical(noise: Float[Tensor, "N C H W"]) -> Float[Tensor, " N"]:
    """How far noise is from the norm of standard normal noise: (mean square - 1)^2."""
    return (noise.square().flatten(1).mean(1) - 1).square()
