"""Coarser groups of ImageNet's classes (superclasses.csv: ranges of standard indices), for sources that name synsets."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from modescope import classes

from .resources import Project


@lru_cache(maxsize=1)
def table() -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Superclasses by name, with the standard indices of their classes."""
    with (Path(__file__).parent / "superclasses.csv").open(encoding="utf-8", newline="") as lines:
        return tuple((line["name"], tuple(_indices(line["classes"]))) for line in csv.DictReader(lines))


def _indices(text: str) -> Iterable[int]:
    for word in text.split():
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


@lru_cache(maxsize=4)
def of(project: Project) -> Int32[np.ndarray, " classes"] | None:
    """The place in `table` of every class of a project; None where its classes are not ImageNet's."""
    synsets = project.real.images.config.get("synsets")
    known = {entry.synset: entry.index for entry in classes.table()}
    if not synsets or any(synset not in known for synset in synsets):
        return None
    group = np.empty(len(known), np.int32)
    for place, (_, indices) in enumerate(table()):
        group[list(indices)] = place
    return group[[known[synset] for synset in synsets]]


def members(project: Project, place: int) -> tuple[int, ...]:
    """Classes of a project in one superclass."""
    groups = of(project)
    return () if groups is None else tuple(np.flatnonzero(groups == place).tolist())
