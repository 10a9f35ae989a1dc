"""Squared distances between blocks of samples: fast bounds from float32 matrix products, and exact values.

Distances come from float32 matrix products with a rigorous error bound (Higham 2002). A pair that the
bound leaves undecided is recomputed from the raw values in float64, so that every decision is the one an all-float64
computation of sum((x - y)^2) takes, whatever the block size or the thread count.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from modescope.neighbours.points import blocks, rows_within

_DEPTH = 2048  # columns per matrix product: bounds the length of a float32 sum, and with it the rounding error
_SPARE = 64  # roundings beyond those of the products: norms, centring, thresholds, and the float64 sum itself
_BYTES = 40  # of a block of chunk x 2 chunk distances and its temporaries, float64 included, over chunk^2
_WHOLE = 1 << 24  # numbers of a set that is kept in float32 beside the raw ones: 64 MB
_COMPILED = 1 << 23  # pairs: a pass over fewer is over before numba is imported, which takes half a second
_SCATTERED = 1 << 27  # pairs: over more, what compiled code allocates in between leaves a gigabyte of memory in pieces
CROWDED = 20  # a block with more than 1 in 20 pairs undecided is cheaper in float64


@dataclass(frozen=True, slots=True)
class Part:
    """Some samples of a cloud, centred and scaled to at most 1 in float32, where squares cannot overflow.

    Behind the coordinates x stand -(|x|^2 - slack) / 2 and 1, or these two the other way round (`facing`): a product of
    one form with the other is -d^2 / 2 plus half of both slacks, and nothing is left to subtract.
    """

    cloud: Cloud
    rows: slice
    facing: bool
    low: Float[Tensor, "B E"]
    low_slack: Float64[Tensor, " B"]

    def take(self, rows: slice, depth: slice, dtype: torch.dtype) -> Tensor:
        if dtype == torch.float32:
            return self.low[_within(rows, self.rows), depth]
        values = self._values(rows, depth)
        if depth.stop <= self.cloud.raw.shape[1]:
            return values
        squares = self._squares(rows)
        return torch.cat([values, _ends(squares, _slack(squares, self.cloud, dtype), self.facing)], dim=1)

    def slack(self, rows: slice, dtype: torch.dtype) -> Float64[Tensor, " B"]:
        if dtype == torch.float32:
            return self.low_slack[_within(rows, self.rows)]
        return _slack(self._squares(rows), self.cloud, dtype)

    def _values(self, rows: slice, depth: slice) -> Float64[Tensor, "B W"]:
        return (self.cloud.raw[rows, depth].double() - self.cloud.centre[depth]) * self.cloud.scale

    def _squares(self, rows: slice) -> Float64[Tensor, " B"]:
        return sum(
            (self._values(rows, depth).square().sum(dim=1) for depth in _slices(self.cloud.raw.shape[1])),
            torch.zeros(1, dtype=torch.float64, device=self.low.device),
        )


def _within(rows: slice, outer: slice) -> slice:
    return slice(rows.start - outer.start, rows.stop - outer.start)


def _slices(width: int) -> Iterator[slice]:
    """Columns of a product; the last ones take along the two that stand behind the coordinates."""
    return (slice(depth.start, depth.stop + 2 * (depth.stop == width)) for depth in blocks(width, _DEPTH))


def _slack(squares: Float64[Tensor, " B"], cloud: Cloud, dtype: torch.dtype) -> Float64[Tensor, " B"]:
    """|computed d^2 - d^2| / 2 <= gamma (|x||y| + |x|^2 / 2 + |y|^2 / 2) <= gamma (|x|^2 + |y|^2): a sum of two halves."""
    width, unit = cloud.raw.shape[1], torch.finfo(dtype).eps / 2
    roundings = (min(width, _DEPTH) + width // _DEPTH + _SPARE) * unit
    tiny = 4 * (width + _SPARE) * torch.finfo(dtype).tiny  # products that underflow have no relative error bound
    return squares * (2 * roundings / (1 - roundings)) + tiny


def _ends(squares: Float64[Tensor, " B"], slack: Float64[Tensor, " B"], facing: bool) -> Float64[Tensor, "B 2"]:
    norm = (slack - squares) / 2
    return torch.stack([torch.ones_like(norm), norm] if facing else [norm, torch.ones_like(norm)], dim=1)


@dataclass(frozen=True, slots=True)
class Cloud:
    """Samples, and the centre and scale that their float32 form has. It is made part by part, or kept as a whole."""

    raw: Tensor
    centre: Float64[Tensor, " D"]
    scale: float  # a power of two: scaling is exact
    kept: Part | None = None
    table: Table | None = None  # of all pairs, these samples among others

    def part(self, rows: slice, *, facing: bool = False) -> Part:
        """Bounds of these rows (or of more) can be taken from it, against parts that face the other way."""
        if self.table is not None:
            return Part(self, rows, facing, self.centre.new_empty(0, 2), self.centre.new_empty(0))
        if self.kept is None:
            return self._made(rows, facing)
        if not facing:
            return self.kept
        low = self.kept.low[rows].clone()
        low[:, -2:] = low[:, -2:].flip(1)
        return Part(self, rows, facing, low, self.kept.low_slack[rows])

    def _made(self, rows: slice, facing: bool) -> Part:
        count, width = rows.stop - rows.start, self.raw.shape[1]
        low = torch.empty((count, width + 2), dtype=torch.float32, device=self.raw.device)
        slack = torch.empty(count, dtype=torch.float64, device=self.raw.device)
        for some in _small(low):
            low[some, :width] = (self.raw[rows][some] - self.centre).mul_(self.scale)
            squares = low[some, :width].double().square_().sum(dim=1)
            slack[some] = _slack(squares, self, torch.float32)
            low[some, width:] = _ends(squares, slack[some], facing)
        return Part(self, rows, facing, low, slack)

    def whole(self) -> Cloud:
        """The same, with a float32 copy of all samples."""
        return dataclasses.replace(self, kept=self._made(slice(0, len(self.raw)), False))


def clouds(*sets: Tensor) -> list[Cloud]:
    """All sets about the mean of the first, which is kept as a whole if it is small: passes take others part by part.

    Any centre gives the same decisions; a good one leaves few undecided.
    """
    width = sets[0].shape[1]
    total = sum(
        (sets[0][rows].sum(dim=0, dtype=torch.float64) for rows in _small(sets[0])),
        torch.zeros(width, dtype=torch.float64, device=sets[0].device),
    )
    centre = total / len(sets[0])
    peak = max(float(torch.stack(points.aminmax()).abs().max()) for points in sets) + float(centre.abs().max())
    scale = 2.0 ** max(-500, min(500, -math.frexp(peak)[1]))
    first, *others = (Cloud(points, centre, scale) for points in sets)
    return [first.whole() if sets[0].numel() <= _WHOLE else first, *others]


def _small(points: Tensor) -> Iterator[slice]:
    """Blocks of rows whose float64 copies stay in a processor's cache, or fill a GPU."""
    return blocks(len(points), rows_within(points, 1 << (16 if points.device.type == "cpu" else 24)))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """The error bound holds for true float32 products: no TF32, no bfloat16, no autocast.

    The setting is the process's: the first thread inside saves it, the last one outside puts it back.
    """
    _FULL.enter()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        _FULL.leave()


