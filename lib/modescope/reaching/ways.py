"""Images aimed at regions in several ways, all regions in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from modescope import masking, seeds
from modescope.generators import Generator
from modescope.inversion import Descent, Inversions, guide, joined, nearest_samples
from modescope.making import Opened, number_of, recorded, seen_by
from modescope.reaching.regions import Region
from modescope.records import Mask
from modescope.runtime import arithmetic

WAYS = ("free", "mask", "inversion", "guided")
"""`free`: nothing but class and seed, the baseline; `mask`: the mean of recorded values of the generated samples nearest
to the aim's members, held; `inversion`: the noise from which the generator makes the target best; `guided`: noise whose
image has the aim's features."""

MEMBERS = 5
"""Real samples of a region, nearest to a target and with it, whose mean is aimed at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """One line per image: its id, region (position in the list), class, target and the members whose mean is the aim.

    Targets: the centre of the region, then others in a seeded order, again from the first where an image has none of its
    own. The class is the target's.
    """

    ids: tuple[str, ...]
    region: Int64[np.ndarray, " M"]
    labels: Int64[np.ndarray, " M"]
    targets: tuple[str, ...]
    turn: Int64[np.ndarray, " M"]
    members: tuple[tuple[str, ...], ...]
    features: Float32[np.ndarray, "M D"]


def aims_at(opened: Opened, view: str, generator: str, regions: Sequence[Region], images: int) -> Aims:
    """`images` aims for every region."""
    ids: list[str] = []
    targets: list[str] = []
    members: list[tuple[str, ...]] = []
    features: list[np.ndarray] = []
    turns: list[int] = []
    for region in regions:
        among = opened.features(view, region.ids)
        order = _targets(region, opened.params.seed)[:images]
        for number in range(images):
            target = order[number % len(order)]
            distance = np.linalg.norm(among - among[region.ids.index(target)], axis=1)
            chosen = np.argsort(distance, kind="stable")[:MEMBERS]
            ids.append(f"reach/{view}/{generator}/{region.rank}/{number}")
            targets.append(target)
            turns.append(number // len(order))
            members.append(tuple(region.ids[i] for i in chosen))
            features.append(among[chosen].mean(0).astype(np.float32))
    return Aims(
        ids=tuple(ids),
        region=np.repeat(np.arange(len(regions)), images).astype(np.int64),
        labels=opened.labels(targets),
        targets=tuple(targets),
        turn=np.array(turns, np.int64),
        members=tuple(members),
        features=np.stack(features),
    )


def _targets(region: Region, root: int) -> tuple[str, ...]:
    others = [name for name in region.ids if name != region.centre]
    order = seeds.stream(root, "reach-targets", region.rank).permutation(len(others))
    return (region.centre, *(others[i] for i in order))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one way made of all aims, and the noise that it made it from."""

    way: str
    pixels: UInt8[np.ndarray, "M C H W"]
    noise: Float32[np.ndarray, "M C H W"]


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Sized iterable: one `Batch` per way. Every way has the classes and, but where it looks for noise, the noise of `free`.

    Noise is steered under another capture noise than the one that the results are looked at with, so that it cannot fit
    to that draw.
    """

    opened: Opened
    view: str
    generator: str
    aims: Aims
    ways: tuple[str, ...]

    def __post_init__(self) -> None:
        if unknown := [way for way in self.ways if way not in WAYS]:
            raise ValueError(f"way {unknown[0]!r} is unknown; use some of {', '.join(WAYS)}")

    def __len__(self) -> int:
        return len(self.ways)

    def __iter__(self) -> Iterator[Batch]:
        for way in self.ways:
            with arithmetic(self.opened.params.generate.precision):
                yield getattr(self, f"_{way}")()

    @cached_property
    def _model(self) -> Generator:
        return self.opened.generator(self.generator)

    @cached_property
    def _seeded(self) -> Float[Tensor, "M C H W"]:
        return torch.from_numpy(seeds.normal(self.opened.params.seed, "reach", self.aims.ids, self._model.latent_shape))

    @property
    def _descent(self) -> Descent:
        how = self.opened.params.inversion
        return Descent(steps=how.steps, enough=how.enough)

    def _free(self) -> Batch:
        made = masking.generate(self._model, self._seeded, self.aims.labels, None)
        return Batch(way="free", pixels=made.pixels, noise=self._seeded.numpy())

    def _mask(self) -> Batch:
        made = masking.generate(self._model, self._seeded, self.aims.labels, self._held())
        return Batch(way="mask", pixels=made.pixels, noise=self._seeded.numpy())

    def _held(self) -> Mask:
        """A row per image: the mean of what the stand-ins of its members had in the held layers."""
        how, opened = self.opened.params, self.opened
        real = tuple(dict.fromkeys(name for names in self.aims.members for name in names))
        stand_in = dict(zip(real, opened.stand_ins(self.view, self.generator, real), strict=True))
        ids = tuple(dict.fromkeys(stand_in.values()))
        layers = self._model.module_paths(how.reach.layers)
        settings = how.generator(self.generator)
        stored = settings.masks == "stored" and set(layers) <= set(settings.mask_layers)
        size = how.generate.batch_size if stored else None
        values = recorded(opened, self.generator, ids, opened.labels(ids), layers, batch_size=size)
        rows = {name: row for row, name in enumerate(ids)}
        picked = [[rows[stand_in[name]] for name in names] for names in self.aims.members]
        means = {path: torch.stack([value.float()[line].mean(0) for line in picked]) for path, value in values.items()}
        shares = tuple(1 / len(ids) for _ in ids)
        return Mask(values=means, ids=ids, weights=shares, source="nearest", sigma=self._model.sigma_max)

    def _inversion(self) -> Batch:
        """Each image starts from the noise of another generated sample near its target, so that repeated targets differ."""
        images, starts = self.opened.images(self.generator), int(self.aims.turn.max(initial=0)) + 1
        target = self.opened.pixels(self.aims.targets)
        rows = nearest_samples(
            target,
            images.read(np.arange(len(images))),
            min(starts, len(images)),
            labels=self.aims.labels,
            made_labels=images.labels,
        )
        turn = np.minimum(self.aims.turn, rows.shape[1] - 1)
        numbers = np.array([number_of(images.ids[row]) for row in rows[np.arange(len(rows)), turn]])
        search = Inversions(
            generator=self._model,
            pixels=target,
            ids=self.aims.ids,
            asked=self.aims.labels if self._model.num_classes else None,
            root=self.opened.params.seed,
            how=self._descent,
            starts=numbers[:, None],
            batch_size=self.opened.params.inversion.batch_size,
        )
        found = joined(list(search))
        return Batch(way="inversion", pixels=found.made, noise=found.noise)

    def _guided(self) -> Batch:
        made, noise, size = [], [], self.opened.params.inversion.batch_size
        for start in range(0, len(self.aims.ids), size):
            part = slice(start, start + size)
            labels = self.aims.labels[part]
            see = seen_by(self.opened, self.view, [f"{name}/aim" for name in self.aims.ids[part]], labels)
            aims = torch.from_numpy(self.aims.features[part])
            found = guide(self._model, see, aims, self._seeded[part], self._model.rows(labels), self._descent)
            made.append(found.made)
            noise.append(found.noise)
        return Batch(way="guided", pixels=np.concatenate(made), noise=np.concatenate(noise))
