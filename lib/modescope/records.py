"""Frozen values that travel between modules. Every array comes with the ids of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # two seconds, which tables and images need not wait for
    from torch import Tensor

RECONSTRUCTION = "x0"
"""Name under which denoised images lie beside the layers of a capture."""


def check_ids(ids: Sequence[str], rows: int, what: str) -> None:
    """Ids are unique and as many as there are rows."""
    if len(ids) != rows:
        raise ValueError(f"{what} has {rows} rows but {len(ids)} ids; give one id per row")
    if len(set(ids)) != len(ids):
        raise ValueError(f"{what} has repeated ids; ids name samples, so each may occur once")


def row_index(ids: Sequence[str]) -> dict[str, int]:
    """Id => the row at which it stands."""
    return {name: row for row, name in enumerate(ids)}


def positions(index: Mapping[str, int], wanted: Sequence[str], what: str) -> np.ndarray:
    """Rows at which the `wanted` ids stand in a `row_index`: int64 (len(wanted),)."""
    missing = [name for name in wanted if name not in index]
    if missing:
        raise ValueError(f"{what} holds no sample {missing[0]!r} ({len(missing)} of {len(wanted)} ids are unknown)")
    return np.fromiter((index[name] for name in wanted), np.int64, len(wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Images with their ids and class labels: pixels uint8 (N, C, H, W), labels int64 (N,)."""

    ids: tuple[str, ...]
    pixels: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        check_ids(self.ids, len(self.pixels), "the image set")
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels are {self.pixels.dtype} {self.pixels.shape}; give uint8 (N, C, H, W)")
        if self.labels.shape != (len(self.ids),):
            raise ValueError(f"labels have shape {self.labels.shape}; give one per image, ({len(self.ids)},)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Rows [start, stop) of shard `number` that are still to be computed; `start` lies on a batch boundary."""

    number: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"rows {self.start} to {self.stop} of shard {self.number} are no span; start comes first")

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Activations to hold in a network: module path => value (1, C, H, W), and where they come from.

    `ids` and `weights` name the samples whose mask values were averaged; `source` says how those values were obtained
    (`recorded`, `nearest`, `scaled`, `inverted`, `guided`, `aimed`); `sigma` is the noise level of the step in which they
    were recorded.
    """

    values: Mapping[str, Tensor]
    ids: tuple[str, ...]
    weights: tuple[float, ...]
    source: str
    sigma: float

    def __post_init__(self) -> None:
        check_ids(self.ids, len(self.weights), "the mask")
        if not self.values:
            raise ValueError("the mask holds no layer; name at least one")
        for path, value in self.values.items():
            if value.ndim != 4:
                raise ValueError(f"the mask value of {path!r} has shape {tuple(value.shape)}; give (1 or N, C, H, W)")
