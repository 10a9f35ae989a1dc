"""Coarser groups of classes: which class is in which, what they colour, what a click on one shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dashboards.explorer import colours, superclasses
from dashboards.explorer.parts import keys, legend
from dashboards.explorer.parts.choosing import Choosing
from dashboards.explorer.parts.legend import Legend
from dashboards.explorer.resources import Project
from modescope import classes, files
from tests.dashboards.measuring import Session, measure, project_of, state

CHOSEN = [151, 268, 1, 24, 100, 403, 970, 22, 999, 7]
"""Standard indices that the ten digits stand for here: two dogs, three birds, and so on."""


def synsets(root: Path) -> None:
    """The digits as ten of ImageNet's classes."""
    path = root / "data/real/manifest.json"
    manifest = files.read_json(path)
    table = [classes.by_index(index) for index in CHOSEN]
    manifest["config"] |= {"classes": [each.name for each in table], "synsets": [each.synset for each in table]}
    files.write_json(path, manifest)


@pytest.fixture
def project(fresh_root: Path) -> Project:
    synsets(fresh_root)
    return project_of(fresh_root)


def named(project: Project) -> list[str]:
    return [superclasses.table()[place][0] for place in colours.places_of(project)]


def test_every_class_of_imagenet_is_in_one_superclass() -> None:
    every = sorted(index for _, indices in superclasses.table() for index in indices)
    assert every == list(range(1000))
    names = [name for name, _ in superclasses.table()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0, "fish"),
        (6, "fish"),
        (7, "birds"),
        (146, "birds"),
        (51, "reptiles, amphibians"),
        (151, "dogs"),
        (268, "dogs"),
        (269, "other mammals"),
        (147, "other mammals"),
        (327, "invertebrates"),
        (388, "other mammals"),
        (389, "fish"),
        (889, "musical instruments"),
        (954, "food, plants and fungi"),
        (968, "household"),
        (981, "people"),
    ],
)
def test_classes_at_the_ends_of_ranges_are_where_they_belong(index: int, name: str) -> None:
    assert index in dict(superclasses.table())[name]


def test_classes_are_found_by_synset_and_not_by_their_place_in_a_source(project: Project) -> None:
    dog, bird = "dogs", "birds"
    wanted = [dog, dog, "fish", bird, bird, "vehicles", "buildings, landscapes", bird]
    assert named(project) == [*wanted, "household", bird]
    birds = [name for name, _ in superclasses.table()].index(bird)
    assert superclasses.members(project, birds) == (3, 4, 7, 9)
    assert superclasses.members(project, 99) == ()


def test_a_source_without_synsets_has_no_such_colour(fresh_root: Path) -> None:
    digits = project_of(fresh_root)
    assert superclasses.of(digits) is None
    assert "superclass" not in colours.modes(digits, state().look)
    assert colours.mode(digits, state(colour="superclass").look) == "class"


def test_points_have_the_colour_of_their_superclass(project: Project) -> None:
    look = state(colour="superclass")
    side = project.generators["student"]
    drawn = colours.of_points(project, look, side)
    groups = np.array(colours.places_of(project))[side.labels]
    assert len({(group, colour) for group, colour in zip(groups.tolist(), drawn.tolist(), strict=True)}) == 6
    assert len(set(drawn.tolist())) == 6


def test_the_key_counts_samples_and_the_classes_follow_its_colours(project: Project) -> None:
    look = state(colour="superclass")
    words = keys.text(project, look)
    dogs = int(np.isin(project.real.labels, (0, 1)).sum())
    assert f"</i>dogs</span><b>{dogs}</b><b>{dogs}</b>" in words
    rows = {row[0]: row[2] for row in json.loads(legend.rows(project, look.look))["rows"]}
    assert rows[0] == rows[1] != rows[2]
    alone = keys.text(project, state(colour="superclass", kinds=("real",)))
    assert f"</i>dogs</span><b>{dogs}</b></button>" in alone


def test_a_click_on_a_superclass_shows_it_alone_and_again_all(fresh_root: Path) -> None:
    synsets(fresh_root)
    measure(fresh_root)
    session = Session(fresh_root, state(colour="superclass"), Choosing, Legend)
    birds = [name for name, _ in superclasses.table()].index("birds")
    session.told(f"solo-group {birds}")
    assert session.desk.state.look.solo == (3, 4, 7, 9)
    assert session["legend"].text.count("class='off'") == 5  # type: ignore[attr-defined]
    session.told(f"solo-group {birds}")
    assert session.desk.state.look.solo == ()
    session.told("solo-group ²")
    assert session.desk.state.look.solo == ()
