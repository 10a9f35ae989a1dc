"""Packed ImageNet: `train_data_batch_<n>.npz` and `val_data.npz` (Chrabaszcz, Loshchilov and Hutter 2017).

Each file holds `data` (uint8) and `labels` (1..1000 in `map_clsloc` order, see `classes`). Opening reads labels and
headers, never pixels, and keeps what it found in a small index; reading gathers rows from memory maps.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Int64, UInt8

from modescope import classes
from modescope.files import DamagedFileError, read_array, read_tensors, write_tensors
from modescope.images import archive
from modescope.images.archive import Member
from modescope.images.caching import cache_folder, fingerprint
from modescope.images.resizing import named_filter, resize_batch, resolved, square_filter
from modescope.images.source import ImageSource
from modescope.mapping import MappedRows, fetch_ahead

log = logging.getLogger(__name__)

Layout = Literal["planes", "chw", "hwc"]
_NAMES = {"train": re.compile(r"train_data_batch_(\d+)\.npz"), "val": re.compile(r"val_data()\.npz")}
_SIDES = range(8, 257)
_INDEX_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One .npz file: what it was when indexed (`size`, `mtime_ns`), and where its pixels lie."""

    path: Path
    size: int
    mtime_ns: int
    data: Member

    @property
    def rows(self) -> int:
        return self.data.shape[0]


def shard_paths(path: Path, split: str | None) -> tuple[str, list[Path]]:
    """The split and its files in the order of their numbers. `path` is their folder, or one file (a split of its own).

    Without `split`: the only one there, else train.
    """
    if split not in (None, *_NAMES):
        raise ValueError(f"split {split!r} is unknown; packed ImageNet has {' and '.join(_NAMES)}")
    if path.is_file():
        return split or path.stem, [path]
    if not path.is_dir():
        raise ValueError(f"path {path} is not there; give the folder with train_data_batch_<n>.npz or val_data.npz")
    found = {name: _matching(path, pattern) for name, pattern in _NAMES.items()}
    there = [name for name, paths in found.items() if paths]
    if not there:
        raise ValueError(f"path {path} holds neither train_data_batch_<n>.npz nor val_data.npz; give their folder")
    chosen = split or there[0]
    if chosen not in there:
        raise ValueError(f"split {chosen!r} is not in {path}; there: {', '.join(there)}")
    return chosen, found[chosen]


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    numbered = {
        int(match[1] or 0): entry for entry in sorted(folder.iterdir()) if (match := pattern.fullmatch(entry.name))
    }
    missing = set(range(1, max(numbered, default=0) + 1)) - set(numbered)
    if missing:
        log.warning("%s: files %s are not there; the numbers of later images shift", folder, sorted(missing))
    return [numbered[number] for number in sorted(numbered)]


