"""What a visitor sees first: what the address says, as far as it names what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from . import states
from .making import Studio
from .states import State, address
from .states.dials import Dials
from .states.looks import Look
from .states.picks import Picks


def generator(studio: Studio, view: str) -> str:
    """The last one of params.yaml that can make something to order, else the last one."""
    there = studio.project.on(view)
    able = [name for name in there if studio.why_not(view, name) is None]
    return (able or there)[-1]


def seed(studio: Studio) -> int:
    """One above those that were used: nobody makes the same image twice without wanting to."""
    return max((kept.recipe.seed + 1 for kept in tuple(studio.made.values())), default=0) % 2**31


def first(studio: Studio, query: Mapping[str, str] | None = None) -> State:
    """The state of a new session. `query`: name => value of the page's address, hostile until checked."""
    query, project = query or {}, studio.project
    view = query["view"] if query.get("view") in project.views else project.views[0]
    there = project.on(view)
    name = query["generator"] if query.get("generator") in there else generator(studio, view)
    state = State(look=Look(view=view, generator=name), dials=Dials(seed=seed(studio)))
    if (versus := query.get("versus")) in there and versus != name:
        state = states.choose_versus(state, versus)
    return _there(studio, address.read(query, state))


def _there(studio: Studio, state: State) -> State:
    """Without ids and classes that nobody has."""
    look, classes = state.look, len(studio.project.classes)
    sides = {"real", look.generator, look.versus}

    def known(sample_id: str | None) -> bool:
        if sample_id is None or sample_id in studio.made:
            return sample_id is not None
        return states.origin(sample_id) in sides and studio.project.side(sample_id) is not None

    def kept(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if known(name))

    chosen = state.picks
    selected = chosen.selected if known(chosen.selected) else None
    picks = replace(Picks(), selected=selected, k=chosen.k, space=chosen.space, among=chosen.among)
    if selected is not None:
        picks = replace(picks, found=kept(chosen.found), manual=kept(chosen.manual))
    dials, shown = state.dials, state.shown
    label = dials.label if dials.label is not None and 0 <= dials.label < classes else None
    return replace(
        state,
        look=replace(look, solo=tuple(label for label in look.solo if 0 <= label < classes)),
        picks=replace(picks, table=kept(chosen.table)),
        dials=replace(dials, other=dials.other if known(dials.other) else None, label=label),
        shown=shown if shown in studio.made else None,
    )
