"""Real images, or those of one generator: ids, classes and places of up to 1.4 million samples, kept as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, Int32, Int64, UInt8

from modescope import datasets
from modescope.files import DamagedFileError
from modescope.store import Images


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """`numbers`: the end of each id, which is `prefix` + number. `points`, `depths`: places on the map of each view; depths
    (z) for maps of three dimensions alone.
    """

    name: str
    images: Images
    prefix: str
    numbers: Int32[np.ndarray, " N"]
    labels: Int32[np.ndarray, " N"]
    points: Mapping[str, Float32[np.ndarray, "N 2"]] = field(default_factory=dict)
    depths: Mapping[str, Float32[np.ndarray, " N"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def version(self) -> str:
        """Changes with the images, so that a browser never shows one that it kept from before."""
        return str(self.images.manifest["config_hash"][:8])

    @cached_property
    def _order(self) -> tuple[Int32[np.ndarray, " N"], Int64[np.ndarray, " N"] | None]:
        """Ascending numbers and their rows; None where the rows ascend already."""
        if (np.diff(self.numbers) > 0).all():
            return self.numbers, None
        order = np.argsort(self.numbers, kind="stable")
        return self.numbers[order], order

    def rows_of(self, ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> Int64[np.ndarray, " n"]:
        """Rows of samples, -1 for an id that this side does not have."""
        return self._rows(_numbers(ids, self.prefix))

    def _rows(self, numbers: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        ascending, order = self._order
        if not len(ascending):
            return np.full(len(numbers), -1)
        numbers = numbers.astype(ascending.dtype)  # of another type, all of `ascending` would be converted each time
        at = np.minimum(np.searchsorted(ascending, numbers), len(ascending) - 1)
        return np.where(ascending[at] == numbers, at if order is None else order[at], -1)

    def row_of(self, sample_id: str) -> int | None:
        number = sample_id.removeprefix(self.prefix)
        if number == sample_id or not re.fullmatch(_NUMBER, number):
            return None
        row = int(self._rows(np.array([int(number)]))[0])
        return None if row < 0 else row

    def place(self, view: str, row: int) -> tuple[float, ...]:
        """Two or three coordinates."""
        depth = (float(self.depths[view][row]),) if view in self.depths else ()
        return (*self.points[view][row].tolist(), *depth)

    def id(self, row: int) -> str:
        return f"{self.prefix}{self.numbers[row]}"

    def ids_of(self, rows: np.ndarray) -> tuple[str, ...]:
        """Ids of rows, in their order; of as many as one wants to have as text."""
        return tuple(f"{self.prefix}{number}" for number in self.numbers[rows].tolist())

    @property
    def ids(self) -> tuple[str, ...]:
        """All of them, made anew: of a small side."""
        return self.ids_of(np.arange(len(self)))

    def read(self, rows: np.ndarray) -> UInt8[np.ndarray, "n C H W"]:
        """Pixels; those that lie in their source are found by number, without the table of all samples."""
        if isinstance(self.images, datasets.SourceImages):
            source = self.images.source
            return source.read(source.rows_of(self.numbers[rows].astype(np.int64)))
        return self.images.read(rows)


_NUMBER = "0|[1-9][0-9]{0,8}"


def _numbers(ids: Sequence[str] | pa.Array | pa.ChunkedArray, prefix: str) -> Int64[np.ndarray, " n"]:
    """`<prefix><number>` => the number, -1 for any other id."""
    text = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
    mine = pc.match_substring_regex(text, f"^{re.escape(prefix)}({_NUMBER})$")
    digits = pc.if_else(mine, pc.utf8_slice_codeunits(text, len(prefix)), "-1")
    return digits.cast(pa.int64()).to_numpy()


def _columns(path: Path) -> pa.Table:
    try:
        names = pq.read_schema(path).names
        return pq.read_table(path, columns=[name for name in ("sample_id", "class_id", "x", "y", "z") if name in names])
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(f"{path} cannot be read ({error}); run `dvc repro` (or `dvc checkout`)") from error


def open_side(folder: Path, name: str, prefix: str, maps: Mapping[str, Path]) -> Side:
    """Open the images of a folder, and their places in the files of `maps` that are there."""
    images = datasets.open_set(folder)
    table = _columns(folder / "samples.parquet")
    numbers = _numbers(table["sample_id"], prefix)
    if (numbers < 0).any():
        wrong = table["sample_id"][int(np.flatnonzero(numbers < 0)[0])].as_py()
        raise ValueError(f"{folder} has a sample {wrong!r}; ids here are {prefix}<number>: run `dvc repro`")
    labels = table["class_id"].to_numpy().astype(np.int32)
    side = Side(name=name, images=images, prefix=prefix, numbers=numbers.astype(np.int32), labels=labels)
    places = {view: _places(path, side) for view, path in maps.items() if path.is_file()}
    return replace(
        side,
        points={view: np.ascontiguousarray(each[:, :2]) for view, each in places.items()},
        depths={view: np.ascontiguousarray(each[:, 2]) for view, each in places.items() if each.shape[1] > 2},
    )


def _places(path: Path, side: Side) -> Float32[np.ndarray, "N E"]:
    """The places of every sample of a side on one map."""
    table = _columns(path)
    rows = side.rows_of(table["sample_id"])
    places = np.full((len(side), table.num_columns - 1), np.nan, np.float32)
    for axis, name in enumerate(table.column_names[1:]):
        places[rows[rows >= 0], axis] = table[name].to_numpy()[rows >= 0]
    if (lost := np.flatnonzero(np.isnan(places).any(1))).size:
        raise ValueError(
            f"{path} holds no place of sample {side.id(int(lost[0]))!r} ({lost.size} of {len(side)} are missing): "
            "run `dvc repro`"
        )
    return places
