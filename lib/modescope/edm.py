"""The EDM / DMD2 U-Net and its preconditioning.

Written from the papers (Dhariwal and Nichol 2021, "ADM"; Karras et al. 2022, "EDM", table 1) with the state-dict names of
the published checkpoints, so that published weights load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

IMAGENET64: dict[str, Any] = {
    "img_resolution": 64,
    "img_channels": 3,
    "label_dim": 1000,
    "sigma_min": 0.0,
    "sigma_max": float("inf"),
    "sigma_data": 0.5,
    "model_channels": 192,
    "channel_mult": (1, 2, 3, 4),
    "channel_mult_emb": 4,
    "num_blocks": 3,
    "attn_resolutions": (32, 16, 8),
    "dropout": 0.0,
    "label_dropout": 0.0,
}
"""Configuration of the published class-conditional ImageNet 64x64 network (295,899,267 parameters)."""

_HEAD_WIDTH = 64
_RELU_GAIN = (1 / 3) ** 0.5


def karras_sigmas(
    steps: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Float[np.ndarray, " K"]:
    """Noise levels from `sigma_max` down to `sigma_min`, float64 (Karras et al. 2022, eq. 5, without the final zero)."""
    if steps < 1:
        raise ValueError(f"steps {steps} must be at least 1")
    ramp = np.linspace(0, 1, steps)
    return (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho


def _uniform(weight: Tensor, bias: Tensor | None, gain: float) -> None:
    """Kaiming-uniform weights (and biases over the same fan-in) times `gain`, in place."""
    fan_in = weight[0].numel()
    bound = gain * (3 / fan_in) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
    if bias is not None:
        nn.init.uniform_(bias, -bound, bound)


class Conv(nn.Module):
    """A convolution with an optional 2x resampling before it; `kernel` 0 resamples only."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, resample: str = "", gain: float = _RELU_GAIN) -> None:
        super().__init__()
        self.resample = resample
        self.padding = kernel // 2
        if kernel:
            self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
            self.bias = nn.Parameter(torch.empty(outputs))
            _uniform(self.weight, self.bias, gain)
        else:
            self.weight, self.bias = None, None
        if resample:
            # The [1, 1] filter as a 2x2 box. Pooling and repetition below are that filter; the buffer is kept
            # because published checkpoints carry it and load strictly.
            self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if self.weight is None:
            return x
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class Norm(nn.Module):
    """Group normalisation with min(32, C // 4) groups and eps 1e-5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = min(32, channels // 4)
        if self.groups < 1 or channels % self.groups:
            raise ValueError(
                f"a layer of {channels} channels cannot be split into {self.groups} normalisation groups; "
                "choose model_channels and channel_mult so that widths are multiples of 32"
            )
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups, self.weight, self.bias, eps=1e-5)


def _linear(inputs: int, outputs: int, *, gain: float = _RELU_GAIN, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    _uniform(layer.weight, layer.bias if bias else None, gain)
    return layer


class Block(nn.Module):
    """Residual block: modulated by the embedding, optionally resampling, optionally followed by self-attention.

    `fused`: attention in one kernel that never writes the weights of all keys to memory: other bits, as exact.
    """

    fused = False

    def __init__(
        self, inputs: int, outputs: int, *, emb: int, resample: str = "", attention: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.dropout = inputs, outputs, dropout
        self.heads = outputs // _HEAD_WIDTH if attention else 0
        self.norm0 = Norm(inputs)
        self.conv0 = Conv(inputs, outputs, 3, resample=resample)
        self.affine = _linear(emb, 2 * outputs)
        self.norm1 = Norm(outputs)
        self.conv1 = Conv(outputs, outputs, 3, gain=0.0)
        self.skip = None
        if inputs != outputs or resample:
            self.skip = Conv(inputs, outputs, int(inputs != outputs), resample=resample)
        if self.heads:
            self.norm2 = Norm(outputs)
            self.qkv = Conv(outputs, 3 * outputs, 1)
            self.proj = Conv(outputs, outputs, 1, gain=0.0)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.affine(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.conv0(F.silu(self.norm0(x)))
        h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        h = self.conv1(F.dropout(h, self.dropout, self.training))
        h = h + (x if self.skip is None else self.skip(x))
        return h + self.proj(self._attend(self.norm2(h))) if self.heads else h

    def _attend(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        # The published weights lay qkv channels out as (head, channel, {q, k, v}).
        q, k, v = self.qkv(x).reshape(n, self.heads, c // self.heads, 3, height * width).unbind(3)
        if self.fused:
            q, k, v = (part.transpose(2, 3).contiguous() for part in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, height, width)
        logits = torch.einsum("nhcq,nhck->nhqk", q, k / (c // self.heads) ** 0.5)
        weights = logits.float().softmax(dim=-1).to(v.dtype)  # float32: half-precision sums over keys drift
        return torch.einsum("nhqk,nhck->nhcq", weights, v).reshape(n, c, height, width)


class NoiseEmbedding(nn.Module):
    """Sinusoidal features of c_noise; cosines first, highest frequency first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, c_noise: Float[Tensor, " N"]) -> Float[Tensor, "N D"]:
        half = self.channels // 2
        frequencies = (1 / 10000) ** (torch.arange(half, dtype=torch.float32, device=c_noise.device) / half)
        angles = c_noise[:, None] * frequencies.to(c_noise.dtype)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class UNet(nn.Module):
    """The ADM U-Net F(c_in x, c_noise, labels). Every encoder entry pushes a skip; the decoder pops them."""

    def __init__(
        self,
        *,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        model_channels: int,
        channel_mult: Sequence[int],
        channel_mult_emb: int,
        num_blocks: int,
        attn_resolutions: Sequence[int],
        dropout: float,
        label_dropout: float,
    ) -> None:
        super().__init__()
        emb = model_channels * channel_mult_emb
        self.label_dropout = label_dropout
        self.map_noise = NoiseEmbedding(model_channels)
        self.map_layer0 = _linear(model_channels, emb)
        self.map_layer1 = _linear(emb, emb)
        self.map_label = None
        if label_dim:
            self.map_label = nn.Linear(label_dim, emb, bias=False)
            # Kaiming-normal over the fan-in, times sqrt(label_dim): unit variance, since one-hot rows have one live input.
            if not self.map_label.weight.is_meta:  # where torch would load its compiler for it: two seconds
                nn.init.normal_(self.map_label.weight)

        def block(inputs: int, outputs: int, resolution: int, **kw: Any) -> Block:
            kw.setdefault("attention", resolution in attn_resolutions)
            return Block(inputs, outputs, emb=emb, dropout=dropout, **kw)

        self.enc = nn.ModuleDict()
        skips, width = [], img_channels
        for level, mult in enumerate(channel_mult):
            res = img_resolution >> level
            if level == 0:
                width = model_channels * mult
                self.enc[f"{res}x{res}_conv"] = Conv(img_channels, width, 3)
            else:
                self.enc[f"{res}x{res}_down"] = block(width, width, res, resample="down", attention=False)
            skips.append(width)
            for i in range(num_blocks):
                self.enc[f"{res}x{res}_block{i}"] = block(width, model_channels * mult, res)
                width = model_channels * mult
                skips.append(width)

        self.dec = nn.ModuleDict()
        for level, mult in reversed(list(enumerate(channel_mult))):
            res = img_resolution >> level
            if level == len(channel_mult) - 1:
                self.dec[f"{res}x{res}_in0"] = block(width, width, res, attention=True)
                self.dec[f"{res}x{res}_in1"] = block(width, width, res, attention=False)
            else:
                self.dec[f"{res}x{res}_up"] = block(width, width, res, resample="up", attention=False)
            for i in range(num_blocks + 1):
                self.dec[f"{res}x{res}_block{i}"] = block(width + skips.pop(), model_channels * mult, res)
                width = model_channels * mult
        self.out_norm = Norm(width)
        self.out_conv = Conv(width, img_channels, 3, gain=0.0)

    def embed(self, c_noise: Tensor, class_labels: Tensor | None) -> Tensor:
        """Noise level and label row => embedding (N, E)."""
        emb = F.silu(self.map_layer0(self.map_noise(c_noise).to(self.map_layer0.weight.dtype)))
        emb = self.map_layer1(emb)
        if self.map_label is not None and class_labels is not None:
            if self.training and self.label_dropout:
                keep = torch.rand(len(class_labels), 1, device=class_labels.device) >= self.label_dropout
                class_labels = class_labels * keep.to(class_labels.dtype)
            emb = emb + self.map_label(class_labels.to(emb.dtype))
        return F.silu(emb)

    def forward(self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None) -> Tensor:
        emb = self.embed(c_noise, class_labels)
        skips = []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.dec.values():
            if x.shape[1] != layer.in_channels:
                x = torch.cat([x, skips.pop()], dim=1)
            x = layer(x, emb)
        return self.out_conv(F.silu(self.out_norm(x)))


