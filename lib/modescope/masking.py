"""Mask values from picked samples, generation under a mask, and what a mask controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modescope import seeds
from modescope.generators import Generator
from modescope.records import Mask
from modescope.sampling import last, one_step
from modescope.taps import capture, hold


def mean_mask(
    values: Mapping[str, Tensor | np.ndarray],
    ids: Sequence[str],
    *,
    source: str,
    sigma: float,
    weights: Sequence[float] | None = None,
) -> Mask:
    """Mask values of several samples, {module path: (n, C, H, W)} => their weighted mean (1, C, H, W), in float32."""
    share = np.full(len(ids), 1 / max(len(ids), 1)) if weights is None else np.asarray(weights, float) / np.sum(weights)
    w = torch.from_numpy(share.astype(np.float32))
    means = {
        path: torch.einsum("n,nchw->chw", w, torch.as_tensor(np.asarray(v), dtype=torch.float32))[None]
        for path, v in values.items()
    }
    return Mask(values=means, ids=tuple(ids), weights=tuple(share.tolist()), source=source, sigma=sigma)


def shares(ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Ids, some of them repeated => each once, in order of first appearance, and its share of the whole (sums to 1)."""
    if not ids:
        raise ValueError("ids is empty; a mask is the mean of at least one sample: pick a neighbour")
    counts = Counter(ids)
    return tuple(counts), tuple(n / len(ids) for n in counts.values())


def nearest_rows(
    queries: Float[np.ndarray, "M D"], blocks: Iterable[Float[np.ndarray, "B D"]], k: int
) -> Int64[np.ndarray, "M K"]:
    """The k rows nearest to each query (Euclidean), nearest first; equal distances in the order of their rows.

    `blocks` are the rows in order, a part at a time, so that they need not fit in memory together. Distances are sums of
    squared differences, in the type of the rows: exact where a product of matrices would cancel, and made for few queries.
    """
    best = np.full((len(queries), 0), np.inf)
    rows = np.empty((len(queries), 0), np.int64)
    start = 0
    for block in blocks:
        squared = np.empty((len(queries), len(block)))
        for row, query in zip(squared, queries, strict=True):
            apart = block - query
            row[:] = np.einsum("nd,nd->n", apart, apart)
        best = np.concatenate([best, squared], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + len(block)), squared.shape)], axis=1)
        kept = np.argsort(best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, kept, 1), np.take_along_axis(rows, kept, 1)
        start += len(block)
    if not 1 <= k <= start:
        raise ValueError(f"k is {k}, there are {start} rows to choose from; give a number from 1 to that")
    return rows


def fresh_noise(seed: int, shape: tuple[int, int, int]) -> Float[Tensor, "1 C H W"]:
    """Standard normal noise for one new image: its own stream, apart from those of the pipeline's samples."""
    return torch.from_numpy(seeds.normal(seed, "made", [0], shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Images made under a mask: pixels uint8 (N, C, H, W); what went on from the held layers and what they computed."""

    pixels: np.ndarray
    held: Mapping[str, np.ndarray]
    computed: Mapping[str, np.ndarray]


@torch.no_grad()
def generate(
    generator: Generator,
    noise: Float[Tensor, "N C H W"],
    labels: np.ndarray,
    mask: Mask | None,
    *,
    strength: float = 1.0,
) -> Made:
    """One-step generation from `noise` with the mask held in the step it was recorded for (None: nothing held)."""
    noise, rows = noise.to(generator.device), generator.rows(labels)
    if mask is None:
        x0 = last(one_step(generator.denoise, noise, rows, sigma_max=generator.sigma_max))
        return Made(pixels=generator.decode(x0), held={}, computed={})
    if mask.sigma != generator.sigma_max:
        raise ValueError(
            f"the mask was recorded at sigma {mask.sigma:g} and this generator makes its step at sigma "
            f"{generator.sigma_max:g}; hold a mask in the step it was recorded for"
        )
    network, paths = generator.network, list(mask.values)
    with (
        hold(network, mask.values, strength=strength),
        capture(network, paths) as computed,
        capture(network, paths, value="held") as held,
    ):
        x0 = last(one_step(generator.denoise, noise, rows, sigma_max=generator.sigma_max))
    return Made(
        pixels=generator.decode(x0),
        held={path: held[path].cpu().numpy() for path in paths},
        computed={path: computed[path].cpu().numpy() for path in paths},
    )


@torch.no_grad()
def record(
    generator: Generator, noise: Float[Tensor, "N C H W"], labels: np.ndarray, paths: Sequence[str]
) -> tuple[UInt8[np.ndarray, "N C H W"], dict[str, Tensor]]:
    """One-step generation that records what `paths` compute: uint8 images, {path: (N, C, H, W)} mask values."""
    with capture(generator.network, paths) as acts:
        x0 = last(
            one_step(
                generator.denoise, noise.to(generator.device), generator.rows(labels), sigma_max=generator.sigma_max
            )
        )
    return generator.decode(x0), {path: acts[path].cpu() for path in paths}


@torch.no_grad()
def scaled_values(
    generator: Generator, pixels: UInt8[np.ndarray, "N C H W"], labels: np.ndarray, paths: Sequence[str]
) -> dict[str, Tensor]:
    """Mask values for real images after the original visualizer: the network's layers on x * sigma_max, no noise."""
    x = generator.encode(pixels) * generator.sigma_max
    level = torch.full((len(x),), generator.sigma_max, device=x.device)
    with capture(generator.network, paths, stop=True) as acts:
        generator.denoise(x, level, generator.rows(labels))
    return {path: acts[path].cpu() for path in paths}


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
