"""What every reader of real images offers, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import SupportsIndex, TypeAlias

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

Indices: TypeAlias = Sequence[int] | np.ndarray


class ImageSource:
    """A sized set of labelled images, read by row. A new reader fills these fields and implements two methods.

    `labels`: int64 (N,), an index into `class_names` (for ImageNet the standard index 0..999, in sorted-synset order).
    `ids`: `real/<source index>`, where the index counts all that the source holds in its own order.
    `synsets`: one per class where the classes are ImageNet's, else None.
    `unreadable`: (path, reason) of what the source holds but cannot give.
    `source`, `preprocessing`: where the pixels come from and what was done to them, for the record.
    `fingerprint`: changes when the files behind it do (their names, sizes or times); "" where there are none.
    """

    def __init__(
        self,
        *,
        source: str,
        preprocessing: str,
        channels: int,
        resolution: int,
        labels: Int64[np.ndarray, " N"],
        class_names: Sequence[str],
        synsets: Sequence[str] | None = None,
        source_index: Int64[np.ndarray, " N"] | None = None,
        unreadable: Sequence[tuple[str, str]] = (),
        fingerprint: str = "",
    ) -> None:
        self.source, self.preprocessing, self.fingerprint = source, preprocessing, fingerprint
        self.channels, self.resolution = channels, resolution
        self.labels = labels
        self.class_names = list(class_names)
        self.synsets = None if synsets is None else list(synsets)
        self.unreadable = list(unreadable)
        self._source_index = source_index

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def ids(self) -> Shaped[np.ndarray, " N"]:
        """Sample ids, one string per row; made when first asked for (1.28 million take 60 MB)."""
        index: range | np.ndarray = range(len(self)) if self._source_index is None else self._source_index
        width = len(f"real/{int(index[-1])}")
        return np.fromiter((f"real/{i}" for i in index), dtype=f"<U{width}", count=len(self))

    def rows_of(self, numbers: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Rows of the samples `real/<number>`."""
        if self._source_index is None:
            return self._rows(numbers)
        rows = np.searchsorted(self._source_index, numbers)
        there = self._source_index[np.minimum(rows, len(self) - 1)] == numbers
        if not there.all():
            raise ValueError(
                f"sample real/{numbers[~there][0]} cannot be read any more ({(~there).sum()} in all); the files have "
                "changed: run `dvc repro --force prepare`"
            )
        return rows

    def read(self, indices: Indices) -> UInt8[np.ndarray, "n C R R"]:
        """Pixels of the rows `indices` (0 <= i < len, any order, repeats allowed), in the order asked for."""
        rows = self._rows(indices)
        if not len(rows):
            return np.empty((0, self.channels, self.resolution, self.resolution), np.uint8)
        return self._read(rows)

    def original_path(self, index: SupportsIndex) -> str:
        """Where row `index` comes from: a file, with `#<row>` where the file holds many images."""
        raise NotImplementedError

    def _read(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n C R R"]:
        """Pixels of at least one row; the rows are checked."""
        raise NotImplementedError

    def _rows(self, indices: Indices) -> Int64[np.ndarray, " n"]:
        rows: np.ndarray = np.asarray(indices)
        if not rows.size:
            return np.empty(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"indices has shape {rows.shape} and type {rows.dtype}; give a flat list of whole row numbers "
                "(np.flatnonzero turns a mask into one)"
            )
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or high >= len(self):
            raise ValueError(
                f"indices holds {low if low < 0 else high}; this set has {len(self)} images: use 0..{len(self) - 1}"
            )
        return rows.astype(np.int64, copy=False)
