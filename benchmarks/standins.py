"""Stand-ins for what a rehearsal cannot have: ImageNet in both of its forms, and weights of a published network."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from modescope import classes
from modescope.edm import EDMPrecond
from modescope.seeds import stream

TENCH = 449  # npz label of class 0
SIDE = 64
SHARDS = 10
KEYS = ("tench", "goldfish", "ostrich", "ladybug", "zebra", "teapot", "volcano", "lemon", "daisy", "toilet tissue")
Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]
OUTLINES: tuple[Outline, ...] = (  # how far outside the shape a place is: 1 on its edge
    np.hypot,
    lambda u, v: np.maximum(abs(u), abs(v)),
    lambda u, v: abs(u) + abs(v),
    lambda u, v: 0.5 + abs(np.hypot(u, v) - 0.75) * 2,
    lambda u, v: np.minimum(np.maximum(abs(u), 3 * abs(v)), np.maximum(3 * abs(u), abs(v))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Pictures with their classes: standard index and npz label (1..1000, in another order)."""

    pixels: UInt8[np.ndarray, "N 3 S S"]
    index: Int64[np.ndarray, " N"]
    npz_labels: Int64[np.ndarray, " N"]


def picture(kind: int, rng: np.random.Generator) -> UInt8[np.ndarray, "3 S S"]:
    """Hue and outline tell the class; place, size and the light behind are the picture's own."""
    v, u = np.mgrid[:SIDE, :SIDE] * (2 / (SIDE - 1)) - 1
    (x, y), size = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.4, 0.6)
    outside = OUTLINES[kind % len(OUTLINES)]((u - x) / size, (v - y) / size)
    inside = np.clip((1 - outside) * size * SIDE / 2 + 0.5, 0, 1)  # one pixel of transition
    slope, light = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.35, 0.65, (3, 1, 1))
    behind = light + slope[0] * u + slope[1] * v
    colour = np.array(colorsys.hsv_to_rgb(kind / len(KEYS), 0.85, 0.95)).reshape(3, 1, 1)
    return (255 * np.clip(inside * colour * (1.05 - 0.25 * v) + (1 - inside) * behind, 0, 1)).astype(np.uint8)


def draw(count: int, seed: int = 0) -> Drawn:
    """`count` pictures of the classes in turn, the order shuffled."""
    rng = stream(seed, "stand-ins")
    kinds = rng.permutation(np.arange(count) % len(KEYS))
    entries = [classes.find(KEYS[kind]) for kind in kinds]
    return Drawn(
        pixels=np.stack([picture(kind, rng) for kind in kinds.tolist()]),
        index=np.array([entry.index for entry in entries]),
        npz_labels=np.array([entry.npz_label for entry in entries]),
    )


def write_packed(folder: Path, drawn: Drawn, val: Drawn) -> None:
    """As the downsampled ImageNet of Chrabaszcz et al. (2017) is packed: stored members, planes of R, G, B."""
    folder.mkdir(parents=True)
    flat, mean = drawn.pixels.reshape(len(drawn.pixels), -1), drawn.pixels.mean(0).ravel()
    for number, rows in enumerate(np.array_split(np.arange(len(flat)), SHARDS), start=1):
        path = folder / f"train_data_batch_{number}.npz"
        np.savez(path, data=flat[rows], labels=drawn.npz_labels[rows], mean=mean)
    np.savez(folder / "val_data.npz", data=val.pixels.reshape(len(val.pixels), -1), labels=val.npz_labels)


def write_tree(root: Path, drawn: Drawn, split: str = "train") -> None:
    """`<root>/<split>/<synset>/*.JPEG`, wider than high as photographs are; a few in grey and in CMYK, as in ImageNet."""
    for number, (pixels, index) in enumerate(zip(drawn.pixels, drawn.index.tolist(), strict=True)):
        synset = classes.by_index(index).synset
        folder = root / split / synset
        folder.mkdir(parents=True, exist_ok=True)
        square = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        photo = square.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC)
        wide = Image.new("RGB", (3 * SIDE, 2 * SIDE), photo.getpixel((0, 0)))
        wide.paste(photo, (SIDE // 2, 0))
        mode = {7: "L", 8: "CMYK"}.get(number, "RGB")
        wide.convert(mode).save(folder / f"{synset}_{number}.JPEG", quality=92)


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Weights of unit gain everywhere, also where a fresh network has zeros: noise and class both show in the image."""
    with torch.device("meta"):
        expected = EDMPrecond(**config).state_dict()
    rng = torch.Generator().manual_seed(int(stream(seed, "weights").integers(2**62)))
    return {name: _drawn(name, tuple(value.shape), rng) for name, value in expected.items()}


def _drawn(name: str, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    if name.endswith("resample_filter"):
        return torch.full(shape, 0.25)
    if len(shape) == 1:  # of norms the weights, of all others the biases
        return torch.full(shape, float(name.endswith("weight")))
    if "map_label" in name:
        return torch.randn(shape, generator=rng)
    bound = (3 / np.prod(shape[1:])) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=rng)
