"""The only module that knows model families: build, load a checkpoint, denoise, condition, decode, name the layers.

A family owes what `Generator` offers: `denoise` (x, sigma, rows) -> x0 in the network's own space, `rows` that turn class
labels into whatever the network is conditioned on (opaque to everybody else), `encode` and `decode` between uint8 images
and that space, `latent_shape`, `sigma_max`, and `layers`: friendly names in execution order => module paths of `network`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modescope import files
from modescope.edm import EDMPrecond
from modescope.runtime import resolve_device

SIGMA_MAX = 80.0
"""Noise level at which EDM sampling starts and at which DMD2 one-step generators were trained."""


class CheckpointError(ValueError):
    """A checkpoint that is not what the network needs."""


def encode_images(pixels: UInt8[np.ndarray, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """uint8 0..255 => float32 [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float32) / 127.5 - 1


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
        labels = np.array(labels, np.int64)  # a copy: torch refuses the read-only arrays of a store
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.num_classes):
            wrong = labels[(labels < 0) | (labels >= self.num_classes)][0]
            raise ValueError(f"class label {wrong} is outside 0..{self.num_classes - 1}, the classes of this network")
        return nn.functional.one_hot(torch.from_numpy(labels), self.num_classes).to(self.device, torch.float32)

    def module_paths(self, names: Iterable[str]) -> dict[str, str]:
        """Friendly layer names (or module paths) => {name: module path}, in execution order for friendly names."""
        paths = set(self.layers.values())
        chosen = {}
        for name in names:
            path = self.layers.get(name, name)
            if path not in paths:
                known = ", ".join(self.layers)
                raise ValueError(f"layer {name!r} is not in this network; its layers: {known}")
            chosen[name] = path
        order = list(self.layers.values())
        return dict(sorted(chosen.items(), key=lambda item: order.index(item[1])))

    def encode(self, pixels: UInt8[np.ndarray, "N C H W"]) -> Float[Tensor, "N C H W"]:
        return encode_images(pixels).to(self.device)

    def decode(self, x0: Float[Tensor, "N C H W"]) -> UInt8[np.ndarray, "N C H W"]:
        return decode_images(x0)


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

    What no name or shape holds takes the published value: sigma_data 0.5, dropout 0, label_dropout 0.
    """
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
    levels = sorted({res for res, _ in found}, reverse=True)
    label = state.get("model.map_label.weight")
    return {
        "img_resolution": resolution,
        "img_channels": int(first.shape[1]),
        "label_dim": 0 if label is None else int(label.shape[1]),
        "model_channels": int(channels),
        "channel_mult": [found[res, 0] // channels for res in levels],
        "channel_mult_emb": emb // channels,
        "num_blocks": 1 + max(i for _, i in found),
        "attn_resolutions": [res for res in levels if f"model.enc.{res}x{res}_block0.qkv.weight" in state],
    }


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.exists():
        raise CheckpointError(
            f"checkpoint {path} does not exist; check `generators` in params.yaml, or run `dvc repro`"
        )
    if path.suffix == ".safetensors":
        tensors, metadata = files.read_tensors(path)
        return {name: torch.from_numpy(value) for name, value in tensors.items()}, metadata
    if path.suffix in (".bin", ".pt", ".pth"):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a different type for each way in which a file can be wrong
            raise CheckpointError(
                f"checkpoint {path} is refused ({type(error).__name__}): not plain tensors"
            ) from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise CheckpointError(f"checkpoint {path} is no flat dictionary of tensors, as DMD2's pytorch_model.bin is")
        return state, {}
    raise CheckpointError(f"checkpoint {path} has an unknown ending; use .safetensors, .bin, .pt or .pth")


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


def load_generator(
    checkpoint: str | Path, family: str = "edm", config: Mapping[str, Any] | None = None, device: str = "auto"
) -> Generator:
    """Load a checkpoint (safetensors, or a .bin / .pt / .pth of plain tensors) without executing anything inside it.

    `config`: keyword arguments of `EDMPrecond`; where absent, the file's own metadata, else names and shapes, tell.
    Raises CheckpointError (a ValueError) naming the file and what is wrong with it.
    """
    if family != "edm":
        raise ValueError(f"family {family!r} is unknown; this version knows 'edm' (EDM and DMD2 networks)")
    path = Path(checkpoint)
    state, metadata = _read_state(path)
    if config is None:
        config = json.loads(metadata["config"]) if "config" in metadata else infer_edm_config(state)
    with torch.device("meta"):
        network = EDMPrecond(**config)
    _check_state(path, network, state)
    network.load_state_dict({name: value.to(torch.float32) for name, value in state.items()}, assign=True)
    network.eval().requires_grad_(False).to(resolve_device(device))
    size = network.img_resolution
    return Generator(
        family=family,
        network=network,
        config=dict(config),
        layers=edm_layers(network),
        checkpoint_hash=files.sha256(path),
        latent_shape=(network.img_channels, size, size),
        num_classes=network.label_dim,
    )
