"""What a mask controls, from features of results with and without it; what of the results' variance is whose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Results for A aims under S seeds: how far each is from its aim, how far those of one aim are from each other (P
    pairs of seeds), and whether each is of the class asked for (0 or 1, nan where nobody judges).
    """

    distance: Float[np.ndarray, "A S"]
    apart: Float[np.ndarray, "A P"]
    agrees: Float[np.ndarray, "A S"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What a mask controls, each relative to no mask with the same noise and classes.

    control: median distance from the result to the aim (lower steers better); diversity: mean distance between the
    results of different seeds (higher varies more; nan where there is but one); agreement: share of results of the class
    asked for.
    """

    control: float
    diversity: float
    agreement: float


def results_of(
    aims: Float[np.ndarray, "A D"], features: Float[np.ndarray, "A S D"], agrees: Float[np.ndarray, "A S"]
) -> Results:
    """Features of the results => what counts of them."""
    first, second = np.triu_indices(features.shape[1], 1)
    return Results(
        distance=np.linalg.norm(features - aims[:, None], axis=2),
        apart=np.linalg.norm(features[:, first] - features[:, second], axis=2),
        agrees=agrees,
    )


def joined(parts: Sequence[Results]) -> Results:
    """Results for some aims and for others => for all of them."""
    distance, apart, agrees = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("distance", "apart", "agrees")
    )
    return Results(distance=distance, apart=apart, agrees=agrees)


def measure_control(masked: Results, free: Results) -> Control:
    """Results with (`masked`) and without (`free`) a mask, for the same aims and seeds => what the mask controls."""
    return Control(
        control=float(np.median(masked.distance) / np.median(free.distance)),
        diversity=float(masked.apart.mean() / free.apart.mean()) if masked.apart.size else math.nan,
        agreement=float(masked.agrees.mean()),
    )


def variance_shares(features: Float[np.ndarray, "... D"], factors: Sequence[str]) -> dict[str, float]:
    """Features of a full factorial, one axis per factor => the share of their variance that is each factor's own, and each
    interaction's (`mask x class`): they add up to 1.

    Sums of squares of the terms of the ANOVA representation over that of all, features together (Sobol 2001, "Global
    sensitivity indices for nonlinear mathematical models and their Monte Carlo estimates", eqs. 2 to 5, for factors of
    finitely many levels). With one result per cell the last interaction holds whatever else varies. nan without variance.
    """
    if features.ndim != len(factors) + 1:
        raise ValueError(
            f"features have {features.ndim} axes; give one for each of {', '.join(factors)} and a last one"
        )
    axes = tuple(range(len(factors)))
    terms: dict[tuple[int, ...], np.ndarray] = {(): features.mean(axis=axes, keepdims=True, dtype=np.float64)}
    squares: dict[str, float] = {}
    for order in range(1, len(factors) + 1):
        for chosen in combinations(axes, order):
            rest = tuple(axis for axis in axes if axis not in chosen)
            term = features.mean(axis=rest, keepdims=True, dtype=np.float64) if rest else features.astype(np.float64)
            term = term - sum(part for those, part in terms.items() if set(those) < set(chosen))
            terms[chosen] = term
            repeats = math.prod(features.shape[axis] for axis in rest)
            squares[" x ".join(factors[axis] for axis in chosen)] = repeats * float(np.square(term).sum())
    total = sum(squares.values())
    return {name: square / total if total else math.nan for name, square in squares.items()}
