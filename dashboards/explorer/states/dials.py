"""What the next generation takes."""

from __future__ import annotations

from dataclasses import dataclass

STARTS = ("neighbours", "point", "group", "between", "gap", "free")
"""Where it aims: the neighbours' mean, a place on the map, the group of a lasso, between two samples, a missing region,
or nowhere (no mask)."""
CONDITIONS = ("selected", "neighbours", "uniform", "none", "class")
WAYS = ("mask", "inversion", "guided")
"""How a missing region is aimed at."""
BEGINS = ("seed", "inverted", "guided")
"""The noise that an image begins with: that of its seed, or noise that was searched for."""
DURING = ("first", "half", "all")
"""In which steps of a sampler of several steps the layers are held."""
MOST = 16
"""Images at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dials:
    """`hold`: words for the layers that are held; `source`: where mask values come from, `weights`: of neighbours, in
    pairs, 1 where unnamed; `point`: the aim on the map; `other`: the far end of `between`, `row`: images from one end to
    the other; `label`: of condition `class`; `begin`: the noise at the beginning; `sampler`, `steps`: None as params.yaml has
    them, `during`: the steps in which layers are held; `way`, `tries`: how a missing region is aimed at, and how often.
    """

    start: str = "neighbours"
    point: tuple[float, ...] | None = None
    other: str | None = None
    row: int = 7
    weights: tuple[tuple[str, float], ...] = ()
    condition: str = "selected"
    label: int | None = None
    hold: str = ""
    source: str = "nearest"
    strength: float = 1.0
    begin: str = "seed"
    sampler: str | None = None
    steps: int | None = None
    during: str = "first"
    variations: int = 1
    seed: int = 0
    way: str = "mask"
    tries: int = 8

    def __post_init__(self) -> None:
        for what, value, known in (
            ("start", self.start, STARTS),
            ("condition", self.condition, CONDITIONS),
            ("begin", self.begin, BEGINS),
            ("during", self.during, DURING),
            ("way", self.way, WAYS),
        ):
            if value not in known:
                raise ValueError(f"{what} is {value!r}; use one of {', '.join(known)}")
        for what, words in (("hold", self.hold), ("source", self.source), ("sampler", self.sampler or "")):
            if not isinstance(words, str):
                raise ValueError(f"{what} is {words!r}; give it in words")
        for what, number, least, most in (
            ("seed", self.seed, 0, 2**31 - 1),
            ("variations", self.variations, 1, MOST),
            ("row", self.row, 2, MOST),
            ("tries", self.tries, 1, MOST),
            ("strength", self.strength, 0, 1),
            ("steps", 1 if self.steps is None else self.steps, 1, 256),
        ):
            if not least <= number <= most:
                raise ValueError(f"{what} is {number}; give {least} to {most}")
        if any(not 0 <= weight < float("inf") for _, weight in self.weights):
            raise ValueError(f"weights are {self.weights}; give each sample 0 or more")

    def weight(self, sample_id: str) -> float:
        return dict(self.weights).get(sample_id, 1.0)


def weighed(dials: Dials, sample_id: str, factor: float) -> tuple[tuple[str, float], ...]:
    """One sample's weight times a factor, back from 0 to 0.25; below 0.1 it is 0."""
    before = dials.weight(sample_id)
    now = before * factor if before else (0.25 if factor > 1 else 0.0)
    kept = dict(dials.weights) | {sample_id: 0.0 if now < 0.1 else min(now, 1000.0)}
    return tuple(kept.items())


def shares(dials: Dials, ids: tuple[str, ...]) -> tuple[float, ...]:
    """Weights of samples, brought to a sum of 1; all alike where every one is 0."""
    given = dict(dials.weights)
    weights = [given.get(name, 1.0) for name in ids]
    total = sum(weights)
    return tuple(weight / total if total else 1 / len(ids) for weight in weights)
