"""What a project holds, opened when first asked for and kept: networks, maps, images, activations. By name and id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from modescope import datasets, files, masking, runtime, store
from modescope.capturing import Look, capture_batch, flatten
from modescope.generators import SIGMA_MAX, Generator, load_generator
from modescope.jobs import folder_of, look_of, preprocessing_of
from modescope.params import Params
from modescope.projection import Reducer
from modescope.records import row_index
from modescope.store import Activations, Images

BLOCK_VALUES = 1 << 24  # feature values in memory at a time when looking for neighbours: 64 MiB of float32


def source_of(sample_id: str) -> str:
    """`real/<n>` => real; `fake/<generator>/<n>` => the generator. ValueError for other ids."""
    kind, _, rest = sample_id.partition("/")
    source = rest.rpartition("/")[0] if kind == "fake" else kind if rest else ""
    if not source or kind not in ("real", "fake"):
        raise ValueError(f"sample {sample_id!r} is no real or generated one; name real/<n> or fake/<generator>/<n>")
    return source


def number_of(sample_id: str) -> int:
    """The number at the end of an id: for a generated sample its index."""
    return int(sample_id.rpartition("/")[2])


class Opened:
    """One project (a folder with params.yaml and data). `loaded` names what was read, in order.

    One thread at a time may ask. `images`: sources that somebody has opened already.
    """

    def __init__(self, root: Path, params: Params, images: Mapping[str, Images] | None = None) -> None:
        self.root, self.params = root, params
        self.loaded: list[str] = []
        self._images = dict(images or {})
        self._models: dict[tuple[Path, float, str], Generator] = {}
        self._reducers: dict[str, Reducer] = {}
        self._looks: dict[str, Look] = {}
        self._stored: dict[tuple[str, str], Activations] = {}
        self._blocks: dict[tuple[str, str], np.ndarray] = {}
        self._rows: dict[str, dict[str, int]] = {}
        self._places: dict[tuple[str, str], np.ndarray] = {}

    @cached_property
    def machine(self) -> runtime.Runtime:
        """Without `compile`: it pays for many images, and a visitor would wait for it at the first one."""
        how = self.params.runtime
        return runtime.start(how.device, how.threads, channels_last=how.channels_last, deterministic=how.deterministic)

    def _generator_key(self, name: str) -> tuple[Path, float, str]:
        how = self.params.generator(name)
        return self.root / how.checkpoint, how.conditioning_sigma, self.params.generate.precision

    def ready(self, name: str) -> bool:
        """Whether a generator is loaded."""
        return self._generator_key(name) in self._models

    def generator(self, name: str) -> Generator:
        """A generator in the precision of generation."""
        return self._model(self._generator_key(name), self.params.generator(name).family)

    def network(self, view: str) -> Generator:
        """The feature network of a view, as loaded (a look casts it)."""
        how = self.params.view(view)
        expected = preprocessing_of(how)
        config = asdict(expected) if expected else None
        return self._model((self.root / how.network, SIGMA_MAX, "float32"), how.family, config)

    def _model(self, key: tuple[Path, float, str], family: str, config: Mapping[str, Any] | None = None) -> Generator:
        if key not in self._models:
            path, sigma_max, precision = key
            loaded = load_generator(path, family, config, device=self.machine.device, sigma_max=sigma_max)
            self._models[key] = loaded.prepared(precision, channels_last=self.machine.channels_last)
            self.loaded.append(path.name)
        return self._models[key]

    def reducer(self, view: str) -> Reducer:
        if view not in self._reducers:
            self._reducers[view] = Reducer.load(self.root / "data/maps" / view / "reducer")
            self.loaded.append(f"map {view}")
        return self._reducers[view]

    def map_hash(self, view: str) -> str:
        """Which fitted map a view has; empty where its reducer is missing."""
        path = self.root / "data/maps" / view / "reducer/reducer.json"
        return files.read_json(path)["sha256"] if path.is_file() else ""

    def look(self, view: str) -> Look:
        if view not in self._looks:
            basis = self.root / "data/activations" / view / "real/basis.safetensors"
            self._looks[view] = look_of(self.params, view, self.machine, basis)
        return self._looks[view]

    def images(self, source: str) -> Images:
        """Real images (`real`) or those of a generator."""
        if source not in self._images:
            self._images[source] = datasets.open_set(folder_of(source, self.root / "data"))
        return self._images[source]

    def activations(self, view: str, source: str) -> Activations:
        if (view, source) not in self._stored:
            self._stored[view, source] = store.open_activations(self.root / "data/activations" / view / source)
        return self._stored[view, source]

    def on_map(self, view: str, row: int) -> str:
        """The sample that stands in a row of the map of a view."""
        side, number = self.reducer(view).whose(row)
        return self.activations(view, side).ids[number]

    def row(self, sample_id: str) -> int:
        """The row of a sample in its source. ValueError for one that nobody has."""
        source = source_of(sample_id)
        if source not in self._rows:
            if source != "real":
                self.params.generator(source)
            self._rows[source] = row_index(self.images(source).ids)
        if sample_id not in self._rows[source]:
            raise ValueError(f"sample {sample_id!r} is not among the images of {source}; name one that is")
        return self._rows[source][sample_id]

    def pixels(self, ids: Sequence[str]) -> UInt8[np.ndarray, "N C H W"]:
        return self._by_source(ids, lambda source, rows, _: self.images(source).read(rows))

    def labels(self, ids: Sequence[str]) -> Int64[np.ndarray, " N"]:
        return self._by_source(ids, lambda source, rows, _: self.images(source).labels[rows])

    def places(self, view: str, ids: Sequence[str]) -> Float32[np.ndarray, "N E"]:
        """Where samples stand on the map of a view."""
        return self._by_source(ids, lambda source, rows, _: self._map(view, source)[rows])

    def features(self, view: str, ids: Sequence[str]) -> Float32[np.ndarray, "N D"]:
        """Standardised features of samples of any source (in units of the real mean and spread), in their order."""
        return self._by_source(
            ids, lambda source, _, names: self._standard(view, self.activations(view, source).features(names))
        )

    def _by_source(self, ids: Sequence[str], read: Callable[[str, np.ndarray, list[str]], np.ndarray]) -> np.ndarray:
        """What `read(source, rows, names)` gives for the samples of each source, put into the order of `ids`."""
        if not ids:
            raise ValueError("ids is empty; name at least one sample")
        places: dict[str, list[int]] = {}
        for place, name in enumerate(ids):
            places.setdefault(source_of(name), []).append(place)
        parts = []
        for source, mine in places.items():
            names = [ids[place] for place in mine]
            parts.append(read(source, np.array([self.row(name) for name in names]), names))
        order = np.argsort(np.concatenate([np.array(mine) for mine in places.values()]))
        return np.concatenate(parts)[order]

    def _map(self, view: str, source: str) -> Float32[np.ndarray, "N E"]:
        if (view, source) not in self._places:
            path = self.root / "data/maps" / view / f"{source}.parquet"
            self._places[view, source] = store.read_map(path, self.images(source).ids)
        return self._places[view, source]

    def feature_blocks(self, view: str, source: str) -> Iterator[Float32[np.ndarray, "B D"]]:
        """Standardised features of a whole source, a block of rows at a time."""
        stored, rows = self.activations(view, source), max(1, BLOCK_VALUES // self.reducer(view).components.width)
        if len(stored) > rows:  # more than one block: read again each time, memory is for the models
            for start in range(0, len(stored), rows):
                yield self._standard(view, stored.matrix[start : start + rows])
            return
        if (view, source) not in self._blocks:
            self._blocks[view, source] = self._standard(view, stored.features())
        yield self._blocks[view, source]

    def _standard(self, view: str, features: np.ndarray) -> Float32[np.ndarray, "B D"]:
        parts = self.reducer(view).components
        return ((features - parts.mean) * parts.inverse_scale).astype(np.float32)

    def captured(
        self, view: str, ids: Sequence[str], pixels: UInt8[np.ndarray, "N C H W"], labels: np.ndarray
    ) -> tuple[Float32[np.ndarray, "N D"], Float32[np.ndarray, "N E"]]:
        """New images seen as the view sees any other => standardised features, places on its map. The capture noise of an
        image is that of its id. ValueError for a view of sampling passes, which an image alone does not have.
        """
        if self.params.view(view).protocol == "sampling":
            raise ValueError(
                f"view {view!r} records sampling passes, and an image alone has none; choose a view with another protocol"
            )
        seen = flatten(capture_batch(self.network(view), pixels, ids, labels, self.look(view)))
        return self._standard(view, seen), self.reducer(view).transform(seen)

    def nearest(self, view: str, selected: str, sources: Sequence[str], k: int, space: str) -> tuple[str, ...]:
        """The k samples of `sources` nearest to the selected one, on the `map` or in standardised `features`."""
        blocks: Iterator[np.ndarray]
        if space == "map":
            names = [name for source in sources for name in self.images(source).ids]
            query, blocks = self.places(view, (selected,)), (self._map(view, source) for source in sources)
        else:
            names = [name for source in sources for name in self.activations(view, source).ids]
            query = self.features(view, (selected,))
            blocks = (block for source in sources for block in self.feature_blocks(view, source))
        rows = masking.nearest_rows(query, blocks, min(k + 1, len(names)))
        return tuple(names[i] for i in rows[0] if names[i] != selected)[:k]

    def stand_ins(self, view: str, generator: str, ids: Sequence[str]) -> tuple[str, ...]:
        """For real samples the generated ones nearest in features; generated ones stand for themselves."""
        real = [name for name in ids if source_of(name) == "real"]
        if not real:
            return tuple(ids)
        rows = masking.nearest_rows(self.features(view, real), self.feature_blocks(view, generator), 1)[:, 0]
        names = self.activations(view, generator).ids
        stand_in = dict(zip(real, (names[i] for i in rows), strict=True))
        return tuple(stand_in.get(name, name) for name in ids)
