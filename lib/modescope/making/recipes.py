"""A recipe: all that decides a made image and its place on a map, as a value that travels through JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

from modescope import conditioning
from modescope.inversion import Descent
from modescope.making.schedules import Schedule
from modescope.runtime import Runtime

VERSION = 1
"""Of the recipe. Raise it when the same recipe gives another image: older records are then passed over, by name."""

SOURCES = ("recorded", "nearest", "mixed", "scaled", "inverted", "guided", "inverse")
"""Where mask values come from. `recorded`: what the generator computed for its own samples; `nearest`: the same, of the
generated samples that stand in for real ones (`mixed`: for some of them); `scaled`: real images times sigma_max through the
generator; `inverted`: recorded from the noise that makes real images; `guided`: recorded from noise steered to the aim;
`inverse`: what the view holds at the aim itself, where view and sampling pass are the same."""
AVERAGES = ("mean",)
Condition = tuple[tuple[int, float], ...]
"""(class, share) pairs whose shares sum to 1; empty: no class."""
STARTS = ("inverted", "guided")
"""Noise that an image can begin with, instead of that of its seed: from which the generator makes a given image, or an image
with given features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples whose mask values are averaged. `labels`: the classes they were made with (of real ones: their own).

    `starts`: for `inverted`, the generated samples from whose noise the search for each of them starts.
    """

    ids: tuple[str, ...]
    weights: tuple[float, ...]
    labels: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.weights) == len(self.labels) or not self.ids:
            raise ValueError(
                f"there are {len(self.ids)} ids, {len(self.weights)} weights and {len(self.labels)} labels; give as many "
                "of each, at least one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is held in some layers of one step, and how.

    `away`: samples whose mean is taken off, so that the difference is added (`add`). `channels`, `rows`, `columns`: the
    part of each layer that is held, None: all. `batch_size`: recorded values have the bits of the pipeline's batches of
    that size (None: of a pass of their own). `search`: how noise was searched for.
    """

    layers: tuple[str, ...]
    samples: Samples
    sigma: float
    step: int = 0
    away: Samples | None = None
    source: str = "recorded"
    average: str = "mean"
    strength: float = 1.0
    add: bool = False
    channels: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    batch_size: int | None = None
    search: Descent | None = None

    def __post_init__(self) -> None:
        for what, value, known in (("source", self.source, SOURCES), ("average", self.average, AVERAGES)):
            if value not in known:
                raise ValueError(f"{what} {value!r} is unknown; use one of {', '.join(known)}")
        if not self.layers:
            raise ValueError("layers is empty; name at least one layer to hold")
        if (self.away is not None) != self.add:
            raise ValueError(
                f"add is {self.add} and away is {'given' if self.away else 'None'}; a difference of samples is added, and "
                "only a difference: give both or neither"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The noise that an image begins with, where that was searched for (`STARTS`): for one sample, or the mean of several."""

    source: str
    samples: Samples
    search: Descent

    def __post_init__(self) -> None:
        if self.source not in STARTS:
            raise ValueError(f"source {self.source!r} of noise is unknown; use one of {', '.join(STARTS)}")
        if self.source == "inverted" and len(self.samples.ids) > 1:
            raise ValueError(
                f"noise is to be found for {len(self.samples.ids)} samples; an image begins with that of one: give one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where an image was to land on the map of a view: the weighted mean of samples, picked (`inverse` None) or found at
    a point of the map by an inverse (`neighbours`, `barycentric`). Hashes of the view's network and map. Without samples,
    and so without a place: nothing was aimed at.
    """

    view: str
    network: str
    map: str
    ids: tuple[str, ...]
    weights: tuple[float, ...]
    place: tuple[float, ...]
    inverse: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides a made image and its place: on the same runtime, the same recipe gives the same bytes.

    `seed`: of the noise, a stream of its own; `root`: that of the pipeline's samples. `condition`: (class, share) pairs,
    empty for no class. `start`: None: the image begins with the noise of its seed.
    """

    generator: str
    checkpoint: str
    family: str
    sampler: str
    steps: int
    renoise: str
    guidance: float | None
    sigma_max: float
    precision: str
    runtime: Runtime
    root: int
    seed: int
    condition: Condition
    aim: Aim
    holds: tuple[Held, ...] = ()
    start: Start | None = None
    version: int = field(default=VERSION)

    @property
    def label(self) -> int | None:
        """The class with the largest share; None where no class was asked for."""
        return max(self.condition, key=lambda pair: (pair[1], -pair[0]))[0] if self.condition else None

    @property
    def schedule(self) -> Schedule:
        """How the image is sampled."""
        return Schedule(**{name: getattr(self, name) for name in Schedule.__dataclass_fields__})

    @property
    def is_free(self) -> bool:
        """Whether class and seed decide the image, and nothing else."""
        return not self.holds and self.start is None

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that are held, each once."""
        return tuple(dict.fromkeys(name for held in self.holds for name in held.layers))

    def record(self) -> dict[str, Any]:
        """In plain values for JSON; `read` takes it back. Without a start as it was before there were any: ids stay."""
        values = asdict(self)
        if self.start is None:
            del values["start"]
        return values

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Recipe:
        """What `record` gave. Raises ValueError for a recipe of another version, and for a damaged one."""
        if record.get("version") != VERSION:
            raise ValueError(
                f"the recipe is of version {record.get('version', 'none')}, this modescope reads version {VERSION}; it "
                "cannot be replayed: make the image again, or delete its record"
            )
        values = _tuples(dict(record))
        try:
            aim, machine = Aim(**values.pop("aim")), Runtime(**values.pop("runtime"))
            holds = tuple(_held(held) for held in values.pop("holds"))
            start = _start(values.pop("start", None))
            return cls(**values, aim=aim, runtime=machine, holds=holds, start=start)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the recipe is damaged ({error}); make the image again, or delete its record") from error


def _held(values: dict[str, Any]) -> Held:
    parts = {name: Samples(**values[name]) for name in ("samples", "away") if values[name] is not None}
    search = None if values["search"] is None else Descent(**values["search"])
    return Held(**{**values, **parts, "search": search})


def _start(values: dict[str, Any] | None) -> Start | None:
    if values is None:
        return None
    parts = {"samples": Samples(**values["samples"]), "search": Descent(**values["search"])}
    return Start(**{**values, **parts})


def _tuples(value: Any) -> Any:
    """Lists, as JSON has them, to tuples, at any depth."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def one_class(label: int) -> Condition:
    """A condition on one class."""
    return ((int(label), 1.0),)


def uniform(classes: int) -> Condition:
    """A condition on every class alike."""
    return tuple((label, 1 / classes) for label in range(classes))


def shared(shares: Mapping[int, float]) -> Condition:
    """A condition on several classes by their shares, brought to a sum of 1."""
    total = sum(shares.values())
    if not shares or min(shares.values()) < 0 or not total > 0:
        raise ValueError(f"shares {dict(shares)} are no blend; give each class 0 or more, one of them above 0")
    return tuple((int(label), float(share / total)) for label, share in sorted(shares.items()))


def class_weights(condition: Condition, count: int, classes: int) -> Float32[np.ndarray, "N L"]:
    """A condition => the same class weights for `count` images, as `Generator.blended` takes them."""
    if not condition or not classes:
        return conditioning.no_class(count, classes)
    return conditioning.blend(dict(condition), count, classes)
