"""What all sessions share, read once and never changed: parameters, maps and images. Needs no model."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from modescope import datasets, files, params, store
from modescope.files import DamagedFileError
from modescope.params import Params
from modescope.store import Images


class EmptyProjectError(ValueError):
    """There is no map to show yet."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Real images, or those of one generator, with their places on the map of each view. Ids are `prefix` + number."""

    name: str
    images: Images
    prefix: str
    numbers: Int32[np.ndarray, " N"]
    labels: Int32[np.ndarray, " N"]
    points: Mapping[str, Float32[np.ndarray, "N 2"]]

    @property
    def ids(self) -> tuple[str, ...]:
        return self.images.ids

    @property
    def version(self) -> str:
        """Changes with the images, so that a browser never shows one that it kept from before."""
        return self.images.manifest["config_hash"][:8]

    @cached_property
    def row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}


def _side(folder: Path, name: str, prefix: str, maps: Mapping[str, Path]) -> Side:
    images = datasets.open_set(folder)
    numbers = [text.removeprefix(prefix) for text in images.ids]
    if wrong := [text for text, n in zip(images.ids, numbers, strict=True) if not n.isdecimal() or prefix + n != text]:
        raise ValueError(f"{folder} has a sample {wrong[0]!r}; ids here are {prefix}<number>: run `dvc repro`")
    points = {view: store.read_map(path, images.ids)[:, :2] for view, path in maps.items() if path.is_file()}
    return Side(
        name=name,
        images=images,
        prefix=prefix,
        numbers=np.array(numbers, np.int32),
        labels=images.labels.astype(np.int32),
        points=points,
    )


@dataclass(frozen=True, kw_only=True)
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
        return next((side for side in sides if sample_id in side.row), None)

    def pixels(self, sample_id: str) -> UInt8[np.ndarray, "C H W"]:
        side = self.side(sample_id)
        if side is None:
            raise ValueError(f"sample {sample_id!r} is not among the real or generated images; pick one on the map")
        return side.images.read(np.array([side.row[sample_id]]))[0]

    def label(self, sample_id: str) -> int:
        side = self.side(sample_id)
        if side is None:
            raise ValueError(f"sample {sample_id!r} is not among the real or generated images; pick one on the map")
        return int(side.labels[side.row[sample_id]])

    def places(self, view: str, ids: tuple[str, ...]) -> Float32[np.ndarray, "N 2"]:
        """Where samples stand on the map of a view."""
        sides = [(self.side(name), name) for name in ids]
        rows = [side.points[view][side.row[name]] for side, name in sides if side is not None and view in side.points]
        return np.array(rows, np.float32).reshape(-1, 2)

    def frame(self, view: str) -> tuple[Float32[np.ndarray, " 2"], Float32[np.ndarray, " 2"]]:
        """Lowest and highest coordinates over all sides: the map keeps its frame when generators change."""
        every = [self.real.points[view], *(s.points[view] for s in self.generators.values() if view in s.points)]
        stacked = np.concatenate(every)
        return stacked.min(0), stacked.max(0)

    def checkpoint(self, generator: str) -> Path:
        return self.root / self.params.generators[generator].checkpoint

    def network(self, view: str) -> Path:
        return self.root / self.params.views[view].network

    def choices(self, generator: str) -> dict[str, tuple[str, ...]]:
        """What can be held in a generator: words => layers, from what its samples have recorded."""
        layers = self.params.generators[generator].mask_layers
        encoder = tuple(name for name in layers if name.startswith("encoder_"))
        offered = {
            "encoder bottleneck": ("encoder_bottleneck",),
            "bottleneck + midblock": ("encoder_bottleneck", "midblock"),
            "all encoder layers": encoder,
        }
        return {words: names for words, names in offered.items() if names and set(names) <= set(layers)}

    def controls(self, generator: str) -> pd.DataFrame:
        """What masks were measured to control in a generator (`python -m modescope.control`); empty where nobody has."""
        path = self.root / "metrics" / f"mask_control.{generator}.csv"
        empty = pd.DataFrame(columns=["source", "layers", "control", "diversity"])
        return files.read_table(path) if path.is_file() else empty

    def why_not(self, view: str, generator: str) -> str | None:
        """Why nothing can be generated with this generator on this view, in words; None if it can."""
        how = self.params.generators[generator]
        if how.sampler != "one-step":
            others = [name for name, other in self.params.generators.items() if other.sampler == "one-step"]
            hint = f" Choose {' or '.join(others)}." if others else ""
            return f"{generator} takes {how.steps} steps; a mask acts in the single step of a one-step generator.{hint}"
        if not self.choices(generator):
            return f"{generator} records no layer to hold: add mask_layers in params.yaml and run `dvc repro`."
        if self.params.views[view].protocol == "sampling":
            return (
                f"View {view} records sampling passes, which a masked one is not; choose a view with another protocol."
            )
        stored = self.generators[generator].images.manifest["arrays"]
        if lacking := [name for name in how.mask_layers if how.masks == "stored" and name not in stored]:
            return f"data/fake/{generator} holds no values of {lacking[0]}: run `dvc repro`."
        for what, path in (("generator", self.checkpoint(generator)), ("feature network", self.network(view))):
            if not path.exists():
                return f"The checkpoint of the {what} is missing ({path.relative_to(self.root)}): run `dvc checkout`."
        if not (self.root / "data/maps" / view / "reducer/reducer.json").is_file():
            return f"The fitted map is missing (data/maps/{view}/reducer): run `dvc checkout`."
        return None


def _within(root: Path, error: ValueError) -> str:
    """A message with paths as the visitor knows them, from the repository root."""
    return str(error).replace(f"{root}{os.sep}", "")


def load(root: Path) -> Project:
    """Open a checkout. Raises EmptyProjectError, a ValueError that says what to run, where there is no map to show."""
    settings = params.load(root / "params.yaml")
    data = root / "data"
    try:
        maps = {view: data / "maps" / view / "real.parquet" for view in settings.views}
        real = _side(data / "real", "real", "real/", maps)
    except DamagedFileError as error:
        raise EmptyProjectError(f"There is no map yet: {_within(root, error)}") from error
    if not real.points:
        raise EmptyProjectError("There is no map yet: data/maps holds no place of a real image")
    generators, absent = {}, {}
    for name in settings.generators:
        maps = {view: data / "maps" / view / f"{name}.parquet" for view in real.points}
        try:
            side = _side(data / "fake" / name, name, f"fake/{name}/", maps)
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
