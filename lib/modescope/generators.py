"""The only module that knows model families: build, load, denoise, condition, decode, name the layers.

A family owes what `Generator` offers; capture, masks, map and explorer use nothing else of it:

* `denoise` (x, sigma, rows) -> x0, in the network's own space, where sigma is the standard deviation of the noise in x
  (a network on a discrete schedule looks its timestep up, and scales its input itself);
* `encode` and `decode` between uint8 images and that space (for a latent network: through its autoencoder), `latent_shape`
  of one sample there, `sigma_max` at which sampling starts;
* `rows` (class labels) and `blended` (weights over classes, see `conditioning`) -> whatever the network is conditioned on,
  one row per sample along the first axis and opaque to everybody else (text: embeddings of a list of prompts, the "classes",
  and their weighted means); `unconditional` for guidance, where the network knows such a row;
* `layers`: friendly names in execution order => module paths of `network`; each gives (N, C, H, W) and runs once a pass.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modescope import checkpoints, conditioning
from modescope.checkpoints import CheckpointError
from modescope.edm import Block, Conv, EDMPrecond
from modescope.runtime import resolve_device
from modescope.winograd import WinogradConv

log = logging.getLogger(__name__)

SIGMA_MAX = 80.0
"""Noise level at which EDM sampling starts and at which DMD2 one-step generators were trained."""


PRECISIONS = ("float32", "winograd", "tf32", "bfloat16")
"""`float32`: no TF32; `winograd`: float32, on a CPU with Winograd's 3x3 convolutions and fused attention: as exact, faster,
other bits; `tf32`: float32 values, TF32 products where a GPU has them; `bfloat16`: weights and layers."""

NARROW = 16  # channels below which the transforms of Winograd's algorithm cost more than they save


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
        self, x: Float[Tensor, "N C H W"], sigma: Float[Tensor, " N"], rows: Float[Tensor, "N L"] | None
    ) -> Float[Tensor, "N C H W"]:
        """Noised input => the network's estimate of the clean one."""
        return self.network(x, sigma, rows)

    def rows(self, labels: Int64[np.ndarray, " N"]) -> Float[Tensor, "N L"] | None:
        """Class labels => one-hot condition rows; None for an unconditional network."""
        if not self.num_classes:
            return None
        return torch.from_numpy(conditioning.one_class(labels, self.num_classes)).to(self.device)

    def blended(self, weights: np.ndarray) -> Float[Tensor, "N L"] | None:
        """Weights over the classes, (N, num_classes) as `conditioning` makes them => condition rows."""
        if not self.num_classes:
            return None
        if weights.ndim != 2 or weights.shape[1] != self.num_classes:
            raise ValueError(f"weights have shape {weights.shape}; this network takes (N, {self.num_classes})")
        return torch.from_numpy(np.array(weights, np.float32)).to(self.device)

    def unconditional(self) -> Float[Tensor, "1 L"]:
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
        """This generator for a precision: itself, or one whose network is a copy in `bfloat16` or with `winograd`.

        Norms, softmax and preconditioning sum in float32 whatever the weights' type. Products run as `arithmetic` says.
        """
        check_precision(precision)
        held = _precision_of(self.network)
        wanted = precision
        if precision == "tf32" or (precision == "winograd" and self.device.type != "cpu"):
            wanted = "float32"
        if held == wanted:
            return self
        if held != "float32":
            raise ValueError(f"precision {precision!r} cannot be had of a network cast to {held}; cast the one loaded")
        if wanted == "winograd":
            return replace(self, network=_winograd(self.network))
        if self.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            log.warning("this CPU has no bfloat16 arithmetic: expect it to be far slower than float32 or winograd")
        return replace(self, network=copy.deepcopy(self.network).to(torch.bfloat16))

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


def _precision_of(network: nn.Module) -> str:
    if any(isinstance(module, WinogradConv) for module in network.modules()):
        return "winograd"
    return str(next(network.parameters()).dtype).removeprefix("torch.")


def _winograd(network: nn.Module) -> nn.Module:
    """A copy that shares the weights: attention fused, 3x3 convolutions but for narrow ones by Winograd's algorithm."""
    twin = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
    for path, conv in list(twin.named_modules()):
        if isinstance(conv, Block):
            conv.fused = True
        if not isinstance(conv, Conv) or conv.weight is None or conv.bias is None:
            continue
        outputs, inputs, *kernel = conv.weight.shape
        if kernel == [3, 3] and min(outputs, inputs) >= NARROW:
            fast = WinogradConv(conv.weight, conv.bias)
            resample = Conv(inputs, inputs, 0, resample=conv.resample)
            twin.set_submodule(path, nn.Sequential(resample, fast) if conv.resample else fast)
    return twin


