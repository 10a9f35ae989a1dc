"""The ways back from map points to rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Inverse = Literal["neighbours", "barycentric", "umap"]
QUICK: tuple[Inverse, ...] = ("neighbours", "barycentric")  # a few ms; umap-learn's own takes seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Mean errors of an inverse. `features`: distance to the true row, as a share of that row's distance from the mean;
    `place`: distance of the returned row's place to the point it was made for, in standard deviations of the map.
    """

    features: float
    place: float


def mixed(
    rows: np.ndarray, indices: Int[np.ndarray, "M K"], weights: Float[np.ndarray, "M K"]
) -> Float[np.ndarray, "M D"]:
    """Weighted means of rows, one after the other: a memory map is read only where it is needed."""
    means = np.empty((len(indices), rows.shape[1]), np.float32)
    for i, (chosen, shares) in enumerate(zip(indices, weights, strict=True)):
        means[i] = shares @ rows[chosen].astype(np.float64)
    return means
