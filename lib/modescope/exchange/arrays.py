"""Pixels and activations of the original's folders, read in batches; what is damaged is named with its file."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from modescope.edm import IMAGENET64, EDMPrecond
from modescope.generators import edm_layers
from modescope.taps import capture

Shape = tuple[int, int, int]
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_DAMAGED = (OSError, ValueError, EOFError, struct.error, zlib.error, zipfile.BadZipFile)
_SIDES = {"encoder": 0, "bottleneck": 1, "midblock": 2, "decoder": 3}
_FRIENDLY = re.compile(r"(encoder|decoder)_(block_(\d+)|bottleneck)|midblock")


def read_image(path: Path) -> UInt8[np.ndarray, "C H W"]:
    """A grey or RGB file of 8 bits."""
    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.asarray(image)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; copy it from where the set was made") from error
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}); copy it again from where it was made"
        ) from error
    if mode not in ("L", "RGB"):
        raise ValueError(f"{path} has the mode {mode}; images are grey (L) or RGB of 8 bits: convert it")
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


class ImageBatches:
    """Batches {array: uint8 (n, C, H, W)}, one per group of files; all files have one size."""

    def __init__(self, groups: Sequence[Sequence[Path]], array: str = "images") -> None:
        self._groups, self._array = groups, array
        self._first = groups[0][0]
        self._shape = read_image(self._first).shape

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for group in self._groups:
            yield {self._array: np.stack([self._read(path) for path in group])}

    def _read(self, path: Path) -> np.ndarray:
        pixels = read_image(path)
        if pixels.shape != self._shape:
            raise ValueError(
                f"{path} is {pixels.shape} (channels, height, width), {self._first} {self._shape}; a set has one size: "
                "open the source files with modescope.images, which resizes them"
            )
        return pixels


class Joined:
    """Batches of several sized sources of the same rows, side by side."""

    def __init__(self, *sources: ImageBatches | ActivationBatches) -> None:
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources[0])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for parts in zip(*self._sources, strict=True):
            yield {name: values for part in parts for name, values in part.items()}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file of plain numbers."""
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; copy it from where the set was made") from error
    except (*_DAMAGED, TypeError, AttributeError) as error:
        if "Object arrays" in str(error):
            raise ValueError(f"{path} holds Python objects, which are never loaded; save plain numbers") from error
        raise ValueError(f"{path} cannot be read as .npz ({error}); copy it again from where it was made") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFile:
    """One file of activations: which of its rows are wanted, in order, and how many it must hold."""

    path: Path
    rows: np.ndarray
    total: int
    classes: np.ndarray


class ActivationBatches:
    """Batches {layer: (n, C, H, W)}, one per file, layers in execution order."""

    def __init__(self, batches: Sequence[BatchFile], shapes: Mapping[str, Shape]) -> None:
        self._batches, self.shapes = batches, shapes

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for batch in self._batches:
            arrays = read_npz(batch.path)
            self._check_labels(batch, arrays)
            yield {layer: self._rows(batch, arrays, layer) for layer in self.shapes}

    def _rows(self, batch: BatchFile, arrays: Mapping[str, np.ndarray], layer: str) -> np.ndarray:
        if layer not in arrays:
            raise ValueError(f"{batch.path} holds no layer {layer!r}, as other files of the set do; copy it again")
        values, shape = arrays[layer], self.shapes[layer]
        if len(values) != batch.total:
            raise ValueError(
                f"{batch.path}: {layer} has {len(values)} rows, the metadata {batch.total} samples; the two must agree: "
                "copy both again"
            )
        if values.dtype.kind != "f" or math.prod(values.shape[1:]) != math.prod(shape):
            raise ValueError(
                f"{batch.path}: {layer} is {values.dtype} {values.shape}, its shape {shape} needs numbers with a fraction "
                f"in {math.prod(shape)} columns; correct the shape, or copy the file again"
            )
        values = values.reshape(len(values), *shape)[batch.rows]
        if not np.isfinite(values).all():
            raise ValueError(
                f"{batch.path}: {layer} holds values that are not finite, as captures at noise level 0 do; capture the "
                "images again, or import the other parts with --parts"
            )
        return values

    @staticmethod
    def _check_labels(batch: BatchFile, arrays: Mapping[str, np.ndarray]) -> None:
        labels = arrays.get("labels")
        if labels is not None and not np.array_equal(labels.ravel()[batch.rows], batch.classes):
            raise ValueError(
                f"{batch.path}: its array `labels` and the classes of dataset_info.json differ; copy both again"
            )


def layer_shapes(
    path: Path,
    described: Mapping[str, Sequence[int]],
    given: Mapping[str, Shape],
    *,
    imagenet: bool,
    order: Sequence[str] = (),
) -> dict[str, Shape]:
    """Layers of a file in `order`, else that of execution => (C, H, W): as `given`, else `described`, else the published
    ImageNet-64 network's where the set is `imagenet` and the width fits.
    """
    arrays = read_npz(path)
    layers = {name: values for name, values in arrays.items() if name != "labels" and values.ndim > 1}
    if not layers:
        raise ValueError(
            f"{path} holds no layer (arrays of two or more dimensions); it has {', '.join(arrays) or 'none'}"
        )
    names = sorted(layers, key=lambda name: (order.index(name) if name in order else len(order), _order(name)))
    return {name: _shape(path, name, layers[name], described, given, imagenet) for name in names}


def _shape(
    path: Path,
    layer: str,
    values: np.ndarray,
    described: Mapping[str, Sequence[int]],
    given: Mapping[str, Shape],
    imagenet: bool,
) -> Shape:
    width = math.prod(values.shape[1:])
    if layer not in given and layer not in described:
        if values.ndim == 4:
            return tuple(values.shape[1:])
        known = _imagenet64_shapes().get(layer) if imagenet else None
        if known is None or math.prod(known) != width:
            raise ValueError(
                f"{path}: {layer} has rows of {width} values and no shape (C, H, W), which is not guessed; give "
                f"--shape {layer}=C,H,W, or `layer_shapes` in its JSON"
            )
        return known
    shape = tuple(given.get(layer, described.get(layer, ())))[-3:]
    if len(shape) != 3 or math.prod(shape) != width:
        raise ValueError(
            f"{path}: {layer} has rows of {width} values, which the shape {shape} does not hold; give --shape {layer}=C,H,W"
        )
    return shape


@cache
def _imagenet64_shapes() -> dict[str, Shape]:
    """Layers of the published ImageNet-64 network, from a pass without values."""
    with torch.device("meta"), torch.no_grad():
        network = EDMPrecond(**IMAGENET64)
        layers = edm_layers(network)
        with capture(network, layers.values()) as acts:
            network(torch.empty(1, 3, 64, 64), torch.empty(1), torch.empty(1, 1000))
    found = {}
    for name, path in layers.items():
        _, channels, height, width = acts[path].shape
        found[name] = (channels, height, width)
    return found


def _order(layer: str) -> tuple[int, int, str]:
    """Execution order of an EDM network's friendly names; others keep the order of their names, after them."""
    match = _FRIENDLY.fullmatch(layer)
    if not match:
        return len(_SIDES), 0, layer
    side = "midblock" if layer == "midblock" else "bottleneck" if layer.endswith("bottleneck") else match[1]
    return _SIDES[side], int(match[3] or 0), layer
