"""How a view looks at images, and what the network sees of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from modescope import seeds
from modescope.components import Components
from modescope.runtime import check_precision

CAPTURE_VERSION = 1
"""Part of every configuration hash of captured values. Raise it when the same request gives other bytes."""

PROTOCOLS = ("noised", "scaled", "sampling", "clean")
"""`noised`: input x + sigma n, n from the sample's own stream; `scaled`: input x * sigma, no noise; `sampling`: what the
generator computes while it samples, at the step whose noise level is nearest to sigma; `clean`: input x, no noise level."""

KEEPS = ("full", "mean", "pca")
"""`full`: (N, C, H, W) of each layer; `mean`: its spatial means (N, C, 1, 1); `pca`: all layers on a basis and
what it leaves out of each row (N, P + 1, 1, 1)."""

PCA = "pca"
RECONSTRUCTION = "x0"
"""Name under which the denoised images (uint8) come with the activations, where they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a view looks at images: layers (friendly names or module paths), protocol, noise levels (none for `clean`), what is
    kept of them.

    `basis` is the one that `pca` projects on: fitted on the same layers and noise levels, kept in full (`fit_basis`).
    `root` is the seed from which, with a sample's id, its noise is drawn: the same noise at every level.
    """

    layers: tuple[str, ...]
    sigmas: tuple[float, ...]
    protocol: str = "noised"
    keep: str = "full"
    basis: Components | None = None
    precision: str = "float32"
    root: int = 0

    def __post_init__(self) -> None:
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise ValueError(f"layers are {self.layers}; name at least one layer, and each once")
        if self.protocol == "clean" and self.sigmas:
            raise ValueError(f"sigmas are {self.sigmas}; protocol 'clean' looks at images without noise: give none, ()")
        if (not self.sigmas and self.protocol != "clean") or len({f"{sigma:g}" for sigma in self.sigmas}) != len(
            self.sigmas
        ):
            raise ValueError(f"sigmas are {self.sigmas}; give at least one noise level, and each once (to 6 digits)")
        for sigma in self.sigmas:
            if not 0 < sigma < math.inf:
                raise ValueError(f"sigma {sigma} must be above 0: the network is conditioned on ln(sigma)")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol {self.protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}")
        if self.protocol == "sampling" and len(self.sigmas) > 1:
            raise ValueError(f"sigmas are {self.sigmas}; protocol 'sampling' records one step: give one noise level")
        if self.keep not in KEEPS:
            raise ValueError(f"keep {self.keep!r} is unknown; use one of {', '.join(KEEPS)}")
        if self.keep == PCA and (self.basis is None or self.basis.axes is None):
            raise ValueError("keep is 'pca' and basis has no axes; give the basis to project on (`fit_basis`)")
        if self.keep != PCA and self.basis is not None:
            raise ValueError(f"keep is {self.keep!r} and basis is given; only 'pca' projects on one")
        check_precision(self.precision)

    def full(self) -> Look:
        """The same look, keeping everything: what a basis is fitted on."""
        return replace(self, keep="full", basis=None)


def capture_noise(ids: Sequence[str], shape: tuple[int, ...], *, root: int, threads: int = 1) -> Float[Tensor, "N ..."]:
    """The noise that `noised` adds: a sample's depends on (root, its id) alone, not on the number of threads."""
    if threads == 1 or len(ids) < 2 * threads:
        return torch.from_numpy(seeds.normal(root, "capture", list(ids), shape))
    step = -(-len(ids) // threads)
    parts = [ids[begin : begin + step] for begin in range(0, len(ids), step)]
    with ThreadPoolExecutor(threads) as pool:  # NumPy draws outside of the interpreter's lock
        return torch.cat(list(pool.map(lambda part: capture_noise(part, shape, root=root), parts)))


def network_input(
    x: Float[Tensor, "N C H W"], noise: Float[Tensor, "N C H W"] | None, *, protocol: str, sigma: float
) -> Float[Tensor, "N C H W"]:
    """Clean images => what the network sees under a protocol."""
    if protocol == "clean":
        return x
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} must be above 0: the network is conditioned on ln(sigma)")
    if protocol == "scaled":
        return x * sigma
    if protocol != "noised":
        raise ValueError(f"protocol {protocol!r} takes no images; use 'noised' or 'scaled' for images")
    if noise is None or noise.shape != x.shape:
        found = None if noise is None else tuple(noise.shape)
        raise ValueError(f"noise has shape {found}; 'noised' takes one value per value of x, {tuple(x.shape)}")
    return x + sigma * noise.to(x)
