"""What a browser remembers of a session that the server has lost: its steps as addresses, and groups by their numbers.

All of it comes back from the browser, so it is hostile until checked: `read` takes what names something that is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from urllib.parse import parse_qsl

import numpy as np

from . import opening, states
from .making import Studio
from .states import State
from .states.past import Past

STEPS = 40
"""Steps that come back, of those before now and of those after."""
MOST = 20_000
"""Samples of a group that come back."""
ALL = 10 * MOST
"""Samples of all groups; where there are so many, further groups come back empty."""


def packed(ids: Iterable[str]) -> str:
    """`real/267`, `real/268`, `fake/dmd2/3` => `real/:267+1;fake/dmd2/:3`: of each number how far it lies above the end of
    the one before, and how many follow it."""
    parts = []
    for prefix, names in groupby(ids, key=lambda name: name[: name.rfind("/") + 1]):
        numbers = sorted({int(number) for name in names if (number := name.rpartition("/")[2]).isdecimal()})
        words, end = [], 0
        for first, last in _runs(numbers):
            words.append(f"{first - end}+{last - first}" if last > first else str(first - end))
            end = last
        parts.append(f"{prefix}:{'.'.join(words)}")
    return ";".join(parts)


def _runs(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    """First and last of each stretch without a hole."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            yield numbers[start], numbers[i - 1]
            start = i


def unpacked(text: str) -> tuple[str, ...]:
    """Back again, at most `MOST` ids. Raises ValueError for what is none of it."""
    ids: list[str] = []
    for part in filter(None, text.split(";")):
        prefix, _, words = part.rpartition(":")
        end = 0
        for word in filter(None, words.split(".")):
            above, _, more = word.partition("+")
            first = end + int(above)
            end = first + int(more or 0)
            ids += [f"{prefix}{number}" for number in range(first, min(end, first + MOST - len(ids)) + 1)]
            if len(ids) > MOST:
                return tuple(ids[:MOST])
    return tuple(ids)


def read(studio: Studio, text: str, now: State) -> Past[State]:
    """Around the state of now, what the browser remembers: {"groups": [packed, ...], "group": number, "before": [[address,
    number], ...], "after": the same}; number -1 is no group. Raises ValueError for anything else."""
    try:
        told = json.loads(text)
        groups, room = [], ALL
        for each in told["groups"]:
            groups.append(unpacked(each) if room > 0 else ())
            room -= len(groups[-1])
        before, after = (
            tuple(_state(studio, query, groups, number) for query, number in told[way][-STEPS:])
            for way in ("before", "after")
        )
        here = _grouped(studio, now, groups, told["group"])
        return Past(now=here, before=before, after=after, number=len(before))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"what the page remembered cannot be read ({error}); nothing of it was taken") from error


def _state(studio: Studio, query: str, groups: Sequence[tuple[str, ...]], number: int) -> State:
    return _grouped(studio, opening.first(studio, dict(parse_qsl(query))), groups, number)


def _grouped(studio: Studio, state: State, groups: Sequence[tuple[str, ...]], number: int) -> State:
    """With a group, as far as its samples are on the map of that state."""
    ids = groups[number] if number >= 0 else ()
    names = (name for name in (state.look.generator, state.look.versus) if name is not None)
    sides = (studio.project.real, *(studio.project.generators[name] for name in names)) if ids else ()
    here = tuple(ids[i] for side in sides for i in np.flatnonzero(side.rows_of(ids) >= 0).tolist())
    return states.picking(state, group=here, caught=len(here))
