"""The families by name: how each loads, and what identifies a checkpoint of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modescope import checkpoints, extractors, files
from modescope.extractors import Preprocessing
from modescope.generators import edm_family
from modescope.generators.generator import SIGMA_MAX, Generator
from modescope.runtime import PRECISIONS, check_precision, resolve_device

EXACT = ("float32", "tf32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`load`: (path, config, device, sigma_max) -> Generator; `identity`: path -> what its values depend on, as a hash;
    `precisions` that it computes in.
    """

    load: Callable[[str | Path, Mapping[str, Any], torch.device, float], Generator]
    identity: Callable[[str | Path], str]
    precisions: tuple[str, ...] = PRECISIONS


def _hash_of_checkpoint(path: str | Path) -> str:
    return files.sha256(checkpoints.find(Path(path)))


def _hash_of_file(path: str | Path) -> str:
    if not Path(path).is_file():
        raise extractors.ScriptError(f"TorchScript file {path} does not exist; check `views` in params.yaml")
    return files.sha256(Path(path))


def _hash_of_pixels(path: str | Path) -> str:
    """The definition of the features: which images they are of is written elsewhere."""
    return "pixels-1"


def _extractor(family: str, network: extractors.Extractor, digest: str, config: Mapping[str, Any]) -> Generator:
    """A feature network: no classes, no noise level; it takes images of any shape."""
    return Generator(
        family=family,
        network=network,
        config=config,
        layers={extractors.LAYER: extractors.LAYER},
        checkpoint_hash=digest,
        latent_shape=(0, 0, 0),
        num_classes=0,
    )


def _load_pixels(path: str | Path, config: Mapping[str, Any], device: torch.device, sigma_max: float) -> Generator:
    return _extractor("pixels", extractors.pixels().to(device), _hash_of_pixels(path), {})


def _load_script(path: str | Path, config: Mapping[str, Any], device: torch.device, sigma_max: float) -> Generator:
    network = extractors.scripted(Path(path), Preprocessing(**config)).to(device)
    return _extractor("torchscript", network.eval(), _hash_of_file(path), config)


FAMILIES = {
    "edm": Family(load=edm_family.load, identity=_hash_of_checkpoint),
    "pixels": Family(load=_load_pixels, identity=_hash_of_pixels, precisions=EXACT),
    "torchscript": Family(load=_load_script, identity=_hash_of_file, precisions=EXACT),
}
"""Another family joins by an entry of its own."""


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"family {name!r} is unknown; known families: {', '.join(map(repr, FAMILIES))}")
    return FAMILIES[name]


def identity(path: str | Path, family: str) -> str:
    """What identifies the network that a checkpoint would load as: the hash of the file, for pixels their definition."""
    return _family(family).identity(path)


def settled_precision(precision: str, family: str) -> str:
    """What a family computes in when asked for a precision: itself, or float32."""
    check_precision(precision)
    return precision if precision in _family(family).precisions else "float32"


def load_generator(
    checkpoint: str | Path,
    family: str = "edm",
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    *,
    sigma_max: float = SIGMA_MAX,
) -> Generator:
    """Load a network of a family (`FAMILIES`) on a device.

    `edm`: a checkpoint that `checkpoints` reads (a file or a folder); nothing inside is executed. `config`: keyword
    arguments of `EDMPrecond`, all or some; what is absent is taken from the file's own record, else inferred from names and
    shapes. No name or shape tells `checkpoints.SETTINGS`: where the file does not state them the published values stand
    (sigma_data 0.5, no dropout, no label dropout), and the log says so. `sigma_max`: the noise level at which a one-step
    generator was trained. `torchscript`: a TorchScript file; `config`: arguments of `extractors.Preprocessing`. `pixels`:
    the images themselves; `checkpoint` is not looked at.

    Raises CheckpointError or ScriptError (ValueErrors) naming what is wrong.
    """
    return _family(family).load(checkpoint, config or {}, resolve_device(device), sigma_max)
