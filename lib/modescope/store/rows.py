"""Reading what the pipeline stored: rows by sample id, through memory maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import files
from modescope.files import DamagedFileError
from modescope.mapping import MappedRows, fetch_ahead
from modescope.records import RECONSTRUCTION, ImageSet, positions, row_index
from modescope.store.writing import VERSION


class Rows:
    """A folder of rows, opened by memory map; every look-up is by sample id.

    Raises DamagedFileError naming the file when a part is missing, truncated or from another version.
    """

    def __init__(self, folder: str | Path, kind: str) -> None:
        self.folder = Path(folder)
        self.manifest = files.read_json(self.folder / "manifest.json")
        if self.manifest.get("version") != VERSION or self.manifest.get("kind") != kind:
            found = f"{self.manifest.get('kind')} of version {self.manifest.get('version')}"
            raise DamagedFileError(f"{self.folder} holds {found}, wanted {kind} of version {VERSION}; run `dvc repro`")
        for shard in self.manifest["shards"]:
            path = self._path(shard)
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                state = "is missing" if size is None else f"has {size} bytes instead of {shard['bytes']}"
                raise DamagedFileError(
                    f"{path} {state}; it is damaged or incomplete. Delete {self.folder} and run `dvc repro` "
                    "(or `dvc checkout`) to make it again"
                )

    def _path(self, shard: Mapping[str, Any]) -> Path:
        return self.folder / self.manifest.get("shards_at", "") / shard["file"]

    @property
    def config(self) -> dict[str, Any]:
        return self.manifest["config"]

    @cached_property
    def table(self) -> pd.DataFrame:
        return files.read_table(self.folder / "samples.parquet")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.table["sample_id"])

    @cached_property
    def labels(self) -> np.ndarray:
        return self.table["class_id"].to_numpy(np.int64)

    def __len__(self) -> int:
        return self.manifest["rows"]

    def verify(self) -> None:
        """Compare every shard with its checksum."""
        for shard in self.manifest["shards"]:
            if files.sha256(self._path(shard)) != shard["sha256"]:
                raise DamagedFileError(
                    f"{self._path(shard)} does not have the bytes that were written; run `dvc repro`"
                )

    @cached_property
    def _maps(self) -> dict[str, list[_Part]]:
        maps: dict[str, list[_Part]] = {name: [] for name in self.manifest["arrays"]}
        for shard in self.manifest["shards"]:
            maps[shard["array"]].append(_Part(self._path(shard), shard["rows"][1] - shard["rows"][0]))
        return maps

    def take(self, rows: np.ndarray, array: str) -> np.ndarray:
        """Rows by position => (n, ...)."""
        if array not in self._maps:
            raise ValueError(f"{self.folder} holds no {array!r}; it holds {', '.join(self._maps)}")
        parts, described = self._maps[array], self.manifest["arrays"][array]
        starts = np.cumsum([0, *(part.rows for part in parts)])
        rows = np.asarray(rows, np.int64)
        shard = np.searchsorted(starts, rows, side="right") - 1
        chosen = {int(i): np.flatnonzero(shard == i) for i in np.unique(shard)}
        local = {i: rows[places] - starts[i] for i, places in chosen.items()}
        fetch_ahead([(parts[i].mapped, local[i]) for i in chosen])
        if len(chosen) == 1:
            (i,) = chosen
            return parts[i].values[local[i]]
        out = np.empty((len(rows), *described["shape"]), described["dtype"])
        for i, places in chosen.items():
            out[places] = parts[i].values[local[i]]
        return out

    def rows_of(self, ids: Sequence[str] | None) -> np.ndarray:
        return np.arange(len(self)) if ids is None else positions(self._row, ids, str(self.folder))

    @cached_property
    def _row(self) -> dict[str, int]:
        return row_index(self.ids)


class _Part:
    """The first `rows` rows of a shard file, mapped."""

    def __init__(self, path: Path, rows: int) -> None:
        opened = files.read_array(path, mapped=True)
        width = opened[:1].nbytes
        self.rows = rows
        self.mapped = MappedRows(path, offset=opened.offset, rows=rows, width=width)  # type: ignore[attr-defined]
        self.values = self.mapped.values.view(opened.dtype).reshape(rows, *opened.shape[1:])


class Activations(Rows):
    """Activations of one image set under one configuration: `activations[ids or None, layer]` => (n, C, H, W)."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "activations")

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in execution order."""
        return tuple(name for name in self.manifest["arrays"] if name != RECONSTRUCTION)

    def __getitem__(self, key: tuple[Sequence[str] | None, str]) -> np.ndarray:
        ids, layer = key
        return self.take(self.rows_of(ids), layer)

    @property
    def standardised(self) -> bool:
        """Whether the rows are principal components of standardised features: standardising them again whitens them."""
        return self.config.get("keep") == "pca"

    @cached_property
    def matrix(self) -> FeatureRows:
        """All layers in execution order, each flattened C, H, W: (N, D), read a block of rows at a time."""
        return FeatureRows(self)

    def features(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """Rows of `matrix` in memory: (n, D)."""
        return self.matrix[self.rows_of(ids)]

    def width(self, layer: str) -> int:
        return int(np.prod(self.manifest["arrays"][layer]["shape"]))


class FeatureRows:
    """The feature rows of a view as a matrix (N, D) that stays on disk: slices and lists of rows come as arrays."""

    def __init__(self, activations: Activations) -> None:
        self._stored = activations
        widths = {layer: activations.width(layer) for layer in activations.layers}
        self.shape = (len(activations), sum(widths.values()))
        self.dtype = np.result_type(*(activations.manifest["arrays"][layer]["dtype"] for layer in widths))
        self._spans, start = {}, 0
        for layer, width in widths.items():
            self._spans[layer] = slice(start, start := start + width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        wanted = np.arange(len(self))[rows]
        if len(self._spans) == 1:
            return self._stored.take(wanted, self._stored.layers[0]).reshape(len(wanted), -1)
        out = np.empty((len(wanted), self.shape[1]), self.dtype)
        for layer, span in self._spans.items():
            out[:, span] = self._stored.take(wanted, layer).reshape(len(wanted), -1)
        return out


class Images(Rows):
    """Stored images: `read(positions)` and `read_ids(ids)` => uint8 (n, C, H, W)."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "images")

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.take(np.asarray(rows), "images")

    def select(self, ids: Sequence[str] | None = None) -> ImageSet:
        rows = self.rows_of(ids)
        return ImageSet(ids=tuple(self.ids[i] for i in rows), pixels=self.read(rows), labels=self.labels[rows])


def open_activations(path: str | Path) -> Activations:
    """Open a folder of activations; `open_activations(path)[ids, layer]` => (n, C, H, W), ids None for all."""
    return Activations(path)


def open_stored_images(path: str | Path) -> Images:
    """Open a folder of images that the pipeline stored."""
    return Images(path)


def check_same_view(real: Activations, fake: Activations) -> None:
    """Real and generated activations compare only under one network, protocol and noise level."""
    for what in ("network_hash", "view"):
        if real.config[what] != fake.config[what]:
            raise ValueError(
                f"{fake.folder} was captured with another {what.replace('_', ' ')} ({fake.config[what]}) than "
                f"{real.folder} ({real.config[what]}); both sides need the same: run `dvc repro`"
            )
