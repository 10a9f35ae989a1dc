"""Both tables, a part at a time: how far results land from their aims, and whose their variance is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import numpy as np
import pandas as pd
from jaxtyping import Float

from modescope import masking, sampling, seeds
from modescope.control.layers import Shapes
from modescope.control.sources import SOURCES, Aims, Values, aims_at_real, choose_aims
from modescope.control.subjects import Subject
from modescope.masking import Results
from modescope.records import Mask

Sets = Mapping[str, Sequence[str]]
NOTHING, NEIGHBOUR = "nothing", "(a neighbour itself)"
MOST = 256  # images made at a time
HELD_VALUES = 1 << 28  # values of neighbours in memory at a time: 1 GiB
FACTORS = ("mask", "class", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Results for some aims: of a source and a set of layers, or of no source where nothing is held."""

    real: bool
    source: str
    held: str
    results: Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Sized iterable over what `control_table` needs: results of each source and set of layers, for some aims at a time.

    Every seed's results are captured with the same noise for an aim: seeds differ by their images alone.
    """

    subject: Subject
    shapes: Shapes
    sets: Sets
    sources: Sequence[str]
    aims: int
    seeds: int
    k: int

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.sources or not self.sets:
            raise ValueError(
                f"{self.seeds} seeds, {len(self.sources)} sources, {len(self.sets)} sets of layers; give at least one of each"
            )

    def __len__(self) -> int:
        return len(self._sides) + len(self._spans) * (len(self._sides) + len(self.sources) * len(self.sets))

    def __iter__(self) -> Iterator[Part]:
        chosen = {real: choose_aims(self.subject, self.aims, self.k, real=real) for real in self._sides}
        for aims in chosen.values():
            yield self._neighbours(aims)
            for span in self._spans:
                yield self._part(aims.part(span), "", NOTHING, None)
        for source in self.sources:
            aims = chosen[aims_at_real(self.subject, source)]
            for span in self._spans:
                yield from self._held(source, aims.part(span))

    @property
    def _sides(self) -> list[bool]:
        return sorted({aims_at_real(self.subject, source) for source in self.sources})

    @property
    def _spans(self) -> list[slice]:
        values = sum(math.prod(self.shapes[name]) for name in {name for names in self.sets.values() for name in names})
        size = min(max(HELD_VALUES // (self.k * values), 1), MOST, self.aims)
        return [slice(start, start + size) for start in range(0, self.aims, size)]

    def _neighbours(self, aims: Aims) -> Part:
        """The neighbours themselves, as if they were results."""
        side = self.subject.real if aims.real else self.subject.made
        assert side is not None  # noqa: S101 - aims among real samples come from them
        found = masking.results_of(aims.points, side.features[aims.neighbours], np.full(aims.neighbours.shape, np.nan))
        return Part(real=aims.real, source="", held=NEIGHBOUR, results=replace(found, apart=found.apart[:, :0]))

    def _held(self, source: str, aims: Aims) -> Iterator[Part]:
        obtain = SOURCES[source]
        paths = {held: list(self.subject.generator.module_paths(names).values()) for held, names in self.sets.items()}
        every = list(dict.fromkeys(path for some in paths.values() for path in some))
        shared = None if source == "aimed" else obtain(self.subject, aims, every)
        for held, some in paths.items():
            values = obtain(self.subject, aims, some) if shared is None else {path: shared[path] for path in some}
            yield self._part(aims, source, held, values)

    def _part(self, aims: Aims, source: str, held: str, values: Values | None) -> Part:
        made = [self._made(aims, values, seed) for seed in range(self.seeds)]
        features, agrees = (np.stack(column, axis=1) for column in zip(*made, strict=True))
        return Part(real=aims.real, source=source, held=held, results=masking.results_of(aims.points, features, agrees))

    def _made(self, aims: Aims, values: Values | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """One image per aim => its features, and whether it is of the class asked for."""
        subject = self.subject
        noise = sampling.latents(subject.root + 1 + seed, aims.numbers, subject.generator.latent_shape)
        pixels = masking.generate(subject.generator, noise, aims.labels, _mask(subject, values)).pixels
        return subject.features(pixels, aims.ids("control"), aims.labels), subject.judge(pixels, aims.labels)


def _mask(subject: Subject, values: Values | None) -> Mask | None:
    if values is None:
        return None
    return Mask(values=values, ids=("mean",), weights=(1.0,), source="mean", sigma=subject.generator.sigma_max)


def control_table(parts: Iterable[Part], sets: Sets) -> pd.DataFrame:
    """A row per source and set of layers: aims, source, held, layers, control, diversity, agreement (`masking.Control`).

    Before them, for each kind of aims (real, generated), the neighbours themselves and no mask.
    """
    found: dict[tuple[bool, str, str], list[Results]] = {}
    for part in parts:
        found.setdefault((part.real, part.source, part.held), []).append(part.results)
    whole = {key: masking.joined(some) for key, some in found.items()}
    rows = []
    for (real, source, held), results in sorted(whole.items(), key=lambda item: item[0][0]):
        measured = masking.measure_control(results, whole[real, "", NOTHING])
        names = " ".join(sets.get(held, ()))
        rows.append(
            {
                "aims": "real" if real else "generated",
                "source": source,
                "held": held,
                "layers": names,
                **asdict(measured),
            }
        )
    return pd.DataFrame(rows).round(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variances:
    """Sized iterable over what `variance_table` needs: for each set of layers (and nothing held) and mask the features of
    its results, (classes, seeds, D): a full factorial of `levels` masks, classes and seeds.

    All of them are captured with one noise and one label, so that nothing but the image varies.
    """

    subject: Subject
    sets: Sets
    levels: int
    k: int

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ValueError(f"levels is {self.levels}; a factor varies over at least 2")

    def __len__(self) -> int:
        return (1 + len(self.sets)) * self.levels

    def __iter__(self) -> Iterator[tuple[str, Float[np.ndarray, "C S D"]]]:
        subject = self.subject
        aims = choose_aims(subject, self.levels, self.k, real=subject.real is not None)
        for held, names in {NOTHING: (), **self.sets}.items():
            paths = list(subject.generator.module_paths(names).values())
            values = SOURCES["recorded"](subject, aims, paths) if paths else None
            for row in range(self.levels):
                one = None if values is None else {path: value[row : row + 1] for path, value in values.items()}
                yield held, self._results(one)

    def _results(self, values: Values | None) -> Float[np.ndarray, "C S D"]:
        subject, count = self.subject, max(self.subject.generator.num_classes, 1)
        classes = seeds.stream(subject.root, "classes").choice(count, min(self.levels, count), replace=False)
        labels = np.repeat(classes, self.levels)
        drawn = sampling.latents(subject.root + 1, np.arange(self.levels), subject.generator.latent_shape)
        noise = drawn.repeat(len(classes), 1, 1, 1)
        pixels = masking.generate(subject.generator, noise, labels, _mask(subject, values)).pixels
        features = subject.features(pixels, ["variance"] * len(pixels), np.full(len(pixels), classes[0]))
        return features.reshape(len(classes), self.levels, -1)


def variance_table(cells: Iterable[tuple[str, np.ndarray]], sets: Sets) -> pd.DataFrame:
    """A row per set of layers, and one for none: held, layers, the share of each factor and interaction
    (`masking.variance_shares`).
    """
    rows = []
    for held, group in groupby(cells, key=lambda cell: cell[0]):
        shares = masking.variance_shares(np.stack([features for _, features in group]), FACTORS)
        rows.append({"held": held, "layers": " ".join(sets.get(held, ())), **shares})
    return pd.DataFrame(rows).round(3)