class EDMPrecond(nn.Module):
    """Preconditioned denoiser D(x; sigma) = c_skip x + c_out F(c_in x, c_noise) (Karras et al. 2022, eq. 7 and table 1).

    `sigma_min` and `sigma_max` are the range the network accepts (used by samplers, not by the forward pass).
    """

    def __init__(
        self,
        *,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        sigma_min: float = 0.0,
        sigma_max: float = float("inf"),
        sigma_data: float = 0.5,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.0,
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        levels = len(channel_mult) - 1
        if img_resolution % (1 << levels):
            raise ValueError(
                f"img_resolution {img_resolution} cannot be halved {levels} times (channel_mult has {levels + 1} levels); "
                f"use a multiple of {1 << levels} or fewer levels"
            )
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.sigma_min, self.sigma_max, self.sigma_data = float(sigma_min), float(sigma_max), float(sigma_data)
        self.model = UNet(
            img_resolution=img_resolution,
            img_channels=img_channels,
            label_dim=label_dim,
            model_channels=model_channels,
            channel_mult=channel_mult,
            channel_mult_emb=channel_mult_emb,
            num_blocks=num_blocks,
            attn_resolutions=attn_resolutions,
            dropout=dropout,
            label_dropout=label_dropout,
        )

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Denoise `x` (N, C, H, W): data in about [-1, 1] plus noise of standard deviation `sigma` (N,) > 0.

        `class_labels` (N, label_dim): one float row per image (one-hot, uniform, zero or any blend), required when
        `label_dim` > 0. Returns the denoised images (N, C, H, W). ValueError for other shapes or sigma <= 0.
        """
        self._check(x, sigma, class_labels)
        s = sigma.to(torch.promote_types(x.dtype, torch.float32))[:, None, None, None]
        sd = self.sigma_data
        c_skip = sd**2 / (s**2 + sd**2)
        c_out = s * sd / (s**2 + sd**2).sqrt()
        c_in = 1 / (sd**2 + s**2).sqrt()
        c_noise = s.flatten().log() / 4
        # The network runs in the type of its weights; the preconditioning around it in float32 at least.
        dtype = self.model.map_layer0.weight.dtype
        f = self.model((c_in * x).to(dtype), c_noise, class_labels)
        return (c_skip * x + c_out * f).to(x.dtype)

    def _check(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> None:
        expected = (self.img_channels, self.img_resolution, self.img_resolution)
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"x has shape {tuple(x.shape)}; this network takes (N, {', '.join(map(str, expected))})")
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"sigma has shape {tuple(sigma.shape)}; give one value per image, ({len(x)},)")
        if not torch.compiler.is_compiling() and sigma.device.type != "meta" and not bool((sigma > 0).all()):
            raise ValueError(
                f"sigma holds {sigma.min().item():g}; the network is conditioned on ln(sigma): give sigma > 0"
            )
        if not self.label_dim:
            return
        if class_labels is None:
            raise ValueError(
                f"class_labels is missing; this network takes rows of {self.label_dim} values (a zero row means no class)"
            )
        if tuple(class_labels.shape) != (len(x), self.label_dim):
            raise ValueError(
                f"class_labels has shape {tuple(class_labels.shape)}; this network takes ({len(x)}, {self.label_dim})"
            )
