"""What somebody asks for, before it becomes recipes. Values alone: nothing here opens or computes anything large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from modescope.making.recipes import SOURCES, STARTS, Aim, Condition, one_class, shared, uniform

CONDITIONS = ("class", "uniform", "none", "neighbours")
"""What class an image is asked to be: one (`class`), every one alike (`uniform`, a row that training never showed), no one
(`none`, the zero row), or those of the target's samples by their weights (`neighbours`)."""
INVERSES = ("neighbours", "barycentric")
BEGINS = ("seed", *STARTS)
"""The noise that an image begins with: that of its seed, or noise searched for the target (`STARTS`)."""
WAYS: Mapping[str, Mapping[str, str | None]] = MappingProxyType(
    {
        "mask": {"source": "nearest", "begin": "seed"},
        "inversion": {"source": None, "begin": "inverted"},
        "guided": {"source": None, "begin": "guided"},
    }
)
"""Towards real samples, as fields of a wish: by holding values of the generated samples nearest to them, by the noise from
which the generator makes one of them, by noise whose image has their features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Samples that were picked; `weights` None: equal shares, a sample named twice counting twice."""

    ids: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError("ids is empty: there are no neighbours to aim at; pick at least one sample")
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError(
                f"there are {len(self.ids)} ids and {len(self.weights)} weights; give one weight per sample, or none at all"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of the map: the real samples that an inverse finds there. `k`: how many, of `neighbours`."""

    at: tuple[float, ...]
    inverse: str = "neighbours"
    k: int = 5

    def __post_init__(self) -> None:
        if self.inverse not in INVERSES:
            raise ValueError(f"inverse {self.inverse!r} names no samples; use 'neighbours' or 'barycentric'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """From one target to another: an aim for every share, 0 at `first` and 1 at `last`. What is held is the mean of the
    one and of the other by these shares, so that equal steps of the share are equal steps in mask values.
    """

    first: Picked | Point
    last: Picked | Point
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise ValueError(f"shares are {list(self.shares)}; give at least one, each from 0 to 1 (see `evenly`)")


Target = Picked | Point | Row


def evenly(count: int) -> tuple[float, ...]:
    """`count` shares from 0 to 1 at equal distances."""
    if count < 2:
        raise ValueError(f"count is {count}; a row has both of its ends, so give 2 or more")
    return tuple(number / (count - 1) for number in range(count))


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """The seeds of `count` variations."""
    return tuple(range(first, first + count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Images to be made: one for every seed, of a `Row` one for every seed and share.

    target None: nothing is aimed at. source: where mask values come from (`SOURCES`), None: nothing is held. strength: 0 to
    1. held_steps: the steps in which the layers are held. begin: the noise at the beginning (`BEGINS`). sampler, steps: None:
    those of params.yaml.
    """

    view: str
    generator: str
    target: Target | None = None
    condition: str = "class"
    label: int | None = None
    layers: tuple[str, ...] = ()
    source: str | None = "nearest"
    strength: float = 1.0
    held_steps: tuple[int, ...] = (0,)
    begin: str = "seed"
    sampler: str | None = None
    steps: int | None = None
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ValueError(f"condition {self.condition!r} is unknown; use one of {', '.join(CONDITIONS)}")
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"seeds are {list(self.seeds)}; give at least one, each 0 or more")
        if self.begin not in BEGINS:
            raise ValueError(f"begin {self.begin!r} is unknown; use one of {', '.join(BEGINS)}")
        if self.begin != "seed" and self.target is None:
            raise ValueError(
                "there is nothing to search noise for; pick neighbours or a point of the map, or use begin 'seed'"
            )
        if self.begin == "inverted" and isinstance(self.target, Row):
            raise ValueError("begin 'inverted' takes the noise of one sample, and a row has two ends; use begin 'seed'")
        if self.source is not None:
            self._check_mask()
        if "guided" in (self.source, self.begin) and self.condition == "uniform":
            raise ValueError(
                "noise is guided by features that are seen under one class, and condition 'uniform' has none that is larger "
                "than the others; choose condition 'class' or 'neighbours'"
            )

    def _check_mask(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"source {self.source!r} is unknown; use one of {', '.join(SOURCES)}, or None for no mask")
        if not self.layers:
            raise ValueError("no layer is to be held; choose at least one, or generate without a mask (source None)")
        if self.target is None:
            raise ValueError(
                "there is nothing to take mask values from; pick neighbours or a point of the map, or generate without a "
                "mask (source None)"
            )
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength}; give 0 (as computed) to 1 (as held)")
        if not self.held_steps or len(set(self.held_steps)) < len(self.held_steps):
            raise ValueError(f"held_steps are {list(self.held_steps)}; name at least one step, each once")

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.seeds) * (len(self.target.shares) if isinstance(self.target, Row) else 1)


