"""What a comparison will cost on this machine, before it is begun."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from modescope import seeds
from modescope.metrics.manifolds import sweep

_TRIAL = 2048
_BLOCKS = 15 * 1024**2  # bytes of a block of distances with what is derived from it, at the default chunk
_COPY = 64 * 1024**2  # bytes of float32 copies, at most
_PER_NEIGHBOUR = 40  # bytes, while they are searched


def pairs(n: int, m: int, *, real_known: bool = False) -> int:
    """Distances between n real and m generated samples and within both, as `Journal.report` counts them.

    `real_known`: the neighbours of the real samples are at hand, and are not searched.
    """
    return n * m + m * (m + 1) // 2 + (0 if real_known else n * (n + 1) // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Floating-point operations of the matrix products, bytes of memory with the features, seconds."""

    pairs: int
    flop: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        lasts = f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
        return f"{self.pairs:.3g} pairs, {self.flop / 1e12:.3g} TFLOP, {self.bytes / 1e9:.2f} GB, about {lasts}"


def estimate(n: int, m: int, d: int, *, k: int = 5, real_known: bool = False, itemsize: int = 4) -> Estimate:
    """Cost of comparing n real and m generated samples of d dimensions with k neighbours, by a short trial run.

    The trial scores 2,048 random samples against as many, with the threads that torch has now; the best of three
    counts. Memory is that of the features (`itemsize` bytes a number; memory-mapped files need not stay in it), a
    float32 copy of the larger set or of strips, the neighbours and a block. ValueError for impossible counts.
    """
    if min(n, m) <= k or k < 1 or d < 1:
        raise ValueError(f"n = {n}, m = {m}, d = {d}, k = {k}: need d >= 1, k >= 1 and more than k samples of each")
    all_pairs = pairs(n, m, real_known=real_known)
    features, copy = (n + m) * d * itemsize, min(max(n, m) * d * 4, _COPY)
    return Estimate(
        pairs=all_pairs,
        flop=2 * d * all_pairs,
        bytes=features + copy + (n + m) * k * _PER_NEIGHBOUR + _BLOCKS,
        seconds=all_pairs * _seconds_per_pair(d),
    )


def _seconds_per_pair(d: int) -> float:
    x, y = (seeds.stream(0, "trial", side).standard_normal((_TRIAL, d), dtype=np.float32) for side in (0, 1))
    best = float("inf")
    for _ in range(3):  # what is slow the first time, or while another process is busy, is not counted
        start = time.perf_counter()
        sweep(x, y, (5,))
        best = min(best, time.perf_counter() - start)
    return best / pairs(_TRIAL, _TRIAL)
