"""EDM and DMD2 networks: configuration, names of layers, strict loading."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modescope import checkpoints
from modescope.checkpoints import CheckpointError
from modescope.edm import EDMPrecond
from modescope.generators.generator import Generator

log = logging.getLogger(__name__)


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


def load(path: str | Path, given: Mapping[str, Any], device: torch.device, sigma_max: float) -> Generator:
    """An EDM or DMD2 checkpoint. `given`: keyword arguments of `EDMPrecond`, all or some."""
    found = checkpoints.read(path)
    network, settled = _edm_network(found, given)
    _check_state(found.path, network, found.state)
    network.load_state_dict({name: value.to(torch.float32) for name, value in found.state.items()}, assign=True)
    network.eval().requires_grad_(False).to(device)
    size = network.img_resolution
    return Generator(
        family="edm",
        network=network,
        config=settled,
        layers=edm_layers(network),
        checkpoint_hash=found.sha256,
        latent_shape=(network.img_channels, size, size),
        num_classes=network.label_dim,
        sigma_max=sigma_max,
    )