class _FullPrecision:
    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, ""

    def enter(self) -> None:
        with self.lock:
            if not self.users:
                self.before = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("highest")
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                torch.set_float32_matmul_precision(self.before)


_FULL = _FullPrecision()


@dataclass(frozen=True, slots=True)
class Table:
    """Bounds of all pairs of some samples, ready made: what is asked of many parts of them needs no further products.

    `closeness` and `slack` are those of a `Block`, `rows` the place in them of each sample of a cloud.
    """

    closeness: Float[Tensor, "A A"]
    slack: Float64[Tensor, " A"]
    rows: Int64[Tensor, " N"]

    @classmethod
    def of(cls, gram: Float64[Tensor, "A A"], width: int) -> Table:
        """From float64 products x.y of samples of this width about any one centre, of at most 1 in every coordinate."""
        squares = gram.diagonal()
        unit, tiny = torch.finfo(torch.float32).eps / 2, torch.finfo(torch.float32).tiny
        # The rounding to float32 of at most |x|^2 + |y|^2, and the centring and the float64 sums before it.
        slack = squares * (4 * unit + 4 * (width + _SPARE) * torch.finfo(torch.float64).eps) + 4 * tiny
        half, closeness = (slack - squares) / 2, torch.empty(gram.shape, dtype=torch.float32, device=gram.device)
        for some in _small(gram):
            closeness[some] = gram[some].add(half).add_(half[some, None])
        return cls(closeness, slack, torch.arange(len(gram), device=gram.device))

    def cloud(self, like: Cloud, raw: Tensor, rows: Int64[Tensor, " N"]) -> Cloud:
        """`raw` are the samples of these rows."""
        return dataclasses.replace(like, raw=raw, kept=None, table=dataclasses.replace(self, rows=rows))

    def block(self, other: Table, rows: slice, columns: slice) -> Block:
        one, two = self.rows[rows], other.rows[columns]
        return Block(self.closeness[one].index_select(1, two), self.slack[one], self.slack[two])


