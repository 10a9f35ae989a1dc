"""The thousand ImageNet classes: standard index, synset, label in the packed (NPZ) releases, name.

Standard index: place in the sorted synsets, what class-conditional networks are conditioned on. NPZ label: 1..1000 in
the order of the challenge's `map_clsloc` file, which is another order altogether: no class has label - 1 equal to its
index. Two names occur twice (crane, maillot), so classes are keyed by index or synset.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence
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
    what = f"an index, synset or name of ImageNet's {len(table())}"
    return table()[_match(key, *_columns(), what)]


@cache
def _columns() -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(entry.name for entry in table()), tuple(entry.synset for entry in table())


def resolve(
    keys: Sequence[SupportsIndex | str], class_names: Sequence[str], synsets: Sequence[str] | None = None
) -> list[int]:
    """Classes of a source, given by index, synset or name (any case, `_` for a space) => their indices, in that order.

    Digits in quotes are a name where a class has it (folders `0`, `1`, `10`), else an index. Raises ValueError as `find`.
    """
    return [_resolve(key, class_names, synsets or ()) for key in keys]


def _resolve(key: SupportsIndex | str, class_names: Sequence[str], synsets: Sequence[str]) -> int:
    if isinstance(key, str):
        text = key.strip()
        if text.lower() in synsets:
            return list(synsets).index(text.lower())
        if text in class_names or not text.isdecimal():
            what = f"an index{', synset' if synsets else ''} or name of this source's {len(class_names)}"
            return _match(text, class_names, synsets, what)
        key = int(text)
    index = int(key)
    if not 0 <= index < len(class_names):
        raise ValueError(f"class index {index} is outside 0..{len(class_names) - 1}, the classes of this source")
    return index


def _match(key: str, names: Sequence[str], synsets: Sequence[str], what: str) -> int:
    """Place of the one class of this name, compared ever less strictly; `what` says what was looked for."""

    def described(places: Iterable[int]) -> str:
        return "; ".join(f"{i} {synsets[i]} {names[i]}" if synsets else f"{i} {names[i]}" for i in places)

    for spelling in (str.strip, _spaced, _plain):  # Cardigan is a dog, cardigan is not
        found = [i for i, name in enumerate(names) if spelling(name) == spelling(key)]
        if len(found) == 1:
            return found[0]
        if found:
            ways = "index or the synset" if synsets else "index"
            raise ValueError(f"class name {key!r} means {len(found)} classes: {described(found)}. Give the {ways}")
    text = _plain(key)
    known = {_plain(name): i for i, name in enumerate(names)} | {synset: i for i, synset in enumerate(synsets)}
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
    holding = [name for name in known if text and text in name.split()][:3]  # "lemur" for "madagascar lemur"
    hint = described(dict.fromkeys(known[name] for name in [*holding, *near])) or "none is close"
    raise ValueError(f"class {key!r} is not {what}; nearest: {hint}")


def _spaced(name: str) -> str:
    return name.strip().replace("_", " ")


def _plain(name: str) -> str:
    return _spaced(name).lower()
