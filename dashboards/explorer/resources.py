"""What all sessions share, read once and never changed: parameters, maps and images. Needs no model."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt8
from PIL import Image

from modescope import files, params
from modescope.files import DamagedFileError
from modescope.params import Params

from .sides import Side, open_side


class EmptyProjectError(ValueError):
    """There is no map to show yet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """One checkout, opened for looking: real images, the generators that are there, and why the others are not."""

    root: Path
    params: Params
    real: Side
    generators: Mapping[str, Side]
    absent: Mapping[str, str]
    classes: tuple[str, ...] = field(default=())

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(view for view in self.params.views if view in self.real.points)

    def on(self, view: str) -> tuple[str, ...]:
        """Generators that have a place on the map of a view."""
        return tuple(name for name, side in self.generators.items() if view in side.points)

    def side(self, sample_id: str) -> Side | None:
        """The side that a sample is of, None for an id that nobody has."""
        sides = (self.real, *self.generators.values())
        return next((side for side in sides if side.row_of(sample_id) is not None), None)

    def _found(self, sample_id: str) -> tuple[Side, int]:
        side = self.side(sample_id)
        row = None if side is None else side.row_of(sample_id)
        if side is None or row is None:
            raise ValueError(f"sample {sample_id!r} is not among the real or generated images; pick one on the map")
        return side, row

    def pixels(self, sample_id: str) -> UInt8[np.ndarray, "C H W"]:
        side, row = self._found(sample_id)
        return side.read(np.array([row]))[0]

    def label(self, sample_id: str) -> int:
        side, row = self._found(sample_id)
        return int(side.labels[row])

    def places(self, view: str, ids: Sequence[str]) -> Float32[np.ndarray, "n E"]:
        """Where samples stand on the map of a view, in two or three dimensions; without those that are not on it."""
        rows = [(side, row) for name in ids if (side := self.side(name)) and (row := side.row_of(name)) is not None]
        width = 3 if view in self.real.depths else 2
        places = [side.place(view, row) for side, row in rows if view in side.points]
        return np.array(places, np.float32).reshape(-1, width)

    def frame(self, view: str) -> tuple[Float32[np.ndarray, " 2"], Float32[np.ndarray, " 2"]]:
        """Lowest and highest coordinates over all sides: the map keeps its frame when generators change."""
        every = [side.points[view] for side in (self.real, *self.generators.values()) if view in side.points]
        return np.min([each.min(0) for each in every], 0), np.max([each.max(0) for each in every], 0)

    def checkpoint(self, generator: str) -> Path:
        return self.root / self.params.generators[generator].checkpoint

    def controls(self, generator: str) -> pd.DataFrame:
        """What masks were measured to control in a generator (`python -m modescope.control`); empty where nobody has."""
        path = self.root / "metrics" / f"mask_control.{generator}.csv"
        empty = pd.DataFrame(columns=["source", "layers", "control", "diversity"])
        return files.read_table(path) if path.is_file() else empty


def _within(root: Path, error: ValueError) -> str:
    """A message with paths as the visitor knows them, from the repository root."""
    return str(error).replace(f"{root}{os.sep}", "")


def load(root: Path) -> Project:
    """Open a checkout. Raises EmptyProjectError, a ValueError that says what to run, where there is no map to show."""
    settings = params.load(root / "params.yaml")
    data = root / "data"
    try:
        maps = {view: data / "maps" / view / "real.parquet" for view in settings.views}
        real = open_side(data / "real", "real", "real/", maps)
    except DamagedFileError as error:
        raise EmptyProjectError(f"There is no map yet: {_within(root, error)}") from error
    if not real.points:
        raise EmptyProjectError("There is no map yet: data/maps holds no place of a real image")
    generators, absent = {}, {}
    for name in settings.generators:
        maps = {view: data / "maps" / view / f"{name}.parquet" for view in real.points}
        try:
            side = open_side(data / "fake" / name, name, f"fake/{name}/", maps)
        except DamagedFileError as error:
            absent[name] = _within(root, error)
            continue
        if side.points:
            generators[name] = side
        else:
            absent[name] = f"{name} is on no map yet: run `dvc repro`"
    if not generators:
        raise EmptyProjectError(f"No generator is on the map yet: {'; '.join(absent.values())}")
    classes = tuple(real.images.config["classes"])
    return Project(root=root, params=settings, real=real, generators=generators, absent=absent, classes=classes)


def png(pixels: UInt8[np.ndarray, "C H W"]) -> bytes:
    """An image at its own size; the page enlarges it."""
    rows = pixels.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(rows[..., 0] if rows.shape[2] == 1 else rows[..., :3]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
