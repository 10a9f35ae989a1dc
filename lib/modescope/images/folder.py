"""A folder of image files, one folder per class: ImageNet's synsets, or a user's own class names.

`<root>/<split>/<class>/<file>`, or without the split level. Opening lists the files and looks at each one's header and
end; decoding happens at `read`, in parallel threads (Pillow lets go of the interpreter's lock while it works).
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, SupportsIndex, get_args

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8
from PIL import Image
from tqdm import tqdm

from modescope import classes
from modescope.files import DamagedFileError, read_table, write_table
from modescope.images.caching import cache_folder, fingerprint
from modescope.images.resizing import Fit, fit, named_filter, resolved, upright_rgb
from modescope.images.source import ImageSource

log = logging.getLogger(__name__)

Check = Literal["header", "decode"]
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
_SPLITS = ("train", "val", "validation", "test")
_WORTH_KEEPING = 2000  # fewer files are looked at again faster than anyone would miss the record
_BLOCK = 4096
# What Pillow raises for files that are not whole images.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def class_level(root: Path, split: str | None) -> tuple[str | None, Path, list[str]]:
    """The split, the folder that holds the class folders, and their names in sorted order.

    Without `split`: the first of train, val, validation and test that holds folders; with none of them `root` itself.
    """
    if not root.is_dir():
        raise ValueError(f"path {root} is not a folder; give the one that holds the class folders, or their splits")
    there = _subfolders(root)
    if split is None:
        split = next((name for name in _SPLITS if name in there and _subfolders(root / name)), None)
    elif split not in there:
        raise ValueError(f"split {split!r} is not in {root}; there: {', '.join(there[:8]) or 'no folder at all'}")
    folder = root / split if split else root
    names = _subfolders(folder)
    if not names:
        raise ValueError(f"path {folder} holds no class folders; put the images of each class in a folder of its name")
    return split, folder, names


def class_labels(folder: Path, names: Sequence[str]) -> tuple[list[int], list[str], list[str] | None]:
    """Folder names => label of each, class names, synsets. A synset has its standard index, another name its place."""
    known = {entry.synset: entry.index for entry in classes.table()}
    outside = [name for name in names if name not in known]
    if len(outside) == len(names):
        return list(range(len(names))), list(names), None
    if outside:
        raise ValueError(
            f"{folder}: folders {', '.join(outside[:5])} ({len(outside)} in all) are not among ImageNet's "
            f"{len(known)} synsets, others there are; move them away, or rename all to class names of your own"
        )
    table = classes.table()
    return [known[name] for name in names], [entry.name for entry in table], [entry.synset for entry in table]


def list_files(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Every image file: `file` (class/name), `place` of its class in `names`, `size`, `mtime_ns`; by class, name."""
    rows = []
    for place, name in enumerate(names):
        with os.scandir(folder / name) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                    status = entry.stat()
                    rows.append((f"{name}/{entry.name}", place, status.st_size, status.st_mtime_ns))
    if not rows:
        raise ValueError(
            f"path {folder}: its {len(names)} folders hold no image ({', '.join(SUFFIXES)}); check the path"
        )
    return pd.DataFrame(rows, columns=["file", "place", "size", "mtime_ns"])


def _ends_whole(image: Image.Image) -> bool:
    """Whether a JPEG's last bytes are its end marker: without it the file may be cut short."""
    if image.format != "JPEG" or not hasattr(image, "fp"):
        return False
    image.fp.seek(-2, os.SEEK_END)
    return bool(image.fp.read() == b"\xff\xd9")


def examine(path: Path, check: str = "header") -> tuple[int, int, str]:
    """Width, height and what is wrong with the file ("": nothing).

    `header`: a JPEG is decoded only where its end marker is missing, other kinds always; `decode`: all are decoded.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            if check == "decode" or not _ends_whole(image):
                image.load()
    except _UNREADABLE as error:
        return 0, 0, str(error).replace(str(path), path.name) or type(error).__name__
    return *size, ""


def _threaded(work: Callable[[Path], tuple], paths: Sequence[Path], workers: int) -> Iterator[tuple]:
    """Results in order. In blocks: a future for each of a million files would take a gigabyte."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), _BLOCK):
            yield from pool.map(work, paths[start : start + _BLOCK])


def examine_all(folder: Path, listing: pd.DataFrame, *, check: str, workers: int, stored: Path | None) -> pd.DataFrame:
    """The listing with `width`, `height` and `reason`. Files unchanged since `stored` was written keep what it says.

    What was unreadable is tried again each time: the cause may have been the disk and not the file.
    """
    known = pd.DataFrame(columns=["file", "size", "mtime_ns", "width", "height", "reason"])
    if stored is not None and stored.exists():
        try:
            known = read_table(stored)
        except DamagedFileError:
            log.warning("%s is damaged; looking at every file again", stored)
    kept = known[known["reason"] == ""].astype({"size": "int64", "mtime_ns": "int64"})
    table = listing.merge(kept, how="left", on=["file", "size", "mtime_ns"])
    todo = np.flatnonzero(table["reason"].isna())
    if not len(todo):
        return table.astype({"width": "int64", "height": "int64"})
    paths = [folder / file for file in table["file"].iloc[todo]]
    found: Iterable[tuple] = _threaded(lambda path: examine(path, check), paths, workers)
    found = tqdm(found, total=len(paths), desc=f"looking at {folder}", unit="file", disable=None)
    seen = pd.DataFrame(list(found), columns=["width", "height", "reason"], index=table.index[todo])
    filled = table.astype({"width": "float64", "height": "float64", "reason": "object"}).fillna(seen)
    table = filled.astype({"width": "int64", "height": "int64", "reason": "str"})
    if stored is not None:
        write_table(stored, table.drop(columns="place"))
    return table


