"""The layout of `data/`: sharded, memory-mapped rows with their sample table; a manifest, written last, marks completeness.

<folder>/manifest.json      kind, config and its hash, rows, arrays (shape, dtype), shards (file, rows, sha256)
<folder>/samples.parquet    one line per row: sample_id, class_id, ...
<folder>/<array>/00000.npy  rows of one array; arrays are `images` or layer names
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import files
from modescope.files import DamagedFileError
from modescope.records import ImageSet, check_ids, positions

VERSION = 1
COLUMNS = (
    "sample_id",
    "batch_index",
    "class_id",
    "synset_id",
    "class_name",
    "original_path",
    "source",
    "seed",
    "sigma",
    "protocol",
)
"""Columns of every sample table."""


def config_hash(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def sample_table(ids: Sequence[str], labels: np.ndarray, **columns: Any) -> pd.DataFrame:
    """The table of `COLUMNS`; a column not given is empty."""
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)} are not in the sample table; it has {', '.join(COLUMNS)}")
    table = pd.DataFrame({"sample_id": list(ids), "class_id": np.asarray(labels, np.int64)})
    for name in COLUMNS:
        if name not in table:
            table[name] = columns.get(name)
    return table[list(COLUMNS)]


class _Shards:
    """Collects rows of several arrays and writes a shard of each whenever enough are there."""

    def __init__(self, folder: Path, shard_rows: int) -> None:
        self.folder, self.shard_rows = folder, shard_rows
        self.waiting: dict[str, list[np.ndarray]] = {}
        self.arrays: dict[str, dict[str, Any]] = {}
        self.shards: list[dict[str, Any]] = []
        self.rows, self.written = 0, 0

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        for name, values in batch.items():
            described = {"shape": list(values.shape[1:]), "dtype": str(values.dtype)}
            if self.arrays.setdefault(name, described) != described:
                raise ValueError(f"array {name!r} changes from {self.arrays[name]} to {described} between batches")
            self.waiting.setdefault(name, []).append(values)
        self.rows += len(next(iter(batch.values())))
        while self.rows - self.written >= self.shard_rows:
            self.flush(self.shard_rows)

    def flush(self, rows: int) -> None:
        if not rows:
            return
        for name, parts in self.waiting.items():
            values = np.concatenate(parts) if len(parts) > 1 else parts[0]
            path = self.folder / name / f"{self.written // self.shard_rows:05d}.npy"
            files.write_array(path, values[:rows])
            span = [self.written, self.written + rows]
            entry = {"array": name, "file": f"{name}/{path.name}", "rows": span, "bytes": path.stat().st_size}
            self.shards.append({**entry, "sha256": files.sha256(path)})
            self.waiting[name] = [values[rows:]]
        self.written += rows


def write_rows(
    folder: Path,
    batches: Iterable[Mapping[str, np.ndarray]],
    table: pd.DataFrame,
    *,
    kind: str,
    config: Mapping[str, Any],
    shard_rows: int = 4096,
) -> None:
    """Write batches of rows ({array: (n, ...)}) and their table as one folder, which replaces `folder` when complete."""
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    shards = _Shards(partial, shard_rows)
    for batch in batches:
        shards.add(batch)
    shards.flush(shards.rows - shards.written)
    check_ids(list(table["sample_id"]), shards.rows, str(folder))
    files.write_table(partial / "samples.parquet", table)
    manifest = {
        "version": VERSION,
        "kind": kind,
        "config_hash": config_hash(config),
        "config": dict(config),
        "rows": shards.rows,
        "arrays": shards.arrays,
        "shards": shards.shards,
    }
    files.write_json(partial / "manifest.json", manifest)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


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
            path = self.folder / shard["file"]
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                state = "is missing" if size is None else f"has {size} bytes instead of {shard['bytes']}"
                raise DamagedFileError(
                    f"{path} {state}; it is damaged or incomplete. Delete {self.folder} and run `dvc repro` "
                    "(or `dvc checkout`) to make it again"
                )

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
            if files.sha256(self.folder / shard["file"]) != shard["sha256"]:
                raise DamagedFileError(
                    f"{self.folder / shard['file']} does not have the bytes that were written; run `dvc repro`"
                )

    @cached_property
    def _maps(self) -> dict[str, list[np.ndarray]]:
        maps: dict[str, list[np.ndarray]] = {name: [] for name in self.manifest["arrays"]}
        for shard in self.manifest["shards"]:
            maps[shard["array"]].append(files.read_array(self.folder / shard["file"], mapped=True))
        return maps

    def take(self, rows: np.ndarray, array: str) -> np.ndarray:
        """Rows by position => (n, ...)."""
        if array not in self._maps:
            raise ValueError(f"{self.folder} holds no {array!r}; it holds {', '.join(self._maps)}")
        parts, described = self._maps[array], self.manifest["arrays"][array]
        if len(parts) == 1:
            return np.asarray(parts[0][rows])
        out = np.empty((len(rows), *described["shape"]), described["dtype"])
        starts = np.cumsum([0, *map(len, parts)])
        shard = np.searchsorted(starts, rows, side="right") - 1
        for index in np.unique(shard):
            chosen = shard == index
            out[chosen] = parts[index][rows[chosen] - starts[index]]
        return out

    def rows_of(self, ids: Sequence[str] | None) -> np.ndarray:
        return np.arange(len(self)) if ids is None else positions(self.ids, ids, str(self.folder))


class Activations(Rows):
    """Activations of one image set under one configuration: `activations[ids or None, layer]` => (n, C, H, W)."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "activations")

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in execution order."""
        return tuple(self.manifest["arrays"])

    def __getitem__(self, key: tuple[Sequence[str] | None, str]) -> np.ndarray:
        ids, layer = key
        return self.take(self.rows_of(ids), layer)

    def features(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """All layers in execution order, each flattened C, H, W: (n, D)."""
        return np.concatenate([self[ids, layer].reshape(-1, self.width(layer)) for layer in self.layers], axis=1)

    def width(self, layer: str) -> int:
        return int(np.prod(self.manifest["arrays"][layer]["shape"]))


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


def write_map(path: Path, ids: Sequence[str], points: np.ndarray) -> None:
    """Map coordinates => parquet with sample_id, x, y (and z)."""
    check_ids(ids, len(points), str(path))
    columns = {axis: points[:, i].astype(np.float32) for i, axis in enumerate("xyz"[: points.shape[1]])}
    files.write_table(path, pd.DataFrame({"sample_id": list(ids), **columns}))


def read_map(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Coordinates of the given ids => float32 (n, 2 or 3)."""
    table = files.read_table(path)
    rows = positions(tuple(table["sample_id"]), ids, str(path))
    return table.drop(columns="sample_id").to_numpy(np.float32)[rows]


