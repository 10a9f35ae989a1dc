"""Mask values: what the generator's sampling pass computes at its layers, for generated and for real images.

By name of the source: `recorded` (`record`, `recomputed`), and for real images `inverted` (`record` from the noise that
`inversion` found), `nearest` (`nearest_values`: generated samples stand in), `scaled` (`scaled_values`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modescope.generators import Generator
from modescope.sampling import Renoise, Step, balanced_labels, last, latents, one_step
from modescope.taps import capture

SOURCES = ("recorded", "inverted", "nearest", "scaled")


def rows_of(generator: Generator, asked: np.ndarray | Tensor | None) -> Tensor | None:
    """Class labels => condition rows; rows (a tensor) as they are."""
    return asked if asked is None or isinstance(asked, Tensor) else generator.rows(asked)


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


@torch.no_grad()
def record(
    generator: Generator, noise: Float[Tensor, "N C H W"], labels: np.ndarray | Tensor | None, paths: Sequence[str]
) -> tuple[UInt8[np.ndarray, "N c h w"], dict[str, Tensor]]:
    """One-step generation that records what `paths` compute: uint8 images, {path: (N, C, H, W)} mask values."""
    with capture(generator.network, paths) as acts:
        x0 = last(
            one_step(
                generator.denoise, noise.to(generator.device), rows_of(generator, labels), sigma_max=generator.sigma_max
            )
        )
    return generator.decode(x0), {path: acts[path].cpu() for path in paths}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Mask values of one step of a sampler: {module path: (N, C, H, W)} on the CPU."""

    index: int
    sigma: float
    values: dict[str, Tensor]


@torch.no_grad()
def record_steps(
    generator: Generator,
    sampler: Callable[..., Iterator[Step]],
    noise: Float[Tensor, "N C H W"],
    labels: np.ndarray | Tensor | None,
    paths: Sequence[str],
    renoise: Renoise | None = None,
) -> tuple[UInt8[np.ndarray, "N c h w"], list[Recorded]]:
    """Generation in several steps that records what `paths` compute in each: uint8 images, one record per step.

    Of Heun's two passes a step the first is recorded, the one at the step's own noise level.
    """
    recorded, x0 = [], None
    with capture(generator.network, paths) as acts:
        steps = sampler(generator.denoise, noise.to(generator.device), rows_of(generator, labels), renoise)
        for step in steps:
            x0 = step.x0
            values = {path: acts[path].cpu() for path in paths}
            recorded.append(Recorded(index=step.index, sigma=step.sigma, values=values))
        if x0 is None:
            raise ValueError("the sampler made no step; give it at least one")
    return generator.decode(x0), recorded


@torch.no_grad()
def recomputed(
    generator: Generator,
    indices: np.ndarray,
    labels: np.ndarray | None,
    root: int,
    paths: Sequence[str],
    *,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Mask values of the one-step generator's samples `indices`, made again from (root seed, index) instead of stored.

    `labels`: those of these samples, as stored (None: balanced). A row depends on its own index and label, up to the
    rounding that a network has in another batch; with `batch_size` the aligned batches of the pipeline are computed whole,
    and the bits are those that it stored. The pass ends after the last wanted layer. => {path: (n, C, H, W)} on the CPU.
    """
    indices = np.asarray(indices, np.int64)
    if not len(indices) or indices.min() < 0:
        raise ValueError(f"indices are {indices.tolist()}; name at least one sample, numbered from 0")
    asked = balanced_labels(indices, generator.num_classes) if labels is None else np.asarray(labels, np.int64)
    if batch_size is None:
        return _values_of(generator, indices, asked, root, paths)
    made: dict[str, Tensor] = {}
    for number in np.unique(indices // batch_size):
        wanted = np.flatnonzero(indices // batch_size == number)
        batch = np.arange(number * batch_size, (number + 1) * batch_size)
        classes, places = balanced_labels(batch, generator.num_classes), indices[wanted] - batch[0]
        classes[places] = asked[wanted]
        for path, values in _values_of(generator, batch, classes, root, paths).items():
            rows = made.setdefault(path, values.new_empty(len(indices), *values.shape[1:]))
            rows[torch.from_numpy(wanted)] = values[torch.from_numpy(places)]
    return made


def _values_of(
    generator: Generator, indices: np.ndarray, labels: np.ndarray, root: int, paths: Sequence[str]
) -> dict[str, Tensor]:
    noise = latents(root, indices, generator.latent_shape).to(generator.device)
    with capture(generator.network, paths, stop=True) as acts:
        last(one_step(generator.denoise, noise, generator.rows(labels), sigma_max=generator.sigma_max))
    return {path: acts[path].cpu() for path in paths}


def nearest_values(
    generator: Generator,
    queries: Float[np.ndarray, "M D"],
    features: Iterable[Float[np.ndarray, "B D"]],
    labels: np.ndarray | None,
    root: int,
    paths: Sequence[str],
    *,
    batch_size: int | None = None,
) -> tuple[Int64[np.ndarray, " M"], dict[str, Tensor]]:
    """For real images, given by their features: the nearest generated samples, and the mask values of these.

    `features`: those of all generated samples in the order of their indices, in blocks; `labels`: theirs, as stored (None:
    balanced). => indices (M,), values.
    """
    stand_in = nearest_rows(queries, features, 1)[:, 0]
    asked = None if labels is None else np.asarray(labels)[stand_in]
    return stand_in, recomputed(generator, stand_in, asked, root, paths, batch_size=batch_size)


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
