"""A state in the page's address, and back: so that a reload, a bookmark or a link shows the same.

What an address says is somebody else's text: a value that cannot be is passed over, and the default stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from . import State

LONGEST = 64
"""Ids that an address names, at most, of each kind."""

Read = Callable[[str], Any]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)[:LONGEST]


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(map(float, text.split(",")))
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{text!r} has a number that is not finite")
    return numbers


def _frame(text: str) -> tuple[float, ...]:
    left, right, bottom, top = _numbers(text)
    if not (left < right and bottom < top):
        raise ValueError(f"{text!r} is no frame: lowest x, highest x, lowest y, highest y")
    return left, right, bottom, top


def _classes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in _words(text)}))


PLACES: dict[str, tuple[str, Read]] = {
    "kinds": ("look", _words),
    "colour": ("look", str),
    "palette": ("look", str),
    "overlays": ("look", _words),
    "solo": ("look", _classes),
    "tab": ("look", str),
    "theme": ("look", str),
    "frame": ("look", _frame),
    "selected": ("picks", str),
    "found": ("picks", _words),
    "manual": ("picks", _words),
    "table": ("picks", _words),
    "k": ("picks", int),
    "space": ("picks", str),
    "among": ("picks", str),
    "start": ("dials", str),
    "point": ("dials", _numbers),
    "other": ("dials", str),
    "condition": ("dials", str),
    "label": ("dials", int),
    "hold": ("dials", str),
    "source": ("dials", str),
    "strength": ("dials", float),
    "sampler": ("dials", str),
    "steps": ("dials", int),
    "variations": ("dials", int),
    "seed": ("dials", int),
    "way": ("dials", str),
    "gap": ("", int),
    "shown": ("", str),
}
"""Names in an address: the part of the state that each belongs to, and how it is read."""

OPTIONAL = ("selected", "other", "label", "sampler", "steps", "gap", "shown", "frame", "point")
"""Those that may be empty."""


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_said, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def write(state: State, default: State) -> str:
    """The query of an address: view and generator, and what differs from `default`; lists that are too long are left out."""
    pairs = {"view": state.look.view, "generator": state.look.generator}
    if state.look.versus is not None:
        pairs["versus"] = state.look.versus
    for name, (part, _) in PLACES.items():
        value, usual = (getattr(getattr(of, part) if part else of, name) for of in (state, default))
        if value != usual and not (isinstance(value, tuple) and len(value) > LONGEST):
            pairs[name] = "" if value is None else _said(value)
    return urlencode(pairs, safe="/,:")


def read(query: Mapping[str, str], default: State) -> State:
    """What an address says, over `default`. `view`, `generator` and `versus` are left to who knows which there are, ids
    too."""
    state = default
    for name, (part, take) in PLACES.items():
        if name in query:
            state = _with(state, part, name, query[name], take)
    return state


def _with(state: State, part: str, name: str, text: str, take: Read) -> State:
    old: Any = getattr(state, part) if part else state
    try:
        changed = replace(old, **{name: None if name in OPTIONAL and not text else take(text)})
    except (ValueError, OverflowError):
        return state
    whole: dict[str, Any] = {part: changed}
    return replace(state, **whole) if part else changed
