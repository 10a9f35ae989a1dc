"""A loaded network of any family: denoise, condition, encode, decode, name the layers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modescope import conditioning
from modescope.extractors import Extractor
from modescope.generators import preparing

SIGMA_MAX = 80.0
"""Noise level at which EDM sampling starts and at which DMD2 one-step generators were trained."""


def encode_images(pixels: UInt8[np.ndarray, "N C H W"], device: torch.device | str = "cpu") -> Float[Tensor, "N C H W"]:
    """uint8 0..255 => float32 [-1, 1], on the device: a quarter of the bytes travel."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device, non_blocking=True).to(torch.float32) / 127.5 - 1


def decode_images(x0: Float[Tensor, "N C H W"]) -> UInt8[np.ndarray, "N C H W"]:
    """Network output => uint8: ((x0 + 1) * 127.5) clamped to 0..255 and truncated, as the published samplers do."""
    return ((x0.float() + 1) * 127.5).clamp(0, 255).to(torch.uint8).cpu().numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """A loaded network of one family, ready to denoise."""

    family: str
    network: nn.Module
    config: Mapping[str, Any]
    layers: Mapping[str, str]
    checkpoint_hash: str
    latent_shape: tuple[int, int, int]
    num_classes: int
    sigma_max: float = SIGMA_MAX

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def denoise(
        self, x: Float[Tensor, "N C H W"], sigma: Float[Tensor, " N"], rows: Float[Tensor, "N ..."] | None
    ) -> Float[Tensor, "N C H W"]:
        """Noised input => the network's estimate of the clean one."""
        return self.network(x, sigma, rows)

    def rows(self, labels: Int64[np.ndarray, " N"]) -> Float[Tensor, "N ..."] | None:
        """Class labels => one-hot condition rows; None for an unconditional network."""
        if not self.num_classes:
            return None
        return torch.from_numpy(conditioning.one_class(labels, self.num_classes)).to(self.device)

    def blended(self, weights: np.ndarray) -> Float[Tensor, "N ..."] | None:
        """Weights over the classes, (N, num_classes) as `conditioning` makes them => condition rows."""
        if not self.num_classes:
            return None
        if weights.ndim != 2 or weights.shape[1] != self.num_classes:
            raise ValueError(f"weights have shape {weights.shape}; this network takes (N, {self.num_classes})")
        return torch.from_numpy(np.array(weights, np.float32)).to(self.device)

    def unconditional(self) -> Float[Tensor, "1 ..."]:
        """The row that stands for no class, for guidance. Only networks trained with label dropout know it."""
        if not (self.num_classes and self.config.get("label_dropout", 0.0) > 0):
            raise ValueError(
                "this network has no unconditional row: it was not trained with label dropout (label_dropout 0); sample "
                "without guidance, or give `config` its label_dropout where the checkpoint does not tell"
            )
        return torch.zeros(1, self.num_classes, device=self.device)

    def module_paths(self, names: Iterable[str]) -> dict[str, str]:
        """Friendly layer names, or paths of any module of the network => {name: module path}, in execution order.

        The order is that in which modules are defined, a module after the modules inside it: for friendly names the
        order of execution, for the parts of one block nearly so.
        """
        order = {path: place for place, path in enumerate(_finishing(self.network))}
        chosen = {}
        for name in names:
            path = self.layers.get(name, name)
            if path not in order:
                known = ", ".join(self.layers)
                nearest = difflib.get_close_matches(name, [*self.layers, *order], n=1, cutoff=0.6)
                hint = f"; nearest: {nearest[0]!r}" if nearest else ""
                raise ValueError(f"layer {name!r} is not in this network; its layers: {known}{hint}")
            chosen[name] = path
        return dict(sorted(chosen.items(), key=lambda item: order[item[1]]))

    def cast(self, precision: str) -> Generator:
        """This generator for a precision (`runtime.PRECISIONS`): itself, or one whose network is a copy cast to it.

        Products run as `runtime.arithmetic` says.
        """
        network = preparing.cast(self.network, precision)
        return self if network is self.network else replace(self, network=network)

    def prepared(
        self,
        precision: str,
        *,
        compile: bool = False,  # noqa: A002
        channels_last: bool = False,
        compiler: preparing.Compiler = torch.compile,
    ) -> Generator:
        """As `cast`, and with its layers compiled one by one, or with channels innermost in memory, where asked for.

        Values agree with the plain ones to rounding. Taps work as before; a compiled layer that is tapped inside runs
        uncompiled meanwhile. Extractors are only cast.
        """
        ready = self.cast(precision)
        if isinstance(ready.network, Extractor):
            return ready
        if channels_last:
            ready = replace(ready, network=preparing.channels_last(ready.network))
        if compile:
            ready = replace(ready, network=preparing.compiled(ready.network, self.layers.values(), compiler))
        return ready

    def encode(self, pixels: UInt8[np.ndarray, "N C H W"]) -> Float[Tensor, "N C H W"]:
        return encode_images(pixels, self.device)

    def decode(self, x0: Float[Tensor, "N C H W"]) -> UInt8[np.ndarray, "N C H W"]:
        return decode_images(x0)


def _finishing(module: nn.Module, path: str = "") -> Iterator[str]:
    """Paths of all modules in order of definition, each after the modules inside it."""
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        yield from _finishing(child, inner)
        yield inner
