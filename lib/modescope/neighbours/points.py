"""Feature vectors as they come: checked by name, and read block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

Features = np.ndarray | Tensor
"""Feature vectors (N, D), one row per sample, of any real dtype; `as_points` checks them."""


def as_points(values: Features, name: str) -> Tensor:
    """Features => a floating (N, D) tensor, over the same memory where possible. ValueError says what is wrong."""
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; features are (samples, dimensions) with at least one of each: "
            f"reshape them to (N, D)"
        )
    points = values.detach() if isinstance(values, Tensor) else _tensor(values, name)
    if points.is_complex():
        raise ValueError(f"{name} is complex; distances need real features: put real and imaginary parts side by side")
    points = points if points.is_floating_point() else points.double()
    limit = min(1e150, 2 * torch.finfo(points.dtype).max)  # squares of what is below stay finite in float64
    for rows in blocks(len(points), rows_within(points, 1 << 20)):
        low, high = points[rows].aminmax()
        if not (-limit < low and high < limit):  # NaN, which is found as either, fails the comparison too
            bad = ~(points[rows].abs() < limit).all(dim=1)
            row = rows.start + int(bad.nonzero()[0, 0])
            raise ValueError(f"{name} has NaN, infinity or a value beyond 1e150 in row {row}; repair or drop that row")
    return points


def _tensor(values: np.ndarray, name: str) -> Tensor:
    if values.dtype.kind not in "fiubc":
        raise ValueError(f"{name} has dtype {values.dtype}; features are numbers: convert them with .astype('float32')")
    if values.dtype.kind in "iub" or values.dtype.itemsize > 8:
        values = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return torch.from_dlpack(native)  # from_numpy would warn about memory maps, which are read-only


def blocks(count: int, size: int, start: int = 0) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(start, count, size))


def rows_within(points: Tensor, elements: int) -> int:
    return max(1, elements // points.shape[1])
