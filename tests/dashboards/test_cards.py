"""Images in panels: pixels or smooth pictures, and text that is text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from dashboards.explorer.cards import Cards, button, copied, fine
from dashboards.explorer.resources import load
from tests.dashboards.hostile import TAG, Tags


def test_eight_pixels_stay_pixels_and_sixty_four_are_enlarged_smoothly(project_root: Path) -> None:
    project = load(project_root)
    assert not fine(project)
    assert 'class="large"' in Cards(project, "").image("real/1", "large")
    manifest = {"arrays": {"images": {"shape": [3, 64, 64]}}}
    large = replace(project.generators["student"], images=SimpleNamespace(manifest=manifest))
    photos = replace(project, generators={"student": large})
    assert fine(photos)
    assert 'class="large fine"' in Cards(photos, "").image("real/1", "large")


def test_what_is_put_into_panels_is_text(project_root: Path) -> None:
    cards = Cards(load(project_root), "thumb/")
    quoted = f"\"'>{TAG}"
    made = [cards.image(quoted, "small", version=quoted, event=quoted, title=quoted), copied(quoted)]
    made += [cards.sample(quoted, "small"), button("words", quoted, title=quoted)]
    assert [Tags(each).wrong for each in made] == [[], [], [], []]
