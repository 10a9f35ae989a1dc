"""Blind votes: two images of the same class and seed, one of each generator, in an order that nobody can tell.

Votes are kept in data/votes/<a>~<b>.json, whoever gave them. Images go out under tokens that name no generator.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modescope import files

from .resources import Project, Side

CHOICES = ("left", "right", "same")
PREFIX = "blind/"
MOST = 4000
"""Tokens that are remembered."""

_tokens: OrderedDict[str, str] = OrderedDict()
_lock = threading.Lock()


def hidden(sample_id: str) -> str:
    """A sample under another name."""
    token = f"{PREFIX}{secrets.token_hex(12)}"
    with _lock:
        _tokens[token] = sample_id
        while len(_tokens) > MOST:
            _tokens.popitem(last=False)
    return token


def opened(token: str) -> str:
    """The sample of a token; anything else names itself."""
    return _tokens.get(token, token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One question: `left` and `right` are tokens; `swapped`: the first generator's image is on the right."""

    number: int
    label: int
    left: str
    right: str
    swapped: bool


def pairs(a: Side, b: Side) -> np.ndarray:
    """Numbers of samples that both generators made for the same label: the same seed, so the same noise."""
    shared, rows_a, rows_b = np.intersect1d(a.numbers, b.numbers, return_indices=True)
    return shared[a.labels[rows_a] == b.labels[rows_b]]


def draw(project: Project, first: str, second: str, rng: np.random.Generator) -> Ballot:
    """A question that no vote has been given to yet, where there is one. Raises ValueError where the generators share no
    label and seed."""
    a, b = project.generators[first], project.generators[second]
    numbers = pairs(a, b)
    if not len(numbers):
        raise ValueError(
            f"{first} and {second} have no sample of the same label and seed; generate both with the same generate section"
        )
    asked = {vote["number"] for vote in votes(project.root, first, second)}
    left = [int(n) for n in rng.permutation(numbers)[:2000] if int(n) not in asked]
    number = left[0] if left else int(rng.choice(numbers))
    swapped = bool(rng.integers(2))
    ids = [f"{side.prefix}{number}" for side in ((b, a) if swapped else (a, b))]
    label = int(a.labels[a.rows_of([f"{a.prefix}{number}"])[0]])
    return Ballot(number=number, label=label, left=hidden(ids[0]), right=hidden(ids[1]), swapped=swapped)


def _path(root: Path, first: str, second: str) -> Path:
    return root / "data/votes" / f"{'~'.join(sorted((first, second)))}.json"


def votes(root: Path, first: str, second: str) -> list[dict[str, Any]]:
    path = _path(root, first, second)
    return files.read_json(path)["votes"] if path.is_file() else []


def vote(root: Path, first: str, second: str, ballot: Ballot, choice: str) -> None:
    """Keep a vote: the sample's number and the name of the generator that was preferred, or None."""
    if choice not in CHOICES:
        raise ValueError(f"choice is {choice[:20]!r}; use one of {', '.join(CHOICES)}")
    better = None
    if choice != "same":
        better = second if (choice == "left") == ballot.swapped else first
    with _lock:
        kept = [*votes(root, first, second), {"number": ballot.number, "label": ballot.label, "better": better}]
        files.write_json(_path(root, first, second), {"generators": sorted((first, second)), "votes": kept})


def tally(root: Path, first: str, second: str) -> dict[str | None, int]:
    """Votes by generator; under None those that saw no difference."""
    return dict(Counter(vote["better"] for vote in votes(root, first, second)))