def write_made(folder: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Keep one made image with its record: `<hash>.safetensors`, then `<hash>.json`, which marks it complete.

    The hash is that of `record["recipe"]`, all that decides the image: the same recipe replaces itself. Returns the id,
    `made/<hash>`.
    """
    name = config_hash(record["recipe"])
    path = folder / f"{name}.safetensors"
    files.write_tensors(path, arrays)
    sample_id = f"made/{name}"
    files.write_json(folder / f"{name}.json", {"id": sample_id, **record, "sha256": files.sha256(path)})
    return sample_id


def read_made(folder: Path, sample_id: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Record and arrays of one made image. Raises DamagedFileError when either is missing or not what was written."""
    name = sample_id.removeprefix("made/")
    path = folder / f"{name}.safetensors"
    record = files.read_json(folder / f"{name}.json")
    arrays, _ = files.read_tensors(path)
    if not isinstance(record, dict) or record.get("id") != sample_id or files.sha256(path) != record.get("sha256"):
        raise DamagedFileError(f"{path} is not what its record describes; delete it and {name}.json, and make it again")
    return record, arrays


def list_made(folder: Path) -> tuple[str, ...]:
    """Ids of the complete made images of a folder, oldest first (none where there is no folder)."""
    records = sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return tuple(f"made/{path.stem}" for path in records)
