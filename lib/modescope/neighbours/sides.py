"""What the rows of a block of bounds, or its columns, may have among their nearest.

Compiled code looks through the blocks of large sets (`Block.compiled`), NumPy or torch through others: the same results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from modescope.neighbours.bounds import Block


@dataclass(frozen=True, slots=True)
class Side:
    """A block as seen by its rows, or (transposed) by its columns."""

    block: Block
    mine: slice
    theirs: slice
    transposed: bool

    @property
    def width(self) -> int:
        return self.theirs.stop - self.theirs.start

    def lower(self, best: Float64[Tensor, "R K"], groups: int) -> Float64[Tensor, "R K"]:
        """The k smallest upper bounds on the squared distances of each sample, in no order: of those in `best`, and of
        at most `groups` new pairs, the nearest of each group.
        """
        mine, theirs = self._slacks()
        nearest, offsets = self._nearest(groups), 2 * (mine + theirs.max())
        if self.block.compiled:
            from modescope.neighbours import scanning  # numba takes half a second to import

            return torch.from_numpy(scanning.smallest(best.numpy(), nearest.contiguous().numpy(), offsets.numpy()))
        return _smallest(torch.cat([best, offsets[:, None] - 2 * nearest.double()], dim=1), best.shape[1])

    def _nearest(self, groups: int) -> Float[Tensor, "R G"]:
        values = self.block.closeness
        if self.width < 2 * groups:
            return values.T if self.transposed else values
        size, axis = self.width // groups, int(not self.transposed)
        values = values.narrow(axis, 0, size * groups).unflatten(axis, (size, groups))
        if not self.transposed:
            return values.amax(dim=1)
        # NumPy is the faster one on a CPU, along this axis alone.
        cpu = values.device.type == "cpu"
        return (torch.from_numpy(values.numpy().max(axis=0)) if cpu else values.amax(dim=0)).T

    def above(self, squared: Float64[Tensor, " R"]) -> Int64[Tensor, " P"]:
        """The pairs that may be nearer than this, as sample * width + other, rising."""
        floor = _floor(squared, self.block.closeness.dtype)
        return above(self.block.closeness, floor, transposed=self.transposed, compiled=self.block.compiled)

    def pairs(self, flat: Int64[Tensor, " P"]) -> tuple[Tensor, Tensor, Tensor, Float64[Tensor, " P"]]:
        """Sample, other, and lower (of the block's type) and upper bound on their squared distance."""
        mine, theirs = self._slacks()
        if self.block.compiled:
            from modescope.neighbours import scanning

            arrays = (values.numpy() for values in (self.block.closeness, flat, mine, theirs))
            own, other, low, high = map(torch.from_numpy, scanning.pairs(*arrays, self.transposed))
        else:
            own, other = split(flat, self.width)
            low = -2 * self.block.closeness[(other, own) if self.transposed else (own, other)]
            high = low.double() + 2 * (mine[own] + theirs[other])
        return own.add_(self.mine.start), other.add_(self.theirs.start), low, high

    def _slacks(self) -> tuple[Tensor, Tensor]:
        a, b = self.block.row_slack, self.block.column_slack
        return (b, a) if self.transposed else (a, b)


def _smallest(values: Float64[Tensor, "R G"], k: int) -> Float64[Tensor, "R K"]:
    """The k smallest of each row, in no order."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, :k])
    return values.topk(k, dim=1, largest=False, sorted=False).values


def _floor(squared: Float64[Tensor, " R"], dtype: torch.dtype) -> Float[Tensor, " R"]:
    """Closeness above which a pair may be nearer than this, a little lowered against rounding; none is nearer than 0."""
    kind = torch.finfo(dtype)
    return (squared * -(0.5 + kind.eps) - kind.tiny).to(dtype).masked_fill_(squared <= 0, torch.inf)


def above(
    values: Float[Tensor, "B W"], floor: Float[Tensor, " R"], *, transposed: bool, compiled: bool
) -> Int64[Tensor, " P"]:
    """Sample * others + other, rising, where a value exceeds the floor of its sample: its row (transposed: column)."""
    if compiled:
        from modescope.neighbours import scanning

        return torch.from_numpy(scanning.above(values.numpy(), floor.numpy(), transposed))
    floor = floor[None] if transposed else floor[:, None]
    if values.device.type != "cpu":
        flat = torch.nonzero((values > floor).view(-1)).squeeze(1)
    else:  # NumPy compares and scans several times faster than torch
        flat = torch.from_numpy((values.numpy() > floor.numpy()).ravel().nonzero()[0])
    if not transposed:
        return flat
    other, own = split(flat, values.shape[1])
    flat = own * values.shape[0] + other
    return torch.from_numpy(np.sort(flat.numpy())) if flat.device.type == "cpu" else flat.sort().values


def split(flat: Int64[Tensor, " P"], width: int) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " P"]]:
    row = torch.div(flat, width, rounding_mode="floor")
    return row, flat - row * width