def layout_of(path: Path, data: Member) -> tuple[Layout, int]:
    """How the pixels lie, and the side S: (N, 3*S*S) in R, G, B planes, (N, 3, S, S) or (N, S, S, 3); S in 8..256."""
    side, layout = 0, "planes"
    match data.shape:
        case (_, width):
            side = math.isqrt(width // 3)
            side *= width == 3 * side * side
        case (_, 3, height, width) if height == width:
            side, layout = width, "chw"
        case (_, height, width, 3) if height == width:
            side, layout = width, "hwc"
    if data.dtype != "|u1" or side not in _SIDES:
        raise ValueError(
            f"{path}: data is {data.dtype} {data.shape}; packed images are uint8 (N, 3*S*S), (N, 3, S, S) or "
            f"(N, S, S, 3) with S from {_SIDES[0]} to {_SIDES[-1]}: is this the file you meant?"
        )
    return layout, side  # type: ignore[return-value]


def _scan(path: Path) -> tuple[Shard, Int64[np.ndarray, " N"]]:
    """One file => where its pixels lie, and its labels as standard indices. Reads no pixels."""
    status = path.stat()
    data = archive.member(path, "data")
    layout_of(path, data)
    labels = archive.load(path, "labels").ravel()
    if labels.dtype.kind not in "iu" or len(labels) != data.shape[0]:
        raise ValueError(
            f"{path}: labels are {labels.dtype} and {len(labels)}, images {data.shape[0]}; each needs one whole number"
        )
    try:
        index = classes.from_npz_labels(labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Shard(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, data=data), index


def _index(paths: Sequence[Path], stored: Path) -> tuple[list[Shard], Int64[np.ndarray, " N"]]:
    """Shards and labels, from the stored index while every file has the size and time it was made with."""
    status = [path.stat() for path in paths]
    key = [[path.name, s.st_size, s.st_mtime_ns] for path, s in zip(paths, status, strict=True)]
    try:
        tensors, record = read_tensors(stored)
        if json.loads(record["key"]) == [_INDEX_VERSION, key]:
            members = [Member(**m | {"shape": tuple(m["shape"])}) for m in json.loads(record["data"])]
            files = zip(paths, status, members, strict=True)
            shards = [Shard(path=p, size=s.st_size, mtime_ns=s.st_mtime_ns, data=m) for p, s, m in files]
            return shards, tensors["labels"]
    except DamagedFileError:
        pass  # none yet, or cut short: it is made again from the files themselves
    scanned = [_scan(path) for path in paths]
    shards, labels = [shard for shard, _ in scanned], np.concatenate([labels for _, labels in scanned])
    record = {
        "key": json.dumps([_INDEX_VERSION, key]),
        "data": json.dumps([asdict(shard.data) for shard in shards]),
    }
    write_tensors(stored, {"labels": labels}, record)
    return shards, labels


class PackedImageNet(ImageSource):
    """`split`: train or val. `cache`: where the index and unpacked pixels go (default: `.modescope` beside the files).

    Files whose pixels are stored are mapped inside the zip. Deflated ones are unpacked to the cache once, at the first
    read of one of their images or by `unpack()`.
    """

    def __init__(
        self,
        path: Path | str,
        resolution: int | None = None,
        *,
        split: str | None = None,
        cache: Path | str | None = None,
    ) -> None:
        path = Path(path)
        self.split, paths = shard_paths(path, split)
        self._cache = cache_folder(path if path.is_dir() else path.parent, cache)
        self._shards, labels = _index(paths, self._cache / f"{self.split}.index.safetensors")
        layouts = {layout_of(shard.path, shard.data) for shard in self._shards}
        if len(layouts) > 1:
            found = "; ".join(f"{shard.path.name}: {shard.data.shape}" for shard in self._shards)
            raise ValueError(f"path {path} mixes layouts or sizes ({found}); keep each size in a folder of its own")
        if not len(labels):
            raise ValueError(f"path {path}: its files hold no images; download or copy them again")
        self._layout, self._side = layouts.pop()
        self._starts = np.cumsum([0, *(shard.rows for shard in self._shards)])
        self._open: dict[int, MappedRows] = {}
        side = resolved(resolution, self._side)
        self._filter = None if side == self._side else square_filter(self._side, side)
        super().__init__(
            source="imagenet_real_npz",
            preprocessing=f"as packed (official files: whole image squashed, box filter) {self._side}x{self._side}"
            + (f"; {self._filter} to {side}x{side}" if self._filter else ""),
            channels=3,
            resolution=side,
            labels=labels,
            class_names=[entry.name for entry in classes.table()],
            synsets=[entry.synset for entry in classes.table()],
            fingerprint=fingerprint([shard.path.name, shard.size, shard.mtime_ns] for shard in self._shards),
        )

    def original_path(self, index: SupportsIndex) -> str:
        row = int(self._rows([int(index)])[0])
        shard = int(np.searchsorted(self._starts, row, "right")) - 1
        return f"{self._shards[shard].path}#{row - self._starts[shard]}"

    def unpack(self) -> None:
        """Unpack every deflated file now, so that no later read waits for it (nor several processes at once)."""
        for number in range(len(self._shards)):
            self._mapped(number)

    def _mapped(self, number: int) -> MappedRows:
        """All pixels of one file, one image a row; mapped when first needed and kept so."""
        if number not in self._open:
            shard = self._shards[number]
            path, offset = shard.path, shard.data.offset
            if offset is None:
                path = self._unpacked(shard)
                offset = read_array(path, mapped=True).offset  # type: ignore[attr-defined]
            self._open[number] = MappedRows(path, offset=offset, rows=shard.rows, width=3 * self._side * self._side)
        return self._open[number]

    def _unpacked(self, shard: Shard) -> Path:
        target = self._cache / f"{shard.path.stem}.{shard.size:x}-{shard.mtime_ns:x}.npy"
        if not target.exists():
            archive.unpack(shard.path, shard.data.name, target)
            for stale in self._cache.glob(f"{shard.path.stem}.*.npy"):
                if stale != target:
                    stale.unlink(missing_ok=True)
        return target

    def _read(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n C R R"]:
        side = self._side
        flat = self._gather(rows)
        if self._layout == "hwc":
            images = np.ascontiguousarray(flat.reshape(-1, side, side, 3).transpose(0, 3, 1, 2))
        else:
            images = flat.reshape(-1, 3, side, side)
        return resize_batch(images, self.resolution, named_filter(self._filter)) if self._filter else images

    def _places(self, rows: Int64[np.ndarray, " n"]) -> dict[int, Int64[np.ndarray, " ..."]]:
        """Number of each file that the rows touch => which of them, in the order in which they lie in the file."""
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], self._starts)
        return {int(i): order[ends[i] : ends[i + 1]] for i in np.flatnonzero(np.diff(ends))}

    def _gather(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n width"]:
        places = self._places(rows)
        mapped = {number: self._mapped(number) for number in places}
        local = {number: rows[place] - self._starts[number] for number, place in places.items()}
        fetch_ahead([(mapped[number], local[number]) for number in places])
        if len(places) == 1:
            (number,) = places
            return mapped[number].values[rows - self._starts[number]]
        out = np.empty((len(rows), 3 * self._side * self._side), np.uint8)
        for number, place in places.items():
            values = mapped[number].values
            # Row by row: assigning to a list of places goes byte by byte, and a second array costs fresh pages.
            for target, row in zip(place.tolist(), local[number].tolist(), strict=True):
                out[target] = values[row]
        return out