def native_side(folder: Path, table: pd.DataFrame) -> int:
    """The one side length of all images, where they are square and equal."""
    sizes = table.groupby(["width", "height"]).size().sort_values(ascending=False)
    width, height = sizes.index[0]
    if len(sizes) > 1 or width != height:
        shown = ", ".join(f"{w}x{h}" for w, h in sizes.index[:3])
        raise ValueError(
            f"resolution None means native, but the images of {folder} are not all squares of one size "
            f"({len(sizes)} sizes: {shown}, ...); give resolution, such as 64"
        )
    return int(width)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_options(preprocessing: str, check: str, workers: int | None) -> None:
    for name, value, allowed in (("preprocessing", preprocessing, Fit), ("check", check, Check)):
        if value not in get_args(allowed):
            raise ValueError(f"{name} {value!r} is unknown; use {' or '.join(get_args(allowed))}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers {workers} is below 1; give the number of threads, or None for one per core")


class ImageFolder(ImageSource):
    """Files of any common mode and size as R x R RGB.

    `preprocessing`: "center-crop" (the centre square of the short side, as the EDM networks were trained) or "squash".
    `filter`: how to resize. `flip`: mirror every image. `workers`: threads, default one per usable core.

    Files that cannot be read are not in the set: `unreadable` lists (path, reason), the rest keep the ids they would
    have had anyway; `strict=True` makes the first of them an error. `check="decode"` decodes every file once at
    opening; the default looks at headers and ends, which finds what is not an image or cut short. A file that fails
    later all the same is an error of `read`: no made-up pixels enter a measurement.
    """

    def __init__(
        self,
        path: Path | str,
        resolution: int | None = None,
        *,
        split: str | None = None,
        preprocessing: str = "center-crop",
        filter: str = "lanczos",  # noqa: A002 - the word for it
        flip: bool = False,
        strict: bool = False,
        check: str = "header",
        cache: Path | str | None = None,
        workers: int | None = None,
    ) -> None:
        _check_options(preprocessing, check, workers)
        self._fit, self._resampling, self._flip = preprocessing, named_filter(filter), flip
        self._workers = workers or _usable_cores()
        self.split, self._folder, names = class_level(Path(path), split)
        labels, class_names, synsets = class_labels(self._folder, names)
        listing = list_files(self._folder, names)
        keep = cache is not None or len(listing) > _WORTH_KEEPING
        stored = cache_folder(Path(path), cache) / f"{self.split or 'all'}.{check}.parquet" if keep else None
        table = examine_all(self._folder, listing, check=check, workers=self._workers, stored=stored)
        table, unreadable = self._readable(table, strict=strict)
        side = native_side(self._folder, table) if resolution is None else resolved(resolution, 0)
        self._files = table["file"].reset_index(drop=True)
        super().__init__(
            source="imagenet_real_folder" if synsets else "folder",
            preprocessing=f"upright by EXIF, {'native' if resolution is None else f'{preprocessing} {filter}'} "
            f"{side}x{side}{', mirrored' if flip else ''}",
            channels=3,
            resolution=side,
            labels=np.asarray(labels, np.int64)[table["place"].to_numpy()],
            class_names=class_names,
            synsets=synsets,
            unreadable=unreadable,
            source_index=table.index.to_numpy(np.int64),
            fingerprint=fingerprint(listing[["file", "size", "mtime_ns"]].itertuples(index=False)),
        )

    def original_path(self, index: SupportsIndex) -> str:
        return str(self._folder / self._files[int(self._rows([int(index)])[0])])

    def _readable(self, table: pd.DataFrame, *, strict: bool) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
        """The rows without a reason against them, and (path, reason) of the others."""
        bad = table[table["reason"] != ""]
        found = [(str(self._folder / file), str(why)) for file, why in zip(bad["file"], bad["reason"], strict=True)]
        if not found:
            return table, found
        path, reason = found[0]
        if len(found) == len(table):
            raise ValueError(f"path {self._folder}: none of its files can be read ({path}: {reason}); check the path")
        if strict:
            raise ValueError(
                f"{len(found)} files under {self._folder} cannot be read, the first {path} ({reason}); "
                "replace or remove them, or open with strict=False to leave them out"
            )
        log.warning("%d files under %s cannot be read and are left out", len(found), self._folder)
        return table[table["reason"] == ""], found

    def _read(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n C R R"]:
        out = np.empty((len(rows), 3, self.resolution, self.resolution), np.uint8)

        def place(target: int, row: int) -> None:
            out[target] = self._pixels(self._folder / self._files[row])

        if self._workers == 1 or len(rows) == 1:
            for target, row in enumerate(rows.tolist()):
                place(target, row)
            return out
        with ThreadPoolExecutor(self._workers) as pool:
            for _ in pool.map(place, range(len(rows)), rows.tolist()):
                pass  # a failure in a thread surfaces here
        return out

    def _pixels(self, path: Path) -> UInt8[np.ndarray, "3 R R"]:
        try:
            with Image.open(path) as image:
                fitted = fit(upright_rgb(image), self.resolution, self._fit, self._resampling, flip=self._flip)
                return np.asarray(fitted).transpose(2, 0, 1)
        except _UNREADABLE as error:
            raise ValueError(
                f"{path} cannot be read ({error}), though its header could; open with check='decode' to leave out "
                "every such file"
            ) from error
