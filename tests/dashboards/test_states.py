"""What a visitor sees and has picked follows the events, whatever their order; undo undoes; an address brings it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.explorer import states
from dashboards.explorer.states import State, address, picks
from dashboards.explorer.states.dials import CONDITIONS, STARTS, Dials
from dashboards.explorer.states.looks import COLOURS, KINDS, OVERLAYS, TABS, THEMES, Look
from dashboards.explorer.states.past import LONGEST, Past

IDS = [f"real/{i}" for i in range(4)] + [f"fake/a/{i}" for i in range(4)] + [f"fake/b-c/{i}" for i in range(2)]
GENERATORS = ["a", "b-c", "d"]
START = State(look=Look(view="default", generator="a"), dials=Dials())


def picked(change: Callable[..., picks.Picks], *arguments: object) -> Callable[[State], State]:
    return lambda state: replace(state, picks=change(state.picks, *arguments))


def subsets(values: tuple) -> st.SearchStrategy[tuple]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


sample = st.sampled_from([*IDS, "made/00ff"])
group = st.lists(sample, max_size=6, unique=True)
steps = st.one_of(
    sample.map(lambda name: picked(picks.click, name)),
    sample.map(lambda name: picked(picks.select, name)),
    sample.map(lambda name: picked(picks.drop, name)),
    st.tuples(sample, group).map(lambda both: picked(picks.found, *both)),
    st.tuples(group, st.sampled_from(["replace", "append", "intersect", "subtract"])).map(
        lambda both: lambda state: states.picking(state, group=picks.combine(state.picks.group, *both))
    ),
    st.just(states.clear),
    st.sampled_from(GENERATORS).map(lambda name: lambda state: states.choose_generator(state, name)),
    st.sampled_from([*GENERATORS, None]).map(lambda name: lambda state: states.choose_versus(state, name)),
    st.sampled_from(["default", "other"]).map(lambda view: lambda state: states.choose_view(state, view)),
    st.just(lambda state: states.started(state, "Generating.")),
    st.just(lambda state: replace(state, shown="made/00ff")),
    subsets(KINDS).map(lambda kinds: lambda state: states.looking(state, kinds=kinds)),
    subsets(OVERLAYS).map(lambda overlays: lambda state: states.looking(state, overlays=overlays)),
    st.sampled_from(COLOURS).map(lambda colour: lambda state: states.looking(state, colour=colour)),
    st.sampled_from(THEMES).map(lambda theme: lambda state: states.looking(state, theme=theme)),
    st.sampled_from(TABS).map(lambda tab: lambda state: states.looking(state, tab=tab)),
    st.sampled_from(STARTS).map(lambda start: lambda state: states.dialling(state, start=start)),
    st.sampled_from(CONDITIONS).map(lambda kind: lambda state: states.dialling(state, condition=kind)),
    st.integers(0, 20)
    .map(lambda twentieths: twentieths / 20)
    .map(lambda strength: lambda state: states.dialling(state, strength=strength)),
    st.just(lambda state: states.looking(state, frame=(-1.5, 2.0, 0.25, 4.0), solo=(1, 3))),
)
moves = st.lists(steps, max_size=30)


def follow(chosen: list[Callable[[State], State]]) -> State:
    state = START
    for move in chosen:
        state = move(state)
    return state


@given(moves)
def test_any_order_of_events_leaves_a_sound_state(chosen: list) -> None:
    state = follow(chosen)
    names = state.picks.neighbours
    assert len(set(names)) == len(names)
    assert state.picks.selected not in names
    assert state.picks.selected is not None or not names
    assert state.look.versus != state.look.generator
    assert state.look.generator in GENERATORS
    assert len(set(state.picks.group)) == len(state.picks.group)


@given(moves, st.sampled_from(GENERATORS))
def test_no_sample_of_another_generator_stays_picked(chosen: list, generator: str) -> None:
    before = follow(chosen)
    state = states.choose_generator(before, generator)
    if generator == before.look.generator:
        assert state == before
        return
    chosen_ids = {*state.picks.neighbours, *state.picks.group, *state.picks.table, state.picks.selected} - {None}
    sides = {"real", "made", generator, state.look.versus}
    assert {states.origin(name) for name in chosen_ids if name} <= sides
    assert state.shown is None


@given(moves, st.sampled_from(IDS))
def test_a_second_click_on_a_neighbour_undoes_the_first(chosen: list, name: str) -> None:
    before = follow(chosen).picks
    if before.selected is None or name == before.selected or name in before.neighbours:
        return
    assert picks.click(picks.click(before, name), name) == before


@given(moves)
def test_undo_is_the_inverse_of_do_and_redo_of_undo(chosen: list) -> None:
    past = Past(now=START)
    for move in chosen:
        after = past.do(move(past.now))
        if after is not past:
            assert after.undo().now == past.now
            assert after.undo().redo() == after
        past = after
    there = past.now
    for _ in past.before:
        past = past.undo()
    assert past.now == START
    assert past.undo() is past
    for _ in past.after:
        past = past.redo()
    assert past.now == there
    assert past.redo() is past


def test_a_new_step_forgets_what_was_undone_and_the_past_is_bounded() -> None:
    past = Past(now=0)
    for number in range(1, LONGEST + 50):
        past = past.do(number)
    assert len(past.before) == LONGEST
    past = past.undo().undo().do(-1)
    assert past.after == ()
    assert past.amend(-2).undo().now == past.undo().now


@given(moves)
def test_an_address_brings_back_what_it_was_written_from(chosen: list) -> None:
    state = replace(follow(chosen), busy=None)
    query = dict(parse_qsl(address.write(state, START), keep_blank_values=True))
    assert query["view"] == state.look.view
    look = replace(START.look, view=state.look.view, generator=state.look.generator, versus=state.look.versus)
    back = address.read(query, replace(START, look=look))
    assert back.look == state.look
    assert back.picks == replace(state.picks, group=())
    assert (back.gap, back.shown) == (state.gap, state.shown)
    assert back.dials == state.dials


HOSTILE = [
    "",
    "x",
    "-1",
    "9" * 400,
    "nan",
    "inf,1,2,3",
    "<script>",
    "../../etc/passwd",
    "1,2,3,4,5",
    "\x00",
    "é" * 3000,
    "1e999",
    ",",
]


@given(st.dictionaries(st.sampled_from([*address.PLACES, "view", "unknown"]), st.sampled_from(HOSTILE), max_size=6))
def test_whatever_an_address_says_the_state_is_sound(query: dict[str, str]) -> None:
    state = address.read(query, START)
    assert state.look.view == "default"
    assert state.look.tab in TABS
    assert state.picks.selected not in state.picks.neighbours
    assert 0 <= state.dials.seed < 2**31
    if state.look.frame is not None:
        left, right, bottom, top = state.look.frame
        assert left < right
        assert bottom < top


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: Look(view="default", generator="a", colour="mood"), "colour has 'mood'"),
        (lambda: Look(view="default", generator="a", versus="a"), "stands beside itself"),
        (lambda: picks.Picks(selected="real/0", found=("real/0",)), "do not go with"),
        (lambda: picks.Picks(found=("real/0",)), "needs one to be selected"),
        (lambda: picks.Picks(k=51), "give k of 1 to 50"),
        (lambda: picks.combine((), (), "xor"), "mode 'xor' is unknown"),
        (lambda: Dials(start="elsewhere"), "start is 'elsewhere'"),
        (lambda: Dials(seed=-1), "seed is -1"),
    ],
)
def test_a_state_that_cannot_be_is_refused(broken: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        broken()


def test_a_lasso_replaces_adds_intersects_and_subtracts() -> None:
    before, now = ("a", "b", "c"), ("c", "d")
    found = {mode: picks.combine(before, now, mode) for mode in ("replace", "append", "intersect", "subtract")}
    assert found == {"replace": ("c", "d"), "append": ("a", "b", "c", "d"), "intersect": ("c",), "subtract": ("a", "b")}
