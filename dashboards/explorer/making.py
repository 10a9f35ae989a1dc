"""From picked ids to a new image and its place on the map; what was made is kept on disk and found again.

Models are loaded on first use and stay. All of this runs in the queue in front of the model (see `worker`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from modescope import files, masking, runtime, store
from modescope.capturing import Look, capture_batch, flatten
from modescope.files import DamagedFileError
from modescope.generators import SIGMA_MAX, Generator, load_generator
from modescope.jobs import look_of
from modescope.projection import Reducer
from modescope.records import Mask
from modescope.store import Activations

from .resources import Project, Side, load

log = logging.getLogger(__name__)

BLOCK_VALUES = 1 << 24  # feature values in memory at a time when looking for neighbours: 64 MiB of float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides a made image and its place: the same recipe gives the same image.

    `mask_ids` are the generated samples whose recorded values were averaged with `mask_weights`; for real `neighbours`
    these are the nearest generated ones (`source` "nearest"; "recorded" where all neighbours are generated, "mixed" for
    both). The noise is the stream of `seed`. `aim` is the neighbours' centre on the map.
    """

    generator: str
    checkpoint: str
    view: str
    network: str
    map: str
    seed: int
    label: int
    layers: tuple[str, ...]
    neighbours: tuple[str, ...]
    mask_ids: tuple[str, ...]
    mask_weights: tuple[float, ...]
    source: str
    sigma: float
    aim: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A made image as the page shows it: the image, the one without mask from the same seed, the neighbours' mean."""

    id: str
    recipe: Recipe
    landed: tuple[float, float]
    image: UInt8[np.ndarray, "C H W"]
    free: UInt8[np.ndarray, "C H W"]
    mean: UInt8[np.ndarray, "C H W"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a visitor asks for."""

    view: str
    generator: str
    label: int
    layers: tuple[str, ...]
    neighbours: tuple[str, ...]
    seed: int


def _kept(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Kept:
    made = record["recipe"]
    lists = {name: tuple(value) for name, value in made.items() if isinstance(value, list)}
    return Kept(
        id=record["id"],
        recipe=Recipe(**{**made, **lists}),
        landed=tuple(record["landed"]),
        image=arrays["image"],
        free=arrays["free"],
        mean=arrays["mean"],
    )


class Studio:
    """The models of one project and what they made. One thread at a time may ask it to make something."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.loaded: list[str] = []
        self._generators: dict[tuple[Path, float], Generator] = {}
        self._reducers: dict[str, Reducer] = {}
        self._looks: dict[str, Look] = {}
        self._activations: dict[Path, Activations] = {}
        self._blocks: dict[tuple[str, str], np.ndarray] = {}
        self.made: dict[str, Kept] = {kept.id: kept for kept in self._read()}

    def _folder(self, generator: str) -> Path:
        return self.project.root / "data" / "made" / generator

    def _read(self) -> Iterator[Kept]:
        for name in self.project.params.generators:
            folder = self._folder(name)
            for sample_id in store.list_made(folder):
                try:
                    yield _kept(*store.read_made(folder, sample_id))
                except (DamagedFileError, KeyError, TypeError) as error:
                    log.warning("%s in %s cannot be shown: %s", sample_id, folder, error)

    def history(self, view: str, generator: str) -> tuple[Kept, ...]:
        """What was made with a generator for a view, newest first."""
        kept = [k for k in tuple(self.made.values()) if (k.recipe.view, k.recipe.generator) == (view, generator)]
        return tuple(reversed(kept))

    @cached_property
    def map_hashes(self) -> dict[str, str]:
        """Which fitted map each view has; empty where its reducer is missing."""
        folder = self.project.root / "data" / "maps"
        paths = {view: folder / view / "reducer/reducer.json" for view in self.project.views}
        return {view: files.read_json(path)["sha256"] if path.is_file() else "" for view, path in paths.items()}

    def fits(self, kept: Kept) -> bool:
        """Whether a made image belongs on the map as it is now (a map fitted again has other places)."""
        return kept.recipe.map == self.map_hashes.get(kept.recipe.view)

    @cached_property
    def _machine(self) -> runtime.Runtime:
        return runtime.start(self.project.params.runtime.device, self.project.params.runtime.threads)

    def ready(self, generator: str) -> bool:
        """Whether a generation starts without loading anything."""
        how = self.project.params.generators[generator]
        return (self.project.checkpoint(generator), how.conditioning_sigma) in self._generators

    def _model(self, path: Path, family: str, sigma_max: float = SIGMA_MAX) -> Generator:
        key = path, sigma_max
        if key not in self._generators:
            self._generators[key] = load_generator(path, family, device=self._machine.device, sigma_max=sigma_max)
            self.loaded.append(path.name)
        return self._generators[key]

    def _reducer(self, view: str) -> Reducer:
        if view not in self._reducers:
            self._reducers[view] = Reducer.load(self.project.root / "data/maps" / view / "reducer")
            self.loaded.append(f"map {view}")
        return self._reducers[view]

    def _stored(self, view: str, side: Side) -> Activations:
        folder = self.project.root / "data/activations" / view / side.name
        if folder not in self._activations:
            self._activations[folder] = store.open_activations(folder)
        return self._activations[folder]

    def _features(self, view: str, side: Side) -> Iterator[Float32[np.ndarray, "B D"]]:
        """Standardised features of a side (in units of the real mean and spread), a block of rows at a time."""
        stored = self._stored(view, side)
        rows = max(1, BLOCK_VALUES // self._reducer(view).components.width)
        if len(side.ids) > rows:  # more than one block: read again each time, memory is for the models
            yield from (self._standardised(view, stored, side.ids[i : i + rows]) for i in range(0, len(side.ids), rows))
            return
        key = (view, side.name)
        if key not in self._blocks:
            self._blocks[key] = self._standardised(view, stored, side.ids)
        yield self._blocks[key]

    def _standardised(self, view: str, stored: Activations, ids: Sequence[str]) -> Float32[np.ndarray, "B D"]:
        parts = self._reducer(view).components
        return ((stored.features(ids) - parts.mean) * parts.inverse_scale).astype(np.float32)

    def _of(self, view: str, ids: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """Standardised features of samples of any side, in their order."""
        sides = [self.project.side(name) for name in ids]
        pairs = [(side, name) for side, name in zip(sides, ids, strict=True) if side is not None]
        return np.concatenate([self._standardised(view, self._stored(view, side), [name]) for side, name in pairs])

    def nearest(self, view: str, selected: str, sides: Sequence[Side], k: int, space: str) -> tuple[str, ...]:
        """The k samples of `sides` nearest to the selected one, on the map or in standardised features."""
        names = [name for side in sides for name in side.ids]
        others = min(k + 1, len(names))
        if space == "map":
            query = self.project.places(view, (selected,))
            rows = masking.nearest_rows(query, (side.points[view] for side in sides), others)
        else:
            blocks = (block for side in sides for block in self._features(view, side))
            rows = masking.nearest_rows(self._of(view, (selected,)), blocks, others)
        return tuple(names[i] for i in rows[0] if names[i] != selected)[:k]

    def _recorded(self, wish: Wish) -> tuple[tuple[str, ...], str]:
        """The generated samples that stand for the neighbours, and where mask values come from, by name."""
        side = self.project.generators[wish.generator]
        real = [name for name in wish.neighbours if name in self.project.real.row]
        if not real:
            return wish.neighbours, "recorded"
        rows = masking.nearest_rows(self._of(wish.view, real), self._features(wish.view, side), 1)[:, 0]
        stand_in = dict(zip(real, (side.ids[i] for i in rows), strict=True))
        ids = tuple(stand_in.get(name, name) for name in wish.neighbours)
        return ids, "nearest" if len(real) == len(wish.neighbours) else "mixed"

    def _mask(self, wish: Wish, generator: Generator) -> Mask:
        recorded, source = self._recorded(wish)
        ids, weights = masking.shares(recorded)
        images = self.project.generators[wish.generator].images
        rows, paths = images.rows_of(ids), generator.module_paths(wish.layers)
        settings = self.project.params
        values: Mapping[str, Any]
        if settings.generators[wish.generator].masks == "stored":
            values = {path: images.take(rows, name) for name, path in paths.items()}
        else:
            numbers, labels = (
                self.project.generators[wish.generator].numbers[rows].astype(np.int64),
                images.labels[rows],
            )
            values = masking.recomputed(generator, numbers, labels, settings.seed, list(paths.values()))
        return masking.mean_mask(values, ids, source=source, sigma=generator.sigma_max, weights=weights)

    def _recipe(self, wish: Wish, generator: Generator, mask: Mask) -> Recipe:
        aim = self.project.places(wish.view, wish.neighbours).mean(0)
        return Recipe(
            generator=wish.generator,
            checkpoint=generator.checkpoint_hash,
            view=wish.view,
            network=self._model(
                self.project.network(wish.view), self.project.params.views[wish.view].family
            ).checkpoint_hash,
            map=self.map_hashes[wish.view],
            seed=wish.seed,
            label=wish.label,
            layers=wish.layers,
            neighbours=wish.neighbours,
            mask_ids=mask.ids,
            mask_weights=mask.weights,
            source=mask.source,
            sigma=mask.sigma,
            aim=(float(aim[0]), float(aim[1])),
        )

    def _look(self, view_name: str) -> Look:
        if view_name not in self._looks:
            basis = self.project.root / "data/activations" / view_name / "real/basis.safetensors"
            self._looks[view_name] = look_of(self.project.params, view_name, self._machine, basis)
        return self._looks[view_name]

    def _land(self, view_name: str, sample_id: str, image: np.ndarray, label: int) -> tuple[float, float]:
        """Where an image stands on the map: captured and transformed like any other."""
        view = self.project.params.views[view_name]
        network = self._model(self.project.network(view_name), view.family)
        values = capture_batch(network, image[None], [sample_id], np.array([label]), self._look(view_name))
        x, y = self._reducer(view_name).transform(flatten(values))[0, :2]
        return float(x), float(y)

    def make(self, wish: Wish) -> Kept:
        """Hold the mean of the neighbours' mask values, generate, look where the image lands, and keep it all."""
        how = self.project.params.generators[wish.generator]
        generator = self._model(self.project.checkpoint(wish.generator), how.family, how.conditioning_sigma)
        mask = self._mask(wish, generator)
        recipe = self._recipe(wish, generator, mask)
        noise, labels = masking.fresh_noise(wish.seed, generator.latent_shape), np.array([wish.label])
        made = masking.generate(generator, noise, labels, mask)
        free = masking.generate(generator, noise, labels, None)
        sample_id = f"made/{store.config_hash(asdict(recipe))}"
        landed = self._land(wish.view, sample_id, made.pixels[0], wish.label)
        names = {path: name for name, path in generator.module_paths(wish.layers).items()}
        arrays = {
            "image": made.pixels[0],
            "free": free.pixels[0],
            "mean": mean_image([self.project.pixels(name) for name in wish.neighbours]),
            **{f"held/{names[path]}": value[0] for path, value in made.held.items()},
            **{f"computed/{names[path]}": value[0] for path, value in made.computed.items()},
        }
        record = {"recipe": asdict(recipe), "landed": landed}
        store.write_made(self._folder(wish.generator), record, arrays)
        kept = _kept({"id": sample_id, **record}, arrays)
        others = {name: other for name, other in self.made.items() if name != sample_id}
        self.made = {**others, sample_id: kept}  # bound anew: the event loop reads it meanwhile
        return kept


def mean_image(images: Sequence[UInt8[np.ndarray, "C H W"]]) -> UInt8[np.ndarray, "C H W"]:
    """The pixel mean, rounded: what a blend in image space would give, beside what the network makes."""
    return np.rint(np.mean(np.stack(images), axis=0)).astype(np.uint8)


@cache
def _opened(root: Path) -> Studio:
    return Studio(load(root))


def shared() -> Studio:
    """The studio of this server: of the working directory, or of MODESCOPE_ROOT. A failure is not kept: the next visit
    tries again."""
    return _opened(Path(os.environ.get("MODESCOPE_ROOT", ".")).resolve())


def thumbnail(sample_id: str) -> UInt8[np.ndarray, "C H W"] | None:
    """The image of a known id (`real/..`, `fake/..`, `made/<hash>`, `made/<hash>/free`, `made/<hash>/mean`), else None."""
    here = shared()
    if sample_id.startswith("made/"):
        for ending, what in (("", "image"), ("/free", "free"), ("/mean", "mean")):
            kept = here.made.get(sample_id.removesuffix(ending)) if sample_id.endswith(ending) else None
            if kept is not None:
                return getattr(kept, what)
        return None
    return here.project.pixels(sample_id) if here.project.side(sample_id) else None
