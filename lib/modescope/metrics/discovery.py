"""False discovery rates: what remains of many p-values when they are looked at together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def benjamini_hochberg(p_values: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Adjusted p-values (1995): for independent tests, or ranks among shared held-out samples (Bates et al. 2023)."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * n / np.arange(1, n + 1)
    q_values = np.empty(n)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q_values


def benjamini_yekutieli(p_values: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Adjusted p-values (2001, theorem 1.3): valid under any dependence between the tests."""
    harmonic = (1 / np.arange(1, len(p_values) + 1)).sum()
    return benjamini_hochberg(np.asarray(p_values * harmonic))
