"""From what is picked and dialled to what is wished for (`modescope.making.Wish`), and why something cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modescope import making
from modescope.making import Picked, Point, Row, Wish

from .states import State, origin
from .states.dials import shares

if TYPE_CHECKING:
    from .making import Studio

BOTTLENECK, MIDBLOCK = "encoder_bottleneck", "midblock"
NOTHING = "nothing"
"""In place of a source: no layer is held."""
MOST_AIMED = 4096
"""Samples whose mean is aimed at."""
MOST_IMAGES = 64
"""At once, rows times variations."""


def layer_choices(layers: Sequence[str], measured: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What can be held: words => layers. `layers`: all that can; `measured`: sets whose control was measured."""
    encoder = tuple(name for name in layers if name.startswith("encoder_"))
    offered = {"bottleneck": (BOTTLENECK,), "bottleneck + midblock": (BOTTLENECK, MIDBLOCK), **measured}
    if encoder not in offered.values():
        offered["every encoder layer"] = encoder
    there = set(layers)
    named = {words: names for words, names in offered.items() if names and set(names) <= there}
    return named | {f"only {name}": (name,) for name in layers if (name,) not in named.values()}


def aimed_at(state: State) -> tuple[str, ...]:
    """The samples that are aimed at as they are picked: neighbours, or else the selected one; the group."""
    picks = state.picks
    if state.dials.start == "group":
        return picks.group
    if state.dials.start == "neighbours":
        return picks.neighbours or ((picks.selected,) if picks.selected else ())
    if state.dials.start == "between" and picks.selected:
        return (picks.selected, *((far,) if (far := far_end(state)) else ()))
    return ()


def far_end(state: State) -> str | None:
    """The far end of a row: the one that was chosen, else the first neighbour."""
    other = state.dials.other
    return other if other and other != state.picks.selected else next(iter(state.picks.neighbours), None)


def missing(state: State) -> str | None:
    """What has still to be picked, in words."""
    start, picks = state.dials.start, state.picks
    if start == "neighbours" and picks.selected is None:
        return "Click a point of the map to select it; its neighbours, if you pick some, are aimed at in its place."
    if start == "group" and not picks.group:
        return "Draw a lasso or a box on the map: the mean of what it catches is aimed at."
    if start == "between" and (picks.selected is None or far_end(state) is None):
        return "Select one end, then click another point of the map: the other end."
    if start == "point" and state.dials.point is None:
        return "Click an empty spot of the map."
    if start == "gap" and state.gap is None:
        return "Open a missing region in the tab Gaps."
    if len(aimed_at(state)) > MOST_AIMED:
        return f"The group has {len(aimed_at(state)):,} samples; catch at most {MOST_AIMED:,} of them."
    return None


def condition_of(state: State, label: Callable[[str], int | None]) -> dict[str, Any]:
    """condition and label of a wish. Of a selected sample its class; where none is selected, classes of the aim's samples."""
    dials, selected = state.dials, state.picks.selected
    if dials.condition == "class":
        if dials.label is None:
            raise ValueError("no class is chosen; type a part of its name, or choose another condition")
        return {"condition": "class", "label": dials.label}
    if dials.condition == "selected":
        chosen = None if selected is None else label(selected)
        if chosen is not None:
            return {"condition": "class", "label": chosen}
        if dials.start == "free":
            raise ValueError("no class is chosen: select a sample, or choose a class as the condition")
        return {"condition": "neighbours"}
    if dials.start == "free" and dials.condition == "neighbours":
        raise ValueError("without an aim there are no neighbours to take classes from; choose another condition")
    return {"condition": dials.condition}


def how(studio: Studio, state: State, layers: tuple[str, ...]) -> dict[str, Any]:
    """All of a wish but its target, condition and seeds. The layers need not be held (see source)."""
    dials = state.dials
    schedule = studio.workshop.schedule(state.look.generator, dials.sampler, dials.steps)
    most = {"first": 1, "half": (schedule.steps + 1) // 2, "all": schedule.steps}[dials.during]
    return dict(
        view=state.look.view,
        generator=state.look.generator,
        layers=layers,
        source=None if dials.source == NOTHING else dials.source,
        strength=dials.strength,
        begin=dials.begin,
        held_steps=tuple(range(most)),
        sampler=dials.sampler,
        steps=dials.steps,
    )


def wish_of(studio: Studio, state: State, layers: tuple[str, ...]) -> Wish:
    """What the dials ask for, but for a missing region (see `attempts`). ValueError in words where something lacks."""
    if what := missing(state):
        raise ValueError(what)
    dials, start = state.dials, state.dials.start
    target = None if start == "free" else target_of(studio, state)
    chosen = how(studio, state, layers) | condition_of(state, studio.label)
    if start == "free":
        chosen |= {"source": None, "begin": "seed"}
    wish = Wish(**chosen, target=target, seeds=making.seeds_from(dials.seed, dials.variations))
    if wish.count > MOST_IMAGES:
        raise ValueError(
            f"{wish.count} images at once are too many; choose fewer variations or a shorter row ({MOST_IMAGES} at most)"
        )
    return wish


def target_of(studio: Studio, state: State) -> making.wishes.Target:
    dials, ids = state.dials, aimed_at(state)
    if dials.start == "point" and dials.point is not None:
        return Point(at=dials.point)
    if dials.start == "between":
        first, last = (picked(studio, (name,), (1.0,)) for name in ids)
        return Row(first=first, last=last, shares=making.evenly(dials.row))
    return picked(studio, ids, shares(dials, ids))


def picked(studio: Studio, ids: tuple[str, ...], weights: tuple[float, ...]) -> Picked:
    """Samples and their weights. A made image has no recorded values of its own: it stands for the samples whose mean was
    held for it, with its weight shared among them.
    """
    found: dict[str, float] = {}
    for name, weight in zip(ids, weights, strict=True):
        for each, share in source_of(studio, name):
            found[each] = found.get(each, 0.0) + weight * share
    return Picked(ids=tuple(found), weights=tuple(found.values()))


def source_of(studio: Studio, sample_id: str) -> tuple[tuple[str, float], ...]:
    if origin(sample_id) != "made":
        return ((sample_id, 1.0),)
    aim = studio.made[sample_id].recipe.aim
    if not aim.ids:
        raise ValueError(
            f"{sample_id} was made without a mask, so no values were held for it that could be held again; pick samples "
            "near it (Find nearest) and aim at those"
        )
    return tuple(zip(aim.ids, aim.weights, strict=True))
