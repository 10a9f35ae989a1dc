"""A network made ready for a look: one batch of images, or of samples, => what is kept of it, on the network's device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modescope.capturing.look import PCA, RECONSTRUCTION, Look, network_input
from modescope.components import Components
from modescope.extractors import Extractor
from modescope.generators import Generator
from modescope.runtime import arithmetic
from modescope.taps import capture

NEAR = 1.5  # a sampler's step stands for a noise level up to this factor away


class _Projection:
    """`Components.project` in float32 on a device, layer by layer: the full rows are never put side by side.

    A last column holds the length of what the basis leaves out of each row. Distances between rows then are the largest
    lower bound of the full ones that components and lengths allow: a row far outside the basis stays far.
    """

    def __init__(self, basis: Components, device: torch.device) -> None:
        if basis.axes is None:
            raise ValueError("basis has no axes; fit it with a number of components")
        self.width = basis.width
        mean = basis.mean.astype(np.float32)
        scaled = basis.axes * basis.inverse_scale
        # What rounding the means to float32 shifts, put right in the scores.
        self.shift = torch.from_numpy((scaled @ (basis.mean - mean)).astype(np.float32)).to(device)
        self.mean = torch.from_numpy(mean).to(device)
        self.scale = torch.from_numpy(basis.inverse_scale.astype(np.float32)).to(device)
        self.axes = torch.from_numpy(basis.axes).to(device)

    def __call__(self, parts: Iterable[Tensor]) -> Float[Tensor, "N columns 1 1"]:
        scores, squares, begin = -self.shift, torch.zeros((), device=self.shift.device), 0
        with arithmetic("float32"):
            for part in parts:
                rows = part.flatten(1)
                span = slice(begin, begin + rows.shape[1])
                if span.stop <= self.width:
                    standard = (rows - self.mean[span]) * self.scale[span]
                    scores = scores + standard @ self.axes[:, span].T
                    squares = squares + standard.square().sum(1)
                begin = span.stop
        if begin != self.width:
            raise ValueError(
                f"basis has {self.width} columns, the layers of this look have {begin} values; "
                "fit it on the same layers and noise levels"
            )
        left_out = (squares - scores.square().sum(1)).clamp(min=0).sqrt()
        return torch.cat([scores, left_out[:, None]], dim=1)[:, :, None, None]


def _image_shaped(name: str, value: Tensor) -> Float[Tensor, "N C H W"]:
    if value.ndim == 2:
        return value[:, :, None, None]
    if value.ndim != 4:
        raise ValueError(
            f"layer {name!r} gives {tuple(value.shape)}; capture layers that give (N, C, H, W) or (N, C), "
            "such as the module around it"
        )
    return value


class SamplerStep(Protocol):
    """What a sampler yields: the noise level of a step and the clean image that the network made there."""

    @property
    def sigma(self) -> float: ...

    @property
    def x0(self) -> Tensor: ...


class Lens:
    """A network made ready for a look: weights in its precision, basis on its device. Make it once for many batches."""

    def __init__(self, network: Generator, look: Look) -> None:
        if isinstance(network.network, Extractor) != (look.protocol == "clean"):
            raise ValueError(
                f"protocol is {look.protocol!r} and the network of family {network.family!r}; feature networks (pixels, "
                "torchscript) look at clean images, generators at images with a noise level: take the protocol that fits"
            )
        self.look = look
        self.network = network.cast(look.precision)
        self.paths = self.network.module_paths(look.layers)
        self.basis = None if look.basis is None else _Projection(look.basis, network.device)

    @torch.no_grad()
    def images(
        self,
        x: Float[Tensor, "N C H W"],
        noise: Float[Tensor, "N C H W"] | None,
        rows: Tensor | None,
        *,
        reconstruct: bool = False,
    ) -> dict[str, Tensor]:
        """Encoded images => what the look keeps of them, on the network's device."""
        found: dict[str, Tensor] = {}
        images: dict[str, Tensor] = {}
        for sigma in self.look.sigmas or (0.0,):
            noised = network_input(x, noise, protocol=self.look.protocol, sigma=sigma)
            level = torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)
            whole = reconstruct and not images
            with (
                arithmetic(self.look.precision),
                capture(self.network.network, self.paths.values(), stop=not whole) as acts,
            ):
                x0 = self.network.denoise(noised, level, rows)
                if whole:
                    images[RECONSTRUCTION] = torch.from_numpy(self.network.decode(x0))
            found |= self._named(acts, sigma)
        return self._kept(found) | images

    @torch.no_grad()
    def sampling(self, steps: Callable[[Generator], Iterator[SamplerStep]]) -> dict[str, Tensor]:
        """What the look keeps of a sampler's step nearest to its noise level, and the sample, as `RECONSTRUCTION`."""
        if self.look.protocol != "sampling":
            raise ValueError(f"protocol is {self.look.protocol!r}; activations of sampling are of protocol 'sampling'")
        wanted = self.look.sigmas[0]
        levels: list[float] = []
        found: dict[str, Tensor] = {}
        with arithmetic(self.look.precision), capture(self.network.network, self.paths.values()) as acts:
            for step in steps(self.network):
                levels.append(step.sigma)
                if _apart(step.sigma, wanted) == min(_apart(level, wanted) for level in levels):
                    found = self._named(acts, wanted)
            if not levels:
                raise ValueError("the sampler made no step; give it at least one")
        if min(_apart(level, wanted) for level in levels) > math.log(NEAR):
            listed = ", ".join(f"{level:g}" for level in levels)
            raise ValueError(f"sigma {wanted:g} is not near any step of this sampler; its steps: {listed}")
        return self._kept(found) | {RECONSTRUCTION: torch.from_numpy(self.network.decode(step.x0))}

    def _named(self, acts: Mapping[str, Tensor], sigma: float) -> dict[str, Tensor]:
        suffix = f"@{sigma:g}" if len(self.look.sigmas) > 1 else ""
        return {name + suffix: _image_shaped(name, acts[path]) for name, path in self.paths.items()}

    def _kept(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.basis is not None:
            return {PCA: self.basis(value.float() for value in values.values())}
        if self.look.keep == "mean":
            return {name: value.float().mean((2, 3), keepdim=True) for name, value in values.items()}
        return {name: value.float() for name, value in values.items()}


def _apart(one: float, other: float) -> float:
    return abs(math.log(one / other))
