"""Images through a network under taps: activation batches, made lazily, in fixed batches so that bytes repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from modescope import seeds
from modescope.generators import Generator
from modescope.taps import capture

PROTOCOLS = ("noised", "scaled")
"""`noised`: input x + sigma n, n from the sample's own stream; `scaled`: input x * sigma, no noise."""


def network_input(
    x: Float[Tensor, "N C H W"], ids: Sequence[str], *, protocol: str, sigma: float, root: int
) -> Float[Tensor, "N C H W"]:
    """Clean images => what the network sees under a protocol. The noise of a sample depends on (root, its id) alone."""
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} must be above 0: the network is conditioned on ln(sigma)")
    if protocol == "noised":
        noise = torch.from_numpy(seeds.normal(root, "capture", list(ids), tuple(x.shape[1:])))
        return x + sigma * noise.to(x)
    if protocol == "scaled":
        return x * sigma
    raise ValueError(f"protocol {protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """Sized iterable of activation batches: each a mapping layer name => (n, C, H, W) on the CPU.

    Batch boundaries depend on the row index alone and the last batch is padded to full width, so that a row's bits do
    not depend on how many rows there are.
    """

    generator: Generator
    read: Callable[[np.ndarray], np.ndarray]
    ids: Sequence[str]
    labels: np.ndarray
    layers: Sequence[str]
    protocol: str
    sigma: float
    root: int
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def __iter__(self) -> Iterator[Mapping[str, Tensor]]:
        for start in range(0, len(self.ids), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(self.ids)))
            padded = np.resize(rows, self.batch_size)
            values = capture_batch(
                self.generator,
                self.read(padded),
                [self.ids[i] for i in padded.tolist()],
                self.labels[padded],
                layers=self.layers,
                protocol=self.protocol,
                sigma=self.sigma,
                root=self.root,
            )
            yield {name: value[: len(rows)] for name, value in values.items()}


@torch.no_grad()
def capture_batch(
    generator: Generator,
    pixels: UInt8[np.ndarray, "N C H W"],
    ids: Sequence[str],
    labels: np.ndarray,
    *,
    layers: Sequence[str],
    protocol: str,
    sigma: float,
    root: int,
) -> dict[str, Tensor]:
    """One batch of images => {layer: (N, C, H, W) float32, CPU} in execution order; the pass ends after the last layer."""
    paths = generator.module_paths(layers)
    x = network_input(generator.encode(pixels), ids, protocol=protocol, sigma=sigma, root=root)
    level = torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)
    with capture(generator.network, paths.values(), stop=True) as acts:
        generator.denoise(x, level, generator.rows(labels))
    return {name: acts[path].float().cpu() for name, path in paths.items()}


def flatten(values: Mapping[str, Tensor | np.ndarray]) -> Float[np.ndarray, "N D"]:
    """Layers in their order, each flattened C, H, W, side by side: the feature rows of a view."""
    return np.concatenate([np.asarray(v).reshape(len(v), -1) for v in values.values()], axis=1)
