"""What was measured of a generator on a view, read when first asked for: scores of samples, gaps, classes, verdicts.

Everything here is absent (None, empty) where a stage has not run; nothing fails for that. Files that changed since are
read anew. Columns are kept as arrays in the order of a side's samples, joined by id once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modescope import files

from .resources import Project, Side

KEPT = 8
"""Pairs of view and generator whose columns stay in memory."""
ERROR = "error"
"""Column of what inversion could not make: mean squared error, images in [-1, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A missing region: members by id, the centre first; generated samples found there and expected; its verdict, where
    stage `reach` has aimed at it (way => share of images that landed), and whether it was reached.
    """

    rank: int
    ids: tuple[str, ...]
    found: int
    expected: float
    missing: float
    q_value: float
    classes: tuple[tuple[str, int], ...]
    ways: Mapping[str, float]
    reached: bool | None


class Evidence:
    """Of one view and generator, as its files were when it was made."""

    def __init__(self, project: Project, view: str, generator: str) -> None:
        self.project, self.view, self.generator = project, view, generator
        self._files = _files(project, view, generator)
        self._columns: dict[tuple[Side, str], np.ndarray | None] = {}

    def _table(self, ending: str) -> pd.DataFrame | None:
        path = self._files[ending]
        return files.read_table(path) if path.is_file() else None

    def has(self, name: str) -> bool:
        """Whether there is such a column, of either kind."""
        path = self._files["inversions" if name == ERROR else "scores"]
        return path.is_file() and name in _names(path, _stamp(path))

    def column(self, side: Side, name: str) -> np.ndarray | None:
        """A score of the samples of a side, in their order: float32, NaN where there is none, None where no sample has one;
        bool, None unless every sample has one. `error` is that of inversion."""
        if (side, name) not in self._columns:
            self._columns[side, name] = self._read(side, name)
        return self._columns[side, name]

    def _read(self, side: Side, name: str) -> np.ndarray | None:
        if not self.has(name):
            return None
        path = self._files["inversions" if name == ERROR else "scores"]
        values = pq.read_table(path, columns=[name])[name]
        rows = _joined(path, _stamp(path), side)
        known = np.asarray(values.is_valid()) & (rows >= 0)
        truth = pa.types.is_boolean(values.type)
        column = np.full(len(side), np.nan, np.float32)
        column[rows[known]] = np.asarray(values.cast(pa.float32()).fill_null(np.nan))[known]
        lost = np.isnan(column)
        if lost.all() or (truth and lost.any()):
            return None
        return column > 0 if truth else column

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Scores with intervals, equal laws and held-out reals (`metrics/<view>/<generator>.json`)."""
        path = self._files["summary"]
        return files.read_json(path) if path.is_file() else {}

    @cached_property
    def classes(self) -> pd.DataFrame | None:
        """One line per class (`metrics/<view>/<generator>.classes.csv`)."""
        return self._table("classes")

    @cached_property
    def reach(self) -> pd.DataFrame | None:
        """One line per gap and way (`metrics/<view>/<generator>.reach.csv`)."""
        return self._table("reach")

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Missing regions, largest first."""
        table, region = self._table("gaps"), self.column(self.project.real, "gap")
        if table is None or region is None:
            return ()
        return tuple(
            self._gap(line, self.project.real.ids_of(np.flatnonzero(region == int(line["rank"]))))
            for line in table.to_dict("records")
        )

    def _gap(self, line: Mapping[Any, Any], ids: tuple[str, ...]) -> Gap:
        tried = pd.DataFrame() if self.reach is None else self.reach[self.reach["rank"] == line["rank"]]
        ways = {str(way): float(share) for way, share in zip(tried.get("way", ()), tried.get("share", ()), strict=True)}
        parts = [part.rpartition(":") for part in str(line["classes"]).split(";")]
        return Gap(
            rank=int(line["rank"]),
            ids=(line["centre"], *(name for name in ids if name != line["centre"])),
            found=int(line["found"]),
            expected=float(line["expected"]),
            missing=float(line["missing"]),
            q_value=float(line["q_value"]),
            classes=tuple((name.strip(), int(count)) for name, _, count in parts if count.strip().isdecimal()),
            ways=ways,
            reached=bool(tried["reached"].any()) if len(tried) else None,
        )


def evidence(project: Project, view: str, generator: str) -> Evidence:
    """The same one for every session, until one of its files changes."""
    return _evidence(project, view, generator, tuple(map(_stamp, _files(project, view, generator).values())))


@lru_cache(maxsize=KEPT)
def _evidence(project: Project, view: str, generator: str, _stamps: tuple[tuple[int, int], ...]) -> Evidence:
    return Evidence(project, view, generator)


@lru_cache(maxsize=8 * KEPT)
def _files(project: Project, view: str, generator: str) -> Mapping[str, Path]:
    metrics, data = project.root / "metrics" / view, project.root / "data"
    return {
        "scores": data / "scores" / view / f"{generator}.parquet",
        "inversions": data / "inversions" / generator / "samples.parquet",
        "summary": metrics / f"{generator}.json",
        **{ending: metrics / f"{generator}.{ending}.csv" for ending in ("classes", "reach", "gaps")},
    }


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when a file does; zeros where there is none."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=4 * KEPT)
def _names(path: Path, _of: tuple[int, int]) -> frozenset[str]:
    return frozenset(pq.read_schema(path).names)


@lru_cache(maxsize=2 * KEPT)
def _joined(path: Path, _of: tuple[int, int], side: Side) -> np.ndarray:
    """Row on a side of each line of a table, -1 for a sample of another side."""
    return side.rows_of(pq.read_table(path, columns=["sample_id"])["sample_id"]).astype(np.int32)
