"""Image sets of a run: pixels that the pipeline stored, or an index of rows whose pixels stay in their source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modescope import classes, files, selection, store
from modescope.images import ImageSource, open_images
from modescope.params import RealParams
from modescope.store import Images

BATCH = 1024
"""Images read and stored at a time."""
STORED_BYTES = 1_000_000_000
"""Unpacked sources up to this size are stored: their pixels are decoded once."""


def source_row(ids: pd.Series) -> np.ndarray:
    """`real/<number>` => the numbers, int64."""
    return ids.str.removeprefix("real/").to_numpy().astype(np.int64)


class SourceImages(Images):
    """Real images by id whose pixels are read where they lie."""

    @cached_property
    def source(self) -> ImageSource:
        """The source, opened when pixels are first asked for. ValueError where its files have changed since."""
        opened = self.config["opened"]
        source = open_images(opened["kind"], opened["path"], opened["resolution"], **opened["options"])
        if source.fingerprint != self.config["identity"]["fingerprint"]:
            raise ValueError(
                f"the files of {opened['path']} have changed since {self.folder} was made; run "
                "`dvc repro --force prepare`, so that ids and labels fit them again"
            )
        return source

    @cached_property
    def _rows(self) -> np.ndarray:
        return self.source.rows_of(source_row(self.table["sample_id"]))

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.source.read(self._rows[np.asarray(rows, np.int64)])


class PixelRows:
    """The pixels of an image set as a matrix (N, C * H * W) of float32 0..255, read a block of rows at a time."""

    def __init__(self, images: Images, rows: np.ndarray) -> None:
        self._images, self._rows = images, rows
        self.shape = (len(rows), images.read(rows[:1]).size)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> np.ndarray:
        pixels = self._images.read(self._rows[rows])
        return pixels.reshape(len(pixels), -1).astype(np.float32)


def open_set(folder: str | Path) -> Images:
    """Real or generated images of the pipeline, wherever their pixels lie."""
    images = store.open_stored_images(folder)
    return SourceImages(folder) if "opened" in images.config else images


def worth_storing(source: ImageSource, rows: int, *, packed: bool, pixels: str) -> bool:
    """Whether the pixels go into the pipeline's own folder: as told, else for small sources that are not packed."""
    size = rows * source.channels * source.resolution**2
    return pixels == "stored" or (pixels == "auto" and not packed and size <= STORED_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The rows of a source that a run uses, in selection order; `opened`: how to open that source again; `stored`: whether
    the pixels go into the pipeline's own folder.
    """

    source: ImageSource
    rows: np.ndarray
    opened: Mapping[str, Any]
    stored: bool


def choose(real: RealParams, seed: int) -> Chosen:
    """Open the source that the parameters name, and select its rows."""
    files_of = {"split": real.split, "cache": real.cache}
    pictures = {"preprocessing": real.preprocessing, "filter": real.filter, "flip": real.flip, "strict": real.strict}
    known: dict[str, dict[str, Any]] = {"digits": {}, "imagenet-npz": files_of, "folder": {**files_of, **pictures}}
    options = known[real.kind]
    given = real.npz_dir or real.imagenet_dir
    path = None if given is None else str(Path(given).expanduser().resolve())
    source = open_images(real.kind, path, real.resolution, **options)
    wanted = real.target_classes
    rows = selection.select(
        source.labels,
        num_samples=real.num_samples,
        num_classes=real.num_classes,
        target_classes=None if wanted is None else classes.resolve(wanted, source.class_names, source.synsets),
        samples_per_class=real.samples_per_class,
        seed=seed,
        scores=_scores(real, source),
        percentile=None if real.percentile is None else (real.percentile[0], real.percentile[1]),
    )
    opened = {"kind": real.kind, "path": path, "resolution": real.resolution, "options": options}
    stored = worth_storing(source, len(rows), packed=real.kind == "imagenet-npz", pixels=real.pixels)
    return Chosen(source=source, rows=rows, opened=opened, stored=stored)


def _scores(real: RealParams, source: ImageSource) -> np.ndarray | None:
    """One score per row of the source, NaN where the table has none."""
    if real.scores is None:
        return None
    table = files.read_table(Path(real.scores))
    if real.score not in table:
        raise ValueError(f"score {real.score!r} is no column of {real.scores}; it has {', '.join(table.columns)}")
    mine = table[table["sample_id"].str.startswith("real/")]
    values = np.full(len(source), np.nan)
    values[source.rows_of(source_row(mine["sample_id"]))] = mine[real.score].to_numpy(np.float64)
    return values


def write_set(
    folder: Path, chosen: Chosen, *, config: Mapping[str, Any], batches: Iterator[Mapping[str, np.ndarray]]
) -> None:
    """The chosen rows as `folder`: with their pixels (`batches` of `BATCH`), or as an index of the source that keeps them."""
    source, rows = chosen.source, chosen.rows
    table = store.sample_table(
        [str(name) for name in source.ids[rows]],
        source.labels[rows],
        batch_index=np.arange(len(rows)) // BATCH,
        synset_id=[source.synsets[c] for c in source.labels[rows]] if source.synsets else None,
        class_name=[source.class_names[c] for c in source.labels[rows]],
        original_path=[source.original_path(i) for i in rows.tolist()],
        source=source.source,
    )
    everything = {**config, **({} if chosen.stored else {"opened": dict(chosen.opened)})}
    store.write_rows(folder, batches if chosen.stored else iter(()), table, kind="images", config=everything)