def check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}")


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Products of float32 tensors on a GPU run in float32, or under `tf32` in TF32; puts back what it found."""
    check_precision(precision)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def edm_layers(network: EDMPrecond) -> dict[str, str]:
    """Friendly names of an EDM network's layers in execution order => module paths.

    `encoder_bottleneck` is the last encoder entry, `midblock` the first decoder entry; the others are
    `encoder_block_N` and `decoder_block_N`, the N-th entry of their side (encoder_block_0 is the plain convolution).
    """
    encoder, decoder = list(network.model.enc), list(network.model.dec)
    layers = {f"encoder_block_{i}": f"model.enc.{name}" for i, name in enumerate(encoder[:-1])}
    layers["encoder_bottleneck"] = f"model.enc.{encoder[-1]}"
    layers["midblock"] = f"model.dec.{decoder[0]}"
    layers |= {f"decoder_block_{i}": f"model.dec.{name}" for i, name in enumerate(decoder) if i}
    return layers


def infer_edm_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Configuration of an EDM network from the names and shapes of its state dict.

    What no name or shape tells is not in it: `checkpoints.SETTINGS`.
    """
    if any("aux_" in name for name in state):
        raise CheckpointError(
            "this is a DDPM++ or NCSN++ network (EDM's for CIFAR-10, FFHQ and AFHQ); this version knows ADM (ImageNet-64)"
        )
    entries = [m for m in (re.fullmatch(r"model\.enc\.(\d+)x\1_conv\.weight", name) for name in state) if m]
    if len(entries) != 1 or "model.map_layer0.weight" not in state:
        raise CheckpointError(
            "this is no EDM / DMD2 state dict: names such as 'model.enc.64x64_conv.weight' and "
            f"'model.map_layer0.weight' are missing; it begins with {', '.join(list(state)[:5])}"
        )
    resolution = int(entries[0].group(1))
    first = state[entries[0].group(0)]
    emb, channels = state["model.map_layer0.weight"].shape
    blocks = re.compile(r"model\.enc\.(\d+)x\1_block(\d+)\.conv1\.weight")
    found = {
        (int(m.group(1)), int(m.group(2))): state[name].shape[0] for name in state if (m := blocks.fullmatch(name))
    }
    if not found:
        raise CheckpointError(
            f"this is no EDM / DMD2 state dict: no 'model.enc.{resolution}x{resolution}_block0' is in it"
        )
    levels = sorted({res for res, _ in found}, reverse=True)
    label = state.get("model.map_label.weight")
    return {
        "img_resolution": resolution,
        "img_channels": int(first.shape[1]),
        "label_dim": 0 if label is None else int(label.shape[1]),
        "model_channels": int(channels),
        "channel_mult": [found.get((res, 0), 0) // channels for res in levels],
        "channel_mult_emb": emb // channels,
        "num_blocks": 1 + max(i for _, i in found),
        "attn_resolutions": [res for res in levels if f"model.enc.{res}x{res}_block0.qkv.weight" in state],
    }


def _check_state(path: Path, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise one readable error that lists missing, unexpected and misshapen names, the first five of each."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    problems = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "misshapen": [
            f"{name} {tuple(state[name].shape)} instead of {shape}"
            for name, shape in expected.items()
            if name in state and tuple(state[name].shape) != shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{len(names)} {kind}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for kind, names in problems.items()
            if names
        )
        raise CheckpointError(
            f"checkpoint {path} does not fit the network. {listed}. Give the `config` it was trained with, "
            "or the checkpoint that belongs to this one"
        )


def _edm_network(found: checkpoints.Checkpoint, given: Mapping[str, Any]) -> tuple[EDMPrecond, dict[str, Any]]:
    """The network without weights, and its configuration: inferred, over that what the file states, over that `given`."""
    config = {**infer_edm_config(found.state), **found.settings, **given}
    known = list(inspect.signature(EDMPrecond).parameters)
    if unknown := [name for name in config if name not in known]:
        raise CheckpointError(
            f"config holds {unknown[0]!r}, which EDMPrecond does not take; it takes {', '.join(known)}"
        )
    silent = [name for name in checkpoints.SETTINGS if name not in config]
    if silent and "model_channels" not in found.settings:  # a whole record means the published values by its silence
        log.info("%s does not tell %s (no name or shape does): published values", found.path, ", ".join(silent))
    with torch.device("meta"):
        return EDMPrecond(**config), config


def load_generator(
    checkpoint: str | Path,
    family: str = "edm",
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    *,
    sigma_max: float = SIGMA_MAX,
) -> Generator:
    """Load a checkpoint (what `checkpoints` reads: a file or a folder) without executing anything inside it.

    `config`: keyword arguments of `EDMPrecond`, all or some; what is absent is taken from the file's own record, else
    inferred from names and shapes. No name or shape tells `checkpoints.SETTINGS`: where the file does not state them the
    published values stand (sigma_data 0.5, no dropout, no label dropout), and the log says so. `sigma_max`: the noise
    level at which a one-step generator was trained. Raises CheckpointError (a ValueError) naming what is wrong.
    """
    if family != "edm":
        raise ValueError(f"family {family!r} is unknown; this version knows 'edm' (EDM and DMD2 networks)")
    found = checkpoints.read(checkpoint)
    network, settled = _edm_network(found, config or {})
    _check_state(found.path, network, found.state)
    network.load_state_dict({name: value.to(torch.float32) for name, value in found.state.items()}, assign=True)
    network.eval().requires_grad_(False).to(resolve_device(device))
    size = network.img_resolution
    return Generator(
        family=family,
        network=network,
        config=settled,
        layers=edm_layers(network),
        checkpoint_hash=found.sha256,
        latent_shape=(network.img_channels, size, size),
        num_classes=network.label_dim,
        sigma_max=sigma_max,
    )
