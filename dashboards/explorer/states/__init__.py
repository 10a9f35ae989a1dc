"""What one visitor sees and has picked: frozen values and their transitions. Nothing here knows of widgets or drawings.

Samples are named by their ids: `real/<index>`, `fake/<generator>/<index>`, `made/<hash>`.

`looks` is how the map looks, `picks` what is picked on it, `dials` what the next generation takes, `past` undoes and
redoes, `address` writes a state into the page's address and reads it back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .dials import Dials
from .looks import Look
from .picks import NOTHING, Picks, of, origin


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All of one session. `gap`: rank of the missing region that is open; `shown`: the made image on display, `series`:
    those made together with it; `hidden`: made images that were undone; `busy`: what is being made, in words.
    """

    look: Look
    picks: Picks = NOTHING
    dials: Dials
    gap: int | None = None
    shown: str | None = None
    series: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    busy: str | None = None


def looking(state: State, **changes: Any) -> State:
    return replace(state, look=replace(state.look, **changes))


def picking(state: State, **changes: Any) -> State:
    return replace(state, picks=replace(state.picks, **changes))


def dialling(state: State, **changes: Any) -> State:
    return replace(state, dials=replace(state.dials, **changes))


def clear(state: State) -> State:
    """Nothing selected, nothing shown; settings stay."""
    kept = replace(NOTHING, k=state.picks.k, space=state.picks.space, among=state.picks.among)
    return replace(state, picks=kept, dials=replace(state.dials, point=None, other=None, weights=()), shown=None)


def choose_generator(state: State, generator: str) -> State:
    """Another generator: samples of the one before leave the map, and with a selected one go its neighbours."""
    if generator == state.look.generator:
        return state
    versus = None if state.look.versus == generator else state.look.versus
    state = replace(looking(state, generator=generator, versus=versus), shown=None, gap=None)
    sides = {"real", generator, versus}
    if state.picks.selected is not None and origin(state.picks.selected) not in sides:
        return clear(state)
    return replace(state, picks=of(state.picks, sides))


def choose_versus(state: State, generator: str | None) -> State:
    """A second generator beside the first; None: none. Samples of the one before leave."""
    state = looking(state, versus=None if generator == state.look.generator else generator)
    sides = {"real", state.look.generator, state.look.versus}
    if state.picks.selected is not None and origin(state.picks.selected) not in sides:
        return clear(state)
    return replace(state, picks=of(state.picks, sides))


def choose_view(state: State, view: str) -> State:
    """Another map: what was picked stays picked, what was found as nearest there does not count here."""
    if view == state.look.view:
        return state
    state = picking(looking(state, view=view, frame=None), found=())
    return replace(dialling(state, point=None), gap=None, shown=None)


def started(state: State, what: str) -> State:
    return replace(state, busy=what)


def stopped(state: State) -> State:
    return replace(state, busy=None)
