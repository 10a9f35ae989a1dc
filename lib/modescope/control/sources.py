"""Values to hold for aims, by name of their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modescope import inversion, masking, sampling, seeds
from modescope.control.subjects import Side, Subject

Values = dict[str, Tensor]
"""Module path => (n, C, H, W), a row per aim, on the CPU."""
STEPS = 30  # of the searches for noise: evaluations of the network for each image


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """Points to aim at: the centres of neighbours, rows of the side that they are from (`real`, or the generated ones);
    the class is the neighbours' majority.
    """

    real: bool
    numbers: Int64[np.ndarray, " n"]
    points: Float[np.ndarray, "n D"]
    neighbours: Int64[np.ndarray, "n K"]
    labels: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, rows: slice) -> Aims:
        return replace(
            self, **{name: getattr(self, name)[rows] for name in ("numbers", "points", "neighbours", "labels")}
        )

    def ids(self, kind: str) -> list[str]:
        return [f"{kind}/{number}" for number in self.numbers.tolist()]


def nearest(points: np.ndarray, among: np.ndarray, k: int) -> Int64[np.ndarray, "n K"]:
    """Rows of the k nearest of `among` for each point."""
    return torch.cdist(torch.from_numpy(points), torch.from_numpy(among)).topk(k, largest=False).indices.numpy()


def choose_aims(subject: Subject, count: int, k: int, *, real: bool) -> Aims:
    """Seeded aims among the real or the generated samples: of `count` of them the centre of their k nearest others."""
    side = _real(subject) if real else subject.made
    if not 1 <= count <= len(side.features) or not 1 <= k < len(side.features):
        raise ValueError(
            f"{count} aims of {k} neighbours each are asked for, and there are {len(side.features)} samples; ask for fewer "
            "aims, or make more samples"
        )
    picks = seeds.stream(subject.root, "control").choice(len(side.features), count, replace=False)
    neighbours = nearest(side.features[picks], side.features, k + 1)[:, 1:]
    return Aims(
        real=real,
        numbers=np.arange(count),
        points=side.features[neighbours].mean(axis=1),
        neighbours=neighbours,
        labels=np.array([np.bincount(row).argmax() for row in side.labels[neighbours]]),
    )


def recorded(subject: Subject, aims: Aims, paths: Sequence[str]) -> Values:
    """The mean of what the neighbours' own pass computed; for real neighbours, of the nearest generated ones' pass."""
    rows, made = _stand_ins(subject, aims), subject.made
    values = masking.recomputed(subject.generator, subject.indices[rows], made.labels[rows], subject.root, paths)
    return _means(values, aims)


def scaled(subject: Subject, aims: Aims, paths: Sequence[str]) -> Values:
    real, rows = _real(subject), aims.neighbours.ravel()
    return _means(masking.scaled_values(subject.generator, real.pixels(rows), real.labels[rows], paths), aims)


def inverted(subject: Subject, aims: Aims, paths: Sequence[str]) -> Values:
    """The mean of what the pass computes from the noise that makes each neighbour."""
    real, generator = _real(subject), subject.generator
    rows, first, places = np.unique(aims.neighbours, return_index=True, return_inverse=True)
    labels = real.labels[rows]
    searched = inversion.Inversions(
        generator=generator,
        pixels=real.pixels(rows),
        ids=[f"control/{row}" for row in rows.tolist()],
        asked=labels,
        root=subject.root,
        starts=subject.indices[_stand_ins(subject, aims)[first]][:, None],
        how=inversion.Descent(steps=STEPS),
    )
    noise = torch.from_numpy(inversion.joined(list(searched)).noise)
    values = masking.record(generator, noise, labels, paths)[1]
    return _means({path: value[places.ravel()] for path, value in values.items()}, aims)


def guided(subject: Subject, aims: Aims, paths: Sequence[str]) -> Values:
    """What the pass computes from noise whose image is near the aim: one image, found by gradient descent."""
    generator, rows = subject.generator, subject.generator.rows(aims.labels)
    begin = subject.indices[nearest(aims.points, subject.made.features, 1)[:, 0]]
    found = inversion.guide(
        generator,
        subject.steering(aims.ids("guide"), aims.labels),
        torch.from_numpy(aims.points),
        sampling.latents(subject.root, begin, generator.latent_shape),
        rows,
        inversion.Descent(steps=STEPS),
    )
    return masking.record(generator, torch.from_numpy(found.noise), rows, paths)[1]


def aimed(subject: Subject, aims: Aims, paths: Sequence[str]) -> Values:
    """From the recorded mean, values moved until the results of many seeds are nearest to the aim."""

    def features(x0: Tensor, look: int) -> Tensor:
        return subject.steering(aims.ids(f"aim/{look}"), aims.labels)(x0)

    return inversion.aim(
        subject.generator,
        features,
        torch.from_numpy(aims.points),
        recorded(subject, aims, paths),
        subject.generator.rows(aims.labels),
        ids=aims.ids("aim"),
        root=subject.root,
    ).values


def _stand_ins(subject: Subject, aims: Aims) -> Int64[np.ndarray, " nK"]:
    """The neighbours as rows of the generated samples: for real ones the nearest of these."""
    rows = aims.neighbours.ravel()
    return nearest(_real(subject).features[rows], subject.made.features, 1)[:, 0] if aims.real else rows


def _real(subject: Subject) -> Side:
    if subject.real is None:
        raise ValueError("sources nearest, scaled and inverted start from real images, and a checkpoint alone has none")
    return subject.real


def _means(values: Mapping[str, Tensor], aims: Aims) -> Values:
    return {path: value.unflatten(0, aims.neighbours.shape).mean(dim=1) for path, value in values.items()}


Source = Callable[[Subject, Aims, Sequence[str]], Values]
SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "recorded": recorded,
        "nearest": recorded,
        "scaled": scaled,
        "inverted": inverted,
        "guided": guided,
        "aimed": aimed,
    }
)
"""`recorded`: of generated neighbours; the others of real ones (`guided` and `aimed` of generated ones where none are real).
`aimed` is searched for each set of layers on its own."""
SEARCHED = ("guided", "aimed")
"""Those that follow slopes through the features."""


def aims_at_real(subject: Subject, source: str) -> bool:
    """Whether a source's aims are among the real samples."""
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is unknown; use some of {', '.join(SOURCES)}")
    return source != "recorded" and (subject.real is not None or source not in SEARCHED)


def default_sources(subject: Subject) -> tuple[str, ...]:
    """What can be had without asking: every source, or of a checkpoint alone the one that needs neither images nor slopes."""
    if subject.real is None:
        return ("recorded",)
    return tuple(name for name in SOURCES if subject.steers or name not in SEARCHED)
