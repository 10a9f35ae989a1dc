"""What a browser remembers of a lost session, and a new one takes: steps, groups, and nothing that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.explorer import memory, opening
from dashboards.explorer.making import Studio
from dashboards.explorer.resources import load
from dashboards.explorer.states.past import Past
from tests.dashboards import hostile
from tests.dashboards.driving import opened, report, settle


@pytest.fixture(scope="module")
def studio(project_root: Path) -> Studio:
    return Studio(load(project_root))


def told(**parts: object) -> str:
    return json.dumps({"groups": [], "group": -1, "before": [], "after": [], **parts})


# Groups


def test_a_group_is_packed_as_distances_and_runs() -> None:
    ids = ("real/267", "real/268", "real/269", "real/300", "fake/dmd2/3")
    assert memory.packed(ids) == "real/:267+2.31;fake/dmd2/:3"
    assert memory.unpacked("real/:267+2.31;fake/dmd2/:3") == ids
    assert memory.packed(()) == ""
    assert memory.unpacked("") == ()


@given(st.dictionaries(st.sampled_from(["real/", "fake/a/", "fake/b:c/"]), st.sets(st.integers(0, 10**8), min_size=1)))
def test_unpacking_undoes_packing(numbers: dict[str, set[int]]) -> None:
    ids = tuple(f"{prefix}{number}" for prefix, chosen in numbers.items() for number in sorted(chosen))
    assert memory.unpacked(memory.packed(ids)) == ids


def test_a_word_that_asks_for_a_billion_samples_gets_as_many_as_a_group_has() -> None:
    assert len(memory.unpacked("real/:0+999999999")) == memory.MOST
    assert len(memory.unpacked("real/:" + ".".join(["1+99999"] * 50))) == memory.MOST


# Reading


def test_thousands_of_large_groups_are_not_unpacked(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(memory, "unpacked", lambda text: asked.append(text) or ("real/1",) * memory.MOST)
    memory.read(studio, told(groups=["real/:0+20000"] * 5000), opening.first(studio))
    assert len(asked) == memory.ALL // memory.MOST


def test_steps_come_back_as_their_addresses_say_and_groups_as_far_as_they_are_on_the_map(studio: Studio) -> None:
    now = opening.first(studio, {"selected": "real/5"})
    before = [["view=default&generator=student", -1], ["generator=other&selected=fake/other/3", 0]]
    after = [["selected=real/7&k=9", 1]]
    groups = ["real/:0+3;fake/student/:4;fake/other/:5", "real/:58+20"]
    past = memory.read(studio, told(groups=groups, group=0, before=before, after=after), now)
    assert past.now.picks.selected == "real/5"
    assert past.now.picks.group == ("real/0", "real/1", "real/2", "real/3", "fake/student/4")
    first, second = past.before
    assert (first.look.generator, first.picks.group) == ("student", ())
    assert (second.look.generator, second.picks.selected) == ("other", "fake/other/3")
    assert second.picks.group == ("real/0", "real/1", "real/2", "real/3", "fake/other/5")
    assert past.after[0].picks.k == 9
    assert past.after[0].picks.group == ("real/58", "real/59")
    assert past.number == 2


def test_only_the_nearest_steps_come_back(studio: Studio) -> None:
    now = opening.first(studio)
    past = memory.read(studio, told(before=[[f"k={i % 50 + 1}", -1] for i in range(60)]), now)
    assert len(past.before) == memory.STEPS
    assert past.before[-1].picks.k == 10


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", "[" * 20_000),
        *(told(group=3), told(group="x"), told(before=[["k=1"]]), told(before=7), told(after=[[5, -1]])),
        *(told(groups=["real/:x"]), told(groups=[5]), told(groups=[f"real/:{'9' * 9000}"], group=0)),
    ],
)
def test_what_is_no_memory_is_refused(studio: Studio, text: str) -> None:
    with pytest.raises(ValueError, match="nothing of it was taken"):
        memory.read(studio, text, opening.first(studio))


@pytest.mark.parametrize("value", [*hostile.PATHS, *hostile.VALUES])
def test_addresses_and_groups_that_mean_no_good_give_sound_states(studio: Studio, value: str) -> None:
    now = opening.first(studio)
    try:
        past = memory.read(studio, told(groups=[f"{value}:1.2+3"], group=0, before=[[f"selected={value}", 0]]), now)
    except ValueError:
        return
    assert set(past.now.picks.group) <= set(studio.project.real.ids)
    assert past.before[0].picks.selected is None


# In a session


def test_a_new_session_goes_back_over_the_steps_of_the_lost_one(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = opened(project_root, monkeypatch)
    report(lost, "click real/5", "click real/6", 'region replace {"box": [-1e6, -1e6, 1e6, 1e6]}')
    kept = lost.get_model_by_name("page group")
    settle(lost, lambda: bool(kept.value))
    steps = json.loads(lost.get_model_by_name("page").value)
    assert (steps["number"], steps["redo"]) == (3, 0)

    page = opened(project_root, monkeypatch)
    before = [["", -1], ["selected=real/5", -1], ["selected=real/5&manual=real/6", -1]]
    report(page, f"restore {told(groups=[kept.value], group=0, before=before)}")
    state = json.loads(page.get_model_by_name("page").value)
    assert (state["number"], state["undo"], state["redo"]) == (3, 3, 0)
    assert page.get_model_by_name("page group").value == kept.value
    assert "120" in page.get_model_by_name("group").text
    report(page, "undo")
    assert page.get_model_by_name("page group").value == ""
    assert "real/6" in page.get_model_by_name("neighbours").text
    report(page, "undo", "undo")
    assert "real/5" not in page.get_model_by_name("selected").text
    report(page, "redo", "redo", "redo")
    assert page.get_model_by_name("page group").value == kept.value


def test_a_session_that_has_steps_takes_no_others(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(project_root, monkeypatch)
    report(page, "click real/5", f"restore {told(before=[['selected=real/9', -1]])}")
    assert "has steps of its own" in page.get_model_by_name("alert").text
    report(page, "undo")
    assert "real/9" not in page.get_model_by_name("selected").text


def test_steps_are_numbered_from_the_first_also_when_it_is_forgotten() -> None:
    past = Past(now=0)
    for state in range(1, 301):
        past = past.do(state)
    assert (past.number, len(past.before)) == (300, 200)
    assert past.undo().number == 299
    assert past.undo().redo() == past