def towards(
    wish: Wish,
    way: str,
    members: Sequence[Sequence[str]],
    labels: Sequence[int] | np.ndarray,
    turns: Sequence[int] | np.ndarray,
) -> tuple[Wish, ...]:
    """One wish for each group of real samples, by a way (`WAYS`): its mean is aimed at, in the class given, and the first of
    them is what noise is found for. `turns`: how often this first one was among those before; it decides from where noise
    is searched for. The other ways take seeds in turn, from the first of `wish`, which gives everything else.
    """
    if way not in WAYS:
        raise ValueError(f"way {way!r} is unknown; use one of {', '.join(WAYS)}")
    return tuple(
        replace(
            wish,
            target=Picked(ids=tuple(ids)),
            condition="class",
            label=int(label),
            seeds=(int(turn) if way == "inversion" else wish.seeds[0] + number,),
            **WAYS[way],  # type: ignore[arg-type]
        )
        for number, (ids, label, turn) in enumerate(zip(members, labels, turns, strict=True))
    )


def condition_of(
    mode: str, label: int | None, labels: Sequence[int] | np.ndarray, weights: Sequence[float], classes: int
) -> Condition:
    """A condition by name (`CONDITIONS`) => (class, share) pairs of a recipe. `labels` and `weights`: of the target's
    samples. Of a network without classes: no condition, whatever the name.
    """
    if mode not in CONDITIONS:
        raise ValueError(f"condition {mode!r} is unknown; use one of {', '.join(CONDITIONS)}")
    if not classes or mode == "none":
        return ()
    if mode == "uniform":
        return uniform(classes)
    if mode == "class":
        if label is None or not 0 <= label < classes:
            raise ValueError(f"class {label} is not there; choose one from 0 to {classes - 1}, or another condition")
        return one_class(label)
    if not len(labels):
        raise ValueError("condition 'neighbours' shares the classes of neighbours, and there are none; pick some")
    shares: Counter[int] = Counter()
    for each, weight in zip(np.asarray(labels).tolist(), weights, strict=True):
        if not 0 <= each < classes:
            raise ValueError(
                f"a neighbour is of class {each}, and the generator knows 0 to {classes - 1}; choose another condition"
            )
        shares[each] += weight  # type: ignore[assignment]
    return shared(shares)


def between(first: Aim, last: Aim, share: float) -> Aim:
    """(1 - share) of one aim and share of the other: of their samples' weights, and of their places."""
    if share in (0, 1):
        return last if share else first
    weights: dict[str, float] = {}
    for aim, part in ((first, 1 - share), (last, share)):
        for name, weight in zip(aim.ids, aim.weights, strict=True):
            weights[name] = weights.get(name, 0.0) + part * weight
    return Aim(
        view=first.view,
        network=first.network,
        map=first.map,
        ids=tuple(weights),
        weights=tuple(weights.values()),
        place=tuple((1 - share) * a + share * b for a, b in zip(first.place, last.place, strict=True)),
    )
