"""Made images come, go and come back: as values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.explorer import states
from dashboards.explorer.states import State, results
from dashboards.explorer.states.dials import Dials, shares, weighed
from dashboards.explorer.states.looks import Look
from dashboards.explorer.states.past import Past

EMPTY = Past(now=State(look=Look(view="v", generator="g"), dials=Dials()))
ACTIONS = st.lists(st.one_of(st.sampled_from(["undo", "redo", "select"]), st.integers(1, 3)), max_size=25)


@given(ACTIONS)
def test_an_image_is_visible_exactly_where_it_was_made_already(actions: list) -> None:
    """Going back over the past hides what was made later; going forth brings it back."""
    past = EMPTY
    there = Past(now=(0, frozenset[str]()))  # what is to be visible, step by step
    every: set[str] = set()
    for count, action in enumerate(actions, start=1):
        if action in ("undo", "redo"):
            past, there = getattr(past, action)(), getattr(there, action)()
        elif action == "select":
            past = past.do(states.picking(past.now, selected=f"real/{count}"))
            there = there.do((count, there.now[1]))
        else:
            ids = tuple(f"made/{count}/{i}" for i in range(action))
            every |= set(ids)
            past, there = results.made(past, ids, action), there.do((count, there.now[1] | set(ids)))
            assert (past.now.shown, past.now.series) == (ids[0], ids)
        assert every - set(past.now.hidden) == there.now[1]
        assert past.now.shown is None or past.now.shown in there.now[1]


def test_undoing_twice_keeps_the_later_image_hidden() -> None:
    past = EMPTY.do(states.picking(EMPTY.now, selected="real/1"))
    past = results.made(past, ("made/a",), 1)
    past = results.made(past, ("made/b", "made/c"), 2)
    assert past.now.hidden == ()
    assert past.now.dials.seed == 3
    back = past.undo()
    assert back.now.hidden == ("made/b", "made/c")
    assert back.now.shown == "made/a"
    assert set(back.undo().now.hidden) == {"made/a", "made/b", "made/c"}
    assert set(back.undo().undo().now.hidden) == {"made/a", "made/b", "made/c"}
    assert back.redo().now.hidden == ()


def test_nothing_made_is_no_step() -> None:
    busy = EMPTY.amend(states.started(EMPTY.now, "Generating."))
    after = results.made(busy, (), 0)
    assert after.now.busy is None
    assert after.before == ()


def test_hiding_the_image_on_display_shows_the_next_of_its_series() -> None:
    now = results.made(EMPTY, ("made/a", "made/b"), 1).now
    hidden = results.hide(now, ("made/a",))
    assert (hidden.shown, hidden.series) == ("made/b", ("made/b",))
    assert results.hide(hidden, ("made/b",)).shown is None
    again = results.show(hidden, "made/a")
    assert (again.shown, again.series, again.hidden) == ("made/a", ("made/a",), ())
    assert results.show(now, "made/b").series == ("made/a", "made/b")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_weights_stay_shares_whatever_is_pressed(presses: list) -> None:
    dials = Dials()
    for name, up in presses:
        dials = replace(dials, weights=weighed(dials, name, 1.5 if up else 1 / 1.5))
    found = shares(dials, ("a", "b", "c"))
    assert sum(found) == pytest.approx(1)
    assert min(found) >= 0


def test_a_press_moves_a_weight_and_it_comes_back_from_nothing() -> None:
    dials = Dials(weights=weighed(Dials(), "a", 1.5))
    assert shares(dials, ("a", "b")) == pytest.approx((0.6, 0.4))
    for _ in range(8):
        dials = replace(dials, weights=weighed(dials, "a", 1 / 1.5))
    assert dials.weight("a") == 0
    assert weighed(dials, "a", 1.5) == (("a", 0.25),)
    assert shares(replace(dials, weights=(("a", 0.0), ("b", 0.0))), ("a", "b")) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": "moon"}, "start is 'moon'; use one of neighbours"),
        ({"condition": "x"}, "condition is 'x'; use one of"),
        ({"way": "x"}, "way is 'x'; use one of mask"),
        ({"begin": "x"}, "begin is 'x'; use one of seed"),
        ({"during": "x"}, "during is 'x'; use one of first"),
        ({"seed": -1}, "seed is -1; give 0 to"),
        ({"variations": 17}, "variations is 17; give 1 to 16"),
        ({"row": 1}, "row is 1; give 2 to 16"),
        ({"strength": 1.1}, "strength is 1.1; give 0 to 1"),
        ({"steps": 0}, "steps is 0; give 1 to 256"),
        ({"weights": (("a", float("nan")),)}, "give each sample 0 or more"),
    ],
)
def test_dials_refuse_what_nothing_can_be_made_of(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Dials(**changes)
