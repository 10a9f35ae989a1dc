"""Mask source `guided`: noise whose image has given features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from modescope.generators import Generator
from modescope.inversion.descent import Descent, atypical, descend
from modescope.sampling import levels
from modescope.taps import capture


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """Noise whose image comes nearest to an aim in features, its distance (root mean square over the features), the image."""

    noise: Float32[np.ndarray, "N C H W"]
    distance: Float64[np.ndarray, " N"]
    made: UInt8[np.ndarray, "N c h w"]


def guide(
    generator: Generator,
    features: Callable[[Tensor], Tensor],
    aims: Float[Tensor, "N D"],
    noise: Float[Tensor, "N C H W"],
    rows: Tensor | None,
    how: Descent | None = None,
) -> Guided:
    """Mask source `guided`: from `noise`, look for noise whose image has the features `aims`. Nothing is held.

    `features`: images in the network's space (N, C, H, W) => (N, D), differentiable (`features_of`).
    """
    how, aim, shape = how or Descent(), aims.to(generator.device), generator.latent_shape

    def objective(unknown: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        noise = unknown.unflatten(1, shape)
        x0 = generator.denoise(noise * generator.sigma_max, levels(noise, generator.sigma_max), rows)
        # Features of the image as it will be shown, within [-1, 1]; the slope goes through the limits as if there were none.
        shown = x0 + (x0.clamp(-1, 1) - x0).detach()
        distance = (features(shown) - aim).square().mean(1)
        return distance + how.prior * atypical(noise), distance, x0

    met = descend(objective, noise.to(generator.device).flatten(1), how, leave=False)
    return Guided(
        noise=met.unknowns.unflatten(1, shape).cpu().numpy(),
        distance=met.error.sqrt().double().cpu().numpy(),
        made=generator.decode(met.product),
    )


def features_of(
    network: Generator,
    paths: Sequence[str],
    *,
    sigma: float,
    noise: Float[Tensor, "N C H W"],
    rows: Tensor | None,
    mean: Float[np.ndarray, " D"],
    inverse_scale: Float[np.ndarray, " D"],
) -> Callable[[Tensor], Tensor]:
    """Images => standardised activations of a view under `noised`, differentiable: what `guide` steers by.

    `paths` in execution order, each flattened C, H, W; `noise`: the capture noise of each image.
    """
    device = network.device
    centre = torch.from_numpy(np.asarray(mean, np.float32)).to(device)
    scale = torch.from_numpy(np.asarray(inverse_scale, np.float32)).to(device)
    added = sigma * noise.to(device)

    def features(x0: Tensor) -> Tensor:
        level = torch.full((len(x0),), sigma, device=device)
        with capture(network.network, paths, stop=True, detach=False) as acts:
            network.denoise(x0 + added, level, rows)
        return (torch.cat([acts[path].flatten(1) for path in paths], dim=1) - centre) * scale

    return features
