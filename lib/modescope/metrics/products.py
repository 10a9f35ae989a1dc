"""All inner products of two sets, kept: from them come the distances, Frechet and kernel, of any part of the samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from modescope.neighbours import Cloud, Table, clouds

_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """x.y of all pairs of the samples of two sets, one behind the other, about the mean of the first and scaled.

    With A samples it is 12 A^2 bytes. Rows below are places among all samples.
    """

    gram: Float64[Tensor, "A A"]
    along_centre: Float64[Tensor, " A"]  # of each sample with the centre
    centre: Float64[Tensor, " D"]  # scaled as the samples
    like: Cloud
    table: Table

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Products:
        like = clouds(x, y)[1]
        values = torch.cat([(points.double() - like.centre) * like.scale for points in (x, y)])
        gram = values.new_empty(len(values), len(values))
        for start in range(0, len(values), _ROWS):
            rows, rest = slice(start, start + _ROWS), slice(start + _ROWS, None)
            gram[rows, start:] = values[rows] @ values[start:].T
            gram[rest, rows] = gram[rows, rest].T
        centre = like.centre * like.scale
        table = Table.of(gram, x.shape[1])
        return cls(gram=gram, along_centre=values @ centre, centre=centre, like=like, table=table)

    def cloud(self, points: Tensor, rows: Int64[Tensor, " N"]) -> Cloud:
        """The samples of these rows, ready for a search: `points` are the samples themselves."""
        return self.table.cloud(self.like, points, rows)

    def frechet(self, a: Int64[Tensor, " N"], b: Int64[Tensor, " M"]) -> float:
        """As `frechet_distance`, whose product of the factors is the doubly centred part of the table."""
        within_a, within_b, across = (self.gram[one].index_select(1, two) for one, two in ((a, a), (b, b), (a, b)))
        n, m = len(a), len(b)
        means = within_a.mean() + within_b.mean() - 2 * across.mean()
        spread_a = (within_a.diagonal().sum() - n * within_a.mean()) / (n - 1)
        spread_b = (within_b.diagonal().sum() - m * within_b.mean()) / (m - 1)
        centred = across - across.mean(dim=0) - across.mean(dim=1, keepdim=True) + across.mean()
        root = torch.linalg.svdvals(centred).sum() / ((n - 1) * (m - 1)) ** 0.5
        return float((means + (spread_a + spread_b - 2 * root).clamp(min=0)) / self.like.scale**2)

    def kernel_sums(self, weights: Float64[Tensor, "A W"]) -> Float64[Tensor, "A W"]:
        """For each sample, the weighted sums of its kernel (x.y / D + 1)^3 with all others."""
        sums, unit = torch.empty_like(weights), self.like.scale**2 * len(self.centre)
        along = self.along_centre + self.centre.square().sum() / 2
        for start in range(0, len(self.gram), _ROWS):
            rows = slice(start, start + _ROWS)
            kernel = ((self.gram[rows] + along[rows, None] + along) / unit + 1) ** 3
            kernel.diagonal(start).zero_()
            sums[rows] = kernel @ weights
        return sums
