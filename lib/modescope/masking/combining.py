"""Mask values of several samples => one mask: means, interpolation, differences, parts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modescope.masking.values import Recorded
from modescope.records import Mask


def mean_mask(
    values: Mapping[str, Tensor | np.ndarray],
    ids: Sequence[str],
    *,
    source: str,
    sigma: float,
    weights: Sequence[float] | None = None,
) -> Mask:
    """Mask values of several samples, {module path: (n, C, H, W)} => their weighted mean (1, C, H, W), in float32."""
    share = np.full(len(ids), 1 / max(len(ids), 1)) if weights is None else _normalised(weights, len(ids))
    w = torch.from_numpy(share.astype(np.float32))
    means = {
        path: torch.einsum("n,nchw->chw", w, torch.as_tensor(np.asarray(v), dtype=torch.float32))[None]
        for path, v in values.items()
    }
    return Mask(values=means, ids=tuple(ids), weights=tuple(share.tolist()), source=source, sigma=sigma)


def _normalised(weights: Sequence[float], count: int) -> np.ndarray:
    w = np.asarray(weights, float)
    if w.shape != (count,) or not np.isfinite(w).all() or not w.sum() > 0:
        raise ValueError(f"weights are {w.tolist()}; give one finite weight per id ({count}), with a sum above 0")
    return w / w.sum()


def shares(ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Ids, some of them repeated => each once, in order of first appearance, and its share of the whole (sums to 1)."""
    if not ids:
        raise ValueError("ids is empty; a mask is the mean of at least one sample: pick a neighbour")
    counts = Counter(ids)
    return tuple(counts), tuple(n / len(ids) for n in counts.values())


def step_masks(
    recorded: Sequence[Recorded], ids: Sequence[str], *, source: str, weights: Sequence[float] | None = None
) -> list[Mask]:
    """One mask for each step of a sampler, each held in its own step alone; the first k of them: `[:k]`."""
    return [mean_mask(step.values, ids, source=source, sigma=step.sigma, weights=weights) for step in recorded]


def interpolated(first: Mask, second: Mask, share: float) -> Mask:
    """`(1 - share) * first + share * second`, share in [0, 1]: both of the same layers and the same step."""
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share {share} is outside [0, 1]; beyond the ends, add a `difference` instead")
    _check_alike(first, second)
    weights: Counter[str] = Counter()
    for mask, part in ((first, 1 - share), (second, share)):
        for name, weight in zip(mask.ids, mask.weights, strict=True):
            weights[name] += part * weight  # type: ignore[assignment]
    return Mask(
        values={path: torch.lerp(value, second.values[path], share) for path, value in first.values.items()},
        ids=tuple(weights),
        weights=tuple(weights.values()),
        source=first.source if first.source == second.source else "mixed",
        sigma=first.sigma,
    )


def difference(toward: Mask, away: Mask) -> Mask:
    """`toward - away`, to be added to what a layer computes (`Hold(add=True)`). Weights of `away` count negative."""
    _check_alike(toward, away)
    weights = dict(zip(toward.ids, toward.weights, strict=True))
    for name, weight in zip(away.ids, away.weights, strict=True):
        weights[name] = weights.get(name, 0.0) - weight
    return Mask(
        values={path: value - away.values[path] for path, value in toward.values.items()},
        ids=tuple(weights),
        weights=tuple(weights.values()),
        source="difference",
        sigma=toward.sigma,
    )


def _check_alike(first: Mask, second: Mask) -> None:
    if first.sigma != second.sigma or set(first.values) != set(second.values):
        raise ValueError(
            f"the masks hold {', '.join(first.values)} at sigma {first.sigma:g} and {', '.join(second.values)} at sigma "
            f"{second.sigma:g}; combine masks of the same layers and the same step"
        )


def region(
    shape: tuple[int, ...],
    *,
    channels: Sequence[int] | None = None,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> Float[Tensor, "1 C H W"]:
    """1 where a layer of `shape` (C, H, W) is held, else 0: some channels, and a window [start, stop) of rows and columns."""
    c, h, w = shape
    part = torch.zeros(1, c, h, w)
    for what, span, size in (("rows", rows, h), ("columns", columns, w)):
        if span is not None and not 0 <= span[0] < span[1] <= size:
            raise ValueError(f"{what} {span} are no window of 0..{size}; give (start, stop) with start < stop")
    chosen = list(range(c)) if channels is None else list(channels)
    if not chosen or min(chosen) < 0 or max(chosen) >= c:
        raise ValueError(f"channels {chosen} are not all in 0..{c - 1}; give at least one channel of the layer")
    part[:, chosen, slice(*(rows or (0, h))), slice(*(columns or (0, w)))] = 1
    return part
