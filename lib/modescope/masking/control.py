"""What a mask controls, from features of results with and without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What a mask controls, each relative to no mask with the same noise and classes.

    control: median distance from the result to the aim (lower steers better); diversity: mean distance between the
    results of different seeds (higher varies more); agreement: share of results of the class asked for.
    """

    control: float
    diversity: float
    agreement: float


def spread(features: Float[np.ndarray, "A S D"]) -> float:
    """Mean distance between the results of different seeds for one aim, over all aims."""
    first, second = np.triu_indices(features.shape[1], 1)
    return float(np.linalg.norm(features[:, first] - features[:, second], axis=2).mean())


def measure_control(
    aims: Float[np.ndarray, "A D"],
    masked: Float[np.ndarray, "A S D"],
    free: Float[np.ndarray, "A S D"],
    agreement: float,
) -> Control:
    """Features of the results with (`masked`) and without (`free`) a mask, A aims x S seeds => what the mask controls."""

    def median(features: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(features - aims[:, None], axis=2)))

    return Control(control=median(masked) / median(free), diversity=spread(masked) / spread(free), agreement=agreement)
