"""What a visitor has picked follows the clicks, whatever their order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.explorer import state as picks
from dashboards.explorer.state import State

IDS = [f"real/{i}" for i in range(4)] + [f"fake/a/{i}" for i in range(4)] + [f"fake/b-c/{i}" for i in range(2)]
START = State(view="default", generator="a")

sample = st.sampled_from([*IDS, "made/00ff"])
steps = st.one_of(
    st.tuples(st.just(picks.click), sample),
    st.tuples(st.just(picks.drop), sample),
    st.tuples(st.just(picks.found), st.sampled_from(IDS), st.lists(st.sampled_from(IDS), unique=True)),
    st.tuples(st.just(picks.clear)),
    st.tuples(st.just(picks.choose_generator), st.sampled_from(["a", "b-c"])),
    st.tuples(st.just(picks.choose_view), st.sampled_from(["default", "other"])),
    st.tuples(st.just(picks.started), st.just("Generating.")),
    st.tuples(st.just(picks.made), st.just("made/00ff")),
)


def follow(moves: list[tuple]) -> State:
    state = START
    for move, *arguments in moves:
        state = move(state, *arguments)
    return state


@settings(deadline=None)
@given(st.lists(steps, max_size=30))
def test_any_order_of_events_leaves_a_sound_state(moves: list[tuple]) -> None:
    state = follow(moves)
    assert len(set(state.neighbours)) == len(state.neighbours)
    assert state.selected not in state.neighbours
    assert state.selected is not None or not state.neighbours
    assert not any(name.startswith("made/") for name in (*state.neighbours, state.selected or ""))


@settings(deadline=None)
@given(st.lists(steps, max_size=20), st.sampled_from(IDS))
def test_a_second_click_on_a_neighbour_undoes_the_first(moves: list[tuple], name: str) -> None:
    before = follow(moves)
    if before.selected is None or name == before.selected or name in before.neighbours:
        return
    assert picks.click(picks.click(before, name), name) == before


@settings(deadline=None)
@given(st.lists(steps, max_size=20), st.sampled_from(["a", "b-c"]))
def test_no_sample_of_another_generator_stays_picked(moves: list[tuple], generator: str) -> None:
    state = follow([*moves, (picks.choose_generator, generator)])
    if generator != follow(moves).generator:
        names = [*state.neighbours, *([state.selected] if state.selected else [])]
        assert {picks.origin(name) for name in names} <= {"real", generator}


@settings(deadline=None)
@given(st.lists(steps, max_size=20))
def test_clearing_keeps_settings_and_is_final(moves: list[tuple]) -> None:
    before = follow(moves)
    state = picks.clear(before)
    assert (state.selected, state.neighbours, state.shown) == (None, (), None)
    assert (state.generator, state.view, state.seed, state.k) == (before.generator, before.view, before.seed, before.k)
    assert picks.clear(state) == state


def test_the_first_click_selects_and_the_next_ones_pick_neighbours() -> None:
    state = follow([(picks.click, "real/0"), (picks.click, "real/1"), (picks.click, "fake/a/2")])
    assert (state.selected, state.manual) == ("real/0", ("real/1", "fake/a/2"))


def test_a_click_on_a_found_neighbour_takes_it_out() -> None:
    state = follow([(picks.click, "real/0"), (picks.found, "real/0", ["real/1", "real/2"]), (picks.click, "real/1")])
    assert (state.found, state.manual) == (("real/2",), ())


def test_a_click_on_the_selected_point_changes_nothing() -> None:
    state = follow([(picks.click, "real/0"), (picks.click, "real/1")])
    assert picks.click(state, "real/0") == state


def test_what_is_picked_by_hand_is_not_found_again() -> None:
    moves = [(picks.click, "real/0"), (picks.click, "real/1"), (picks.found, "real/0", ["real/0", "real/1", "real/2"])]
    state = follow(moves)
    assert (state.found, state.manual) == (("real/2",), ("real/1",))


def test_neighbours_found_for_a_point_that_is_selected_no_longer_are_ignored() -> None:
    state = follow([(picks.click, "real/0"), (picks.clear,), (picks.click, "real/3")])
    assert picks.found(state, "real/0", ["real/1"]) == state


def test_a_new_image_is_shown_and_the_seed_moves_on() -> None:
    state = picks.made(picks.started(START, "Generating."), "made/00ff")
    assert (state.busy, state.shown, state.seed) == (None, "made/00ff", 1)


def test_the_name_of_a_generator_may_hold_dashes_and_a_made_image_has_none() -> None:
    assert [picks.origin(n) for n in ("real/3", "fake/b-c/1", "made/ab")] == ["real", "b-c", "made"]


def test_the_obstacle_names_what_is_missing_first() -> None:
    selected = picks.click(START, "real/0")
    ready = picks.click(selected, "real/1")
    assert picks.obstacle(START, "no checkpoint") == "no checkpoint"
    assert "Click a point" in (picks.obstacle(START, None) or "")
    assert "Add neighbours" in (picks.obstacle(selected, None) or "")
    assert picks.obstacle(ready, None) is None
    assert picks.obstacle(picks.started(ready, "Generating."), None) == "Generating."


def test_impossible_states_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go with the selected sample 'real/0'"):
        State(view="v", generator="a", selected="real/0", manual=("real/0",))
    with pytest.raises(ValueError, match="do not go with the selected sample None"):
        State(view="v", generator="a", found=("real/0",))
    with pytest.raises(ValueError, match="give k of at least 1"):
        State(view="v", generator="a", k=0)
