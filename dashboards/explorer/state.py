"""What one visitor has picked: a frozen value and its transitions. Nothing here knows of widgets or drawings.

Samples are named by their ids: `real/<index>`, `fake/<generator>/<index>`, `made/<hash>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Space = Literal["map", "features"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The selected sample, its neighbours (found or picked by hand), and what the next generation takes.

    A neighbour is found or manual, never both, never the selected sample, and there is none without a selected sample.
    `shown` is the made image on display; `busy` says what the model is doing.
    """

    view: str
    generator: str
    selected: str | None = None
    found: tuple[str, ...] = ()
    manual: tuple[str, ...] = ()
    k: int = 5
    space: Space = "map"
    show_real: bool = True
    show_generated: bool = True
    hold: str = ""
    seed: int = 0
    shown: str | None = None
    busy: str | None = None

    def __post_init__(self) -> None:
        names = self.neighbours
        if len(set(names)) != len(names) or self.selected in names or (names and self.selected is None):
            raise ValueError(
                f"neighbours {names} do not go with the selected sample {self.selected!r}; "
                "each is named once, is not the selected one, and needs one to be selected"
            )
        if self.k < 1 or self.seed < 0:
            raise ValueError(f"k is {self.k} and seed is {self.seed}; give k of at least 1 and a seed of at least 0")

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Found ones first, nearest first, then the manual ones in the order of picking."""
        return self.found + self.manual


def origin(sample_id: str) -> str:
    """`real`, `made`, or the name of the generator that a sample is of."""
    kind, _, rest = sample_id.partition("/")
    return rest.rpartition("/")[0] if kind == "fake" else kind


def click(state: State, sample_id: str) -> State:
    """The first click selects; further ones toggle neighbours. A made image is shown, never picked."""
    if origin(sample_id) == "made":
        return replace(state, shown=sample_id)
    if state.selected is None:
        return replace(state, selected=sample_id)
    if sample_id == state.selected:
        return state
    if sample_id in state.neighbours:
        return drop(state, sample_id)
    return replace(state, manual=(*state.manual, sample_id))


def drop(state: State, sample_id: str) -> State:
    """Take one neighbour out."""
    return replace(
        state,
        found=tuple(name for name in state.found if name != sample_id),
        manual=tuple(name for name in state.manual if name != sample_id),
    )


def found(state: State, selected: str, ids: Sequence[str]) -> State:
    """The nearest neighbours of `selected`, in place of those found before; too late if another one is selected now."""
    if selected != state.selected:
        return state
    return replace(state, found=tuple(name for name in ids if name != selected and name not in state.manual))


def clear(state: State) -> State:
    """Nothing selected, nothing shown; settings stay."""
    return replace(state, selected=None, found=(), manual=(), shown=None)


def choose_generator(state: State, generator: str) -> State:
    """Another generator: samples of the one before leave the map, and with a selected one go its neighbours."""
    if generator == state.generator:
        return state
    state = replace(state, generator=generator, shown=None)
    if state.selected is not None and origin(state.selected) not in ("real", generator):
        return clear(state)
    return replace(state, found=_of(state.found, generator), manual=_of(state.manual, generator))


def _of(ids: tuple[str, ...], generator: str) -> tuple[str, ...]:
    return tuple(name for name in ids if origin(name) in ("real", generator))


def choose_view(state: State, view: str) -> State:
    """Another map: what was picked stays picked, what was found as nearest there does not count here."""
    return state if view == state.view else replace(state, view=view, found=(), shown=None)


def started(state: State, what: str) -> State:
    return replace(state, busy=what)


def stopped(state: State) -> State:
    return replace(state, busy=None)


def made(state: State, sample_id: str) -> State:
    """A new image is there: show it; the next one takes the next seed."""
    return replace(state, busy=None, shown=sample_id, seed=state.seed + 1)


def obstacle(state: State, why_not: str | None) -> str | None:
    """Why nothing can be generated now, in words, or None. `why_not`: what the generator itself lacks."""
    if why_not:
        return why_not
    if state.selected is None:
        return "Click a point to select it."
    if not state.neighbours:
        return "Add neighbours: find the nearest, or click points."
    return state.busy
