"""Made images come, go and come back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from .past import Past

if TYPE_CHECKING:
    from . import State


def made(past: Past[State], ids: tuple[str, ...], seeds: int) -> Past[State]:
    """New images are there: the first is shown, the next one takes the seed after theirs. Undo hides them again, for in
    all of the past they are hidden.
    """
    state = replace(past.now, busy=None)
    if not ids:
        return past.amend(state)
    dials = replace(state.dials, seed=min(state.dials.seed + seeds, 2**31 - 1))
    now = replace(reveal(state, ids), shown=ids[0], series=ids, dials=dials)
    before = tuple(hide(each, ids) for each in past.before)
    earlier = Past(now=hide(state, ids), before=before, number=past.number)
    return earlier.do(now)


def hide(state: State, ids: Collection[str]) -> State:
    """Take made images off the map and out of the list; they stay on disk."""
    hidden = (*state.hidden, *(name for name in ids if name not in state.hidden))
    series = tuple(name for name in state.series if name not in ids)
    shown = state.shown if state.shown not in ids else next(iter(series), None)
    return replace(state, hidden=hidden, shown=shown, series=series)


def reveal(state: State, ids: Collection[str]) -> State:
    return replace(state, hidden=tuple(name for name in state.hidden if name not in ids))


def show(state: State, sample_id: str) -> State:
    """Put a made image on display, with those made together with it where they are on display already."""
    series = state.series if sample_id in state.series else (sample_id,)
    return replace(reveal(state, (sample_id,)), shown=sample_id, series=series)