@dataclass(frozen=True, slots=True)
class Block:
    """Bounds on the squared distances of a block of pairs, in scaled units.

    `closeness` is at least -d^2 / 2, and at most that plus the two pairs' slacks: low = -2 closeness <= d^2 <= low +
    2 (row_slack + column_slack).
    """

    closeness: Float[Tensor, "B W"]
    row_slack: Float64[Tensor, " B"]
    column_slack: Float64[Tensor, " W"]
    compiled: bool = False  # whether compiled code searches it


def measure(a: Part, b: Part, rows: slice, columns: slice, dtype: torch.dtype) -> Block:
    """One of the two parts faces the other, or both are of one table."""
    if dtype == torch.float32 and a.cloud.table is not None and b.cloud.table is not None:
        return a.cloud.table.block(b.cloud.table, rows, columns)
    slices = _slices(a.cloud.raw.shape[1])
    products = (a.take(rows, depth, dtype) @ b.take(columns, depth, dtype).T for depth in slices)
    closeness, compiled = (
        functools.reduce(Tensor.add_, products),
        dtype == torch.float32 and many_pairs(a.cloud, b.cloud),
    )
    return Block(closeness, a.slack(rows, dtype), b.slack(columns, dtype), compiled)


def many_pairs(a: Cloud, b: Cloud) -> bool:
    """Whether they have so many pairs, on a CPU, that compiled code searches them."""
    return a.raw.device.type == "cpu" and _COMPILED <= len(a.raw) * len(b.raw) <= _SCATTERED


def exact(a: Cloud, b: Cloud, i: Int64[Tensor, " P"], j: Int64[Tensor, " P"]) -> Float64[Tensor, " P"]:
    """Squared distances of pairs from the raw values, in raw units; d(x, y) = d(y, x) to the bit.

    The order of a sum depends on D alone, not on the number of pairs or threads.
    """
    kinds = {a.raw.dtype, b.raw.dtype}
    if i.device.type == "cpu" and torch.bfloat16 not in kinds:
        compiled = many_pairs(a, b) and torch.float16 not in kinds
        return torch.from_numpy(_exact(*(values.numpy() for values in (a.raw, b.raw, i, j)), compiled=compiled))
    squared = torch.empty(len(i), dtype=torch.float64, device=i.device)
    for part in blocks(len(i), rows_within(a.raw, 1 << 24)):
        terms = a.raw.index_select(0, i[part]).double().sub_(b.raw.index_select(0, j[part]).double())
        squared[part] = _row_sums(terms.square_())
    return squared


def _exact(
    a: np.ndarray, b: np.ndarray, i: Int64[np.ndarray, " P"], j: Int64[np.ndarray, " P"], *, compiled: bool
) -> Float64[np.ndarray, " P"]:
    """In small parts that stay in a processor's cache. NumPy sums in both ways: torch would call its threads for each."""
    size = max(1, (1 << 16) // a.shape[1])
    squared, terms = np.empty(len(i)), np.empty((min(len(i), size), a.shape[1]))
    for part in blocks(len(i), size):
        some = terms[: part.stop - part.start]
        if compiled:
            from modescope.neighbours import scanning  # numba takes half a second to import

            scanning.square_differences(a, b, i[part], j[part], some)
        else:
            np.subtract(a.take(i[part], axis=0), b.take(j[part], axis=0), out=some, dtype=np.float64)
            np.square(some, out=some)
        squared[part] = np.add.reduce(some, axis=1)
    return squared


def _row_sums(terms: Float64[Tensor, "P D"]) -> Float64[Tensor, " P"]:
    """By halves, in the terms themselves."""
    width = terms.shape[1]
    while width > 1:
        half = (width + 1) // 2  # an odd column in the middle waits for the next round
        terms[:, : width - half] += terms[:, half:width]
        width = half
    return terms[:, 0]


def default_chunk(points: Tensor) -> int:
    return 1024 if points.device.type == "cpu" else 4096


def chunk_within(megabytes: float, width: int = 0) -> int:
    """The largest `chunk` whose blocks of distances, with all that is derived from them, stay within this memory.

    With `width`, the float32 strip of 2 chunk samples of so many dimensions is counted too.
    """
    strip = 8 * width  # bytes over chunk
    chunk = int((math.sqrt(strip**2 + 4 * _BYTES * max(megabytes, 0) * 2**20) - strip) / (2 * _BYTES))
    if chunk < 16:
        raise ValueError(
            f"megabytes = {megabytes}: blocks of distances need at least 0.01, and strips of {width} dimensions "
            f"{128 * width / 2**20:.2f} more; the default chunk takes about 40"
        )
    return chunk
