"""Copies of training images: generated samples nearer to a real one than held-out real samples come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from modescope.metrics.comparison import Comparison
from modescope.metrics.discovery import benjamini_hochberg
from modescope.metrics.manifolds import paired
from modescope.neighbours import Features, nearest_between


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """For each generated sample how close it comes to a real one, against real samples that were held out.

    `ratios` are distances to the nearest real sample over that sample's own k-th radius: 0 for a copy, about 1 or more
    where real samples of the same law would lie. `p_values` are the shares of held-out samples that come as close;
    `q_values` control the rate of false calls. `share` of the generated ones lie below the held-out quantile `level`,
    which is the share that equal laws would put there.
    """

    ratios: Float64[np.ndarray, " M"]
    rows: Int64[np.ndarray, " M"]  # of the nearest real samples
    p_values: Float64[np.ndarray, " M"]
    q_values: Float64[np.ndarray, " M"]
    held_out_ratios: Float64[np.ndarray, " H"]
    share: float
    level: float

    def ranked(self, most: int | None = None) -> Int64[np.ndarray, " R"]:
        """Rows of the generated samples, the closest first."""
        return np.argsort(self.ratios, kind="stable")[:most]


def copies(comparison: Comparison, *, k: int = 5, level: float = 0.01) -> Copies:
    """Held out here is each real sample in turn: its ratio is taken among the others, as if it had been generated.

    Needs k + 1 neighbours among the real samples. Use `copies_against` when real samples exist that no training saw:
    then also what training on the others changed is in the comparison.
    """
    among = comparison.among_real
    _check(level, k, among.distances.shape[1] - 1)
    nearest_row = among.rows[:, 0]
    itself = (among.rows[nearest_row, :k] == np.arange(comparison.real)[:, None]).any(axis=1)
    without = np.where(itself, among.distances[nearest_row, k], among.distances[nearest_row, k - 1])
    across = comparison.fake_to_real
    radii = among.distances[:, k - 1]
    return _copies(
        ratios(across.distances[:, 0], radii[across.rows[:, 0]]),
        across.rows[:, 0],
        ratios(among.distances[:, 0], without),
        level,
    )


def copies_against(
    comparison: Comparison, real: Features, held_out: Features, *, k: int = 5, level: float = 0.01
) -> Copies:
    """As `copies`, with `held_out` real samples that are not in `real` (on which the generator may have trained)."""
    among, across = comparison.among_real, comparison.fake_to_real
    _check(level, k, among.distances.shape[1])
    points, others = paired(real, held_out)
    if len(points) != comparison.real:
        raise ValueError(f"real has {len(points)} samples and the comparison {comparison.real}; pass those compared")
    near = nearest_between(others, points)[0]
    radii = among.distances[:, k - 1]
    rows = near.indices[:, 0].cpu().numpy()
    return _copies(
        ratios(across.distances[:, 0], radii[across.rows[:, 0]]),
        across.rows[:, 0],
        ratios(torch.sqrt(near.squared[:, 0]).cpu().numpy(), radii[rows]),
        level,
    )


def ratios(distances: Float64[np.ndarray, " R"], radii: Float64[np.ndarray, " R"]) -> Float64[np.ndarray, " R"]:
    """Distance over radius; 0 at distance 0 and inf elsewhere around a radius of 0 (k copies among the real)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distances == 0, 0.0, distances / radii)


def _check(level: float, k: int, depth: int) -> None:
    if not 0 < level < 1 or not 1 <= k <= depth:
        raise ValueError(
            f"level = {level}, k = {k}: level lies between 0 and 1 and k from 1 to {depth} with the neighbours at hand; "
            "the defaults are 0.01 and 5"
        )


def _copies(
    found: Float64[np.ndarray, " M"], rows: Int64[np.ndarray, " M"], null: Float64[np.ndarray, " H"], level: float
) -> Copies:
    p_values = (1 + np.searchsorted(np.sort(null), found, side="right")) / (1 + len(null))
    threshold = np.quantile(null, level, method="lower")
    return Copies(
        ratios=found,
        rows=rows,
        p_values=p_values,
        q_values=benjamini_hochberg(p_values),
        held_out_ratios=null,
        share=float((found <= threshold).mean()),
        level=level,
    )
