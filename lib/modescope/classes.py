"""The thousand ImageNet classes: standard index, synset, label in the packed (NPZ) releases, name.

Standard index: place in the sorted synsets, what class-conditional networks are conditioned on. NPZ label: 1..1000 in
the order of the challenge's `map_clsloc` file, which is another order altogether: no class has label - 1 equal to its
index. Two names occur twice (crane, maillot), so classes are keyed by index or synset.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64, Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNetClass:
    """`index` 0..999, `synset` such as n01440764, `npz_label` 1..1000, `name` such as tench."""

    index: int
    synset: str
    npz_label: int
    name: str

    def __str__(self) -> str:
        return f"{self.index} {self.synset} {self.name}"


@cache
def table() -> tuple[ImageNetClass, ...]:
    """All classes; `table()[i]` has index i."""
    text = files("modescope").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    return tuple(
        ImageNetClass(index=int(row["index"]), synset=row["synset"], npz_label=int(row["npz_label"]), name=row["name"])
        for row in csv.DictReader(text.splitlines())
    )


@cache
def _by_synset() -> dict[str, ImageNetClass]:
    return {entry.synset: entry for entry in table()}


@cache
def _index_of_npz_label() -> Int64[np.ndarray, " 1001"]:
    index = np.full(len(table()) + 1, -1, np.int64)
    index[[entry.npz_label for entry in table()]] = [entry.index for entry in table()]
    index.flags.writeable = False  # one array serves every caller
    return index


def by_index(index: int) -> ImageNetClass:
    if not 0 <= index < len(table()):
        raise ValueError(f"class index {index} is outside 0..{len(table()) - 1}; give a standard ImageNet index")
    return table()[index]


def by_synset(synset: str) -> ImageNetClass:
    if synset not in _by_synset():
        nearest = ", ".join(difflib.get_close_matches(synset, _by_synset(), n=3, cutoff=0.5)) or "none is close"
        raise ValueError(f"synset {synset!r} is not one of ImageNet's {len(table())}; nearest: {nearest}")
    return _by_synset()[synset]


def by_npz_label(label: int) -> ImageNetClass:
    return table()[int(from_npz_labels(np.asarray([label]))[0])]


def from_npz_labels(labels: Integer[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """NPZ labels 1..1000 => standard indices 0..999."""
    outside = (labels < 1) | (labels > len(table()))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"npz label {labels[row]} (row {row}) is outside 1..{len(table())}; packed ImageNet counts from 1: "
            "if these are standard indices already, they need no translation"
        )
    return _index_of_npz_label()[labels]


def find(key: SupportsIndex | str) -> ImageNetClass:
    """A class by standard index (207 or "207"), synset, or name (any case, `_` for a space).

    Raises ValueError for a name that several classes share (listing them) and for an unknown one (naming the nearest).
    """
    if not isinstance(key, str):
        return by_index(int(key))
    text = key.strip().lower().replace("_", " ")
    if text.isdecimal():
        return by_index(int(text))
    if text in _by_synset():
        return _by_synset()[text]
    exact = [
        entry for entry in table() if entry.name == key.strip().replace("_", " ")
    ]  # Cardigan is a dog, cardigan is not
    found = exact or [entry for entry in table() if entry.name.lower() == text]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"class name {key!r} means {len(found)} classes: {'; '.join(map(str, found))}. Give the index or the synset"
        )
    names = {entry.name.lower(): str(entry) for entry in table()} | {entry.synset: str(entry) for entry in table()}
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    holding = [name for name in names if text and text in name.split()][:3]  # "lemur" for "madagascar lemur"
    hint = "; ".join(names[name] for name in dict.fromkeys([*holding, *near])) or "none is close"
    raise ValueError(f"class {key!r} is not an index, synset or name of ImageNet's {len(table())}; nearest: {hint}")
