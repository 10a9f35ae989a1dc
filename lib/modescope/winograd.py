"""3x3 convolutions by Winograd's minimal filtering: a quarter of the products, for processors without matrix units.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): a tile of 4x4 outputs takes 6x6
products instead of 144. The matrices are those of Toom-Cook interpolation; the usual points 0, +-1, +-2 lose a digit to
cancellation (Barabasz et al. 2020, "Error Analysis and Improving the Accuracy of Winograd Convolution for DNNs"). With
0, +-sqrt(1/2), +-sqrt(2) and infinity the error in float32 is that of the plain sum.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.polynomial import polynomial
from torch import Tensor, nn

TILE = 4
_EDGE = TILE + 2
_POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))
_TOGETHER = 1 << 22  # transformed values at a time: 16 MiB, about what stays in a cache


def matrices() -> tuple[Float[np.ndarray, "6 6"], Float[np.ndarray, "6 3"], Float[np.ndarray, "4 6"]]:
    """B^T, G and A^T with A^T ((G w) * (B^T d)) = the correlation of d (6,) and w (3,); the last point is infinity."""
    data, filters, outputs = np.zeros((_EDGE, _EDGE)), np.zeros((_EDGE, 3)), np.zeros((TILE, _EDGE))
    for row, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        data[row, : len(others) + 1] = polynomial.polyfromroots(others)
        filters[row] = point ** np.arange(3) / np.prod([point - other for other in others])
        outputs[:, row] = point ** np.arange(TILE)
    data[-1], filters[-1, -1], outputs[-1, -1] = polynomial.polyfromroots(_POINTS), 1, 1
    return data, filters, outputs


@cache
def _planes() -> tuple[Tensor, Tensor, Tensor]:
    """The same for two dimensions, float64: (36, 36), (36, 9), (16, 36)."""
    data, filters, outputs = (torch.from_numpy(matrix) for matrix in matrices())
    return torch.kron(data, data), torch.kron(filters, filters), torch.kron(outputs, outputs)


def transformed(weight: Float[Tensor, "K C 3 3"]) -> Float[Tensor, "36 K C"]:
    """Filters as `convolve` takes them, in their own type; the sums run in float64."""
    k, c = weight.shape[:2]
    flat = weight.double().permute(2, 3, 0, 1).reshape(9, k * c)
    return (_planes()[1] @ flat).to(weight.dtype).view(_EDGE**2, k, c)


def convolve(
    x: Float[Tensor, "N C H W"], filters: Float[Tensor, "36 K C"], bias: Float[Tensor, " K"]
) -> Float[Tensor, "N K H W"]:
    """The 3x3 convolution with padding 1. Heights and widths are multiples of 4."""
    n, c, height, width = x.shape
    if height % TILE or width % TILE:
        raise ValueError(f"x has shape {tuple(x.shape)}; heights and widths must be multiples of {TILE}")
    down, across, k = height // TILE, width // TILE, filters.shape[1]
    data, _, outputs = (plane.to(x) for plane in _planes())
    result = x.new_empty((n, k, height, width))
    step = max(1, _TOGETHER // (_EDGE**2 * c * down * across))
    for part, out in zip(x.split(step), result.split(step), strict=True):
        tiles = F.pad(part, (1, 1, 1, 1)).unfold(2, _EDGE, TILE).unfold(3, _EDGE, TILE)
        rows = (data @ tiles.permute(4, 5, 1, 0, 2, 3).reshape(_EDGE**2, -1)).view(_EDGE**2, c, -1)
        sums = outputs @ torch.bmm(filters, rows).view(_EDGE**2, -1)
        images = sums.view(TILE, TILE, k, len(part), down, across).permute(3, 2, 4, 0, 5, 1)
        torch.add(images, bias[:, None, None, None, None], out=out.view(len(part), k, down, TILE, across, TILE))
    return result


class WinogradConv(nn.Module):
    """A 3x3 convolution with the given weights; the filters, four times their size, are made when first needed."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.filters: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % TILE or x.shape[3] % TILE:
            return F.conv2d(x, self.weight, self.bias, padding=1)
        if self.filters is None:
            self.filters = transformed(self.weight)
        return convolve(x, self.filters, self.bias)
