"""What is drawn follows the images: colours of the classes that are there, pixels or smooth pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from dashboards.explorer import views
from dashboards.explorer.resources import load


def test_a_palette_has_a_colour_per_class_and_neighbours_share_one_only_beyond_256() -> None:
    assert len(set(views.palette(10))) == 10
    assert len(set(views.palette(256))) == 256
    many = views.palette(1000)
    assert (len(many), len(set(many))) == (1000, 256)
    assert many[0] != many[-1]


def test_classes_without_images_take_no_colour_from_the_others_and_no_line_of_the_legend(project_root: Path) -> None:
    project = load(project_root)
    many = replace(project, classes=(*project.classes, *(f"class of nobody {i}" for i in range(990))))
    colours = views.class_colours(many)
    assert colours[:10] == views.class_colours(project)
    assert set(colours[10:]) == {views.REAL}
    legend = views.Cards(many, "").legend(SimpleNamespace(generator="student"))
    assert "nobody" not in legend
    assert "more classes" not in legend


def test_long_class_names_have_a_line_of_their_own_with_their_counts(project_root: Path) -> None:
    project = load(project_root)
    long = replace(project, classes=("American alligator", *project.classes[1:]))
    state = SimpleNamespace(generator="student")
    assert "legend wide" in views.Cards(long, "").legend(state)
    assert "legend wide" not in views.Cards(project, "").legend(state)
    fake, real = (np.bincount(side.labels)[0] for side in (project.generators["student"], project.real))
    assert f"<b>American alligator</b> {fake} / {real}" in views.Cards(long, "").legend(state)


def test_eight_pixels_stay_pixels_and_sixty_four_are_enlarged_smoothly(project_root: Path) -> None:
    project = load(project_root)
    assert not views.fine(project)
    assert 'class="large"' in views.Cards(project, "").image("real/1", "large")
    manifest = {"arrays": {"images": {"shape": [3, 64, 64]}}}
    large = replace(project.generators["student"], images=SimpleNamespace(manifest=manifest))
    photos = replace(project, generators={"student": large})
    assert views.fine(photos)
    assert 'class="large fine"' in views.Cards(photos, "").image("real/1", "large")


def test_what_a_mask_was_measured_to_control_is_quoted_for_these_layers_alone() -> None:
    table = pd.DataFrame(
        {
            "source": ["recorded", "nearest", "recorded"],
            "layers": ["encoder_bottleneck", "encoder_bottleneck", "encoder_bottleneck midblock"],
            "control": [0.71, 0.74, 0.5],
            "diversity": [0.61, 0.62, 0.3],
        }
    )
    words = views.held_words(["encoder_bottleneck"], table)
    assert "without a mask: 0.71 at diversity 0.61 with generated neighbours, 0.74" in words
    assert "0.50" not in words
    assert "diversity" not in views.held_words(["encoder_block_1"], table)
    assert "diversity" not in views.held_words(["encoder_bottleneck"], table.iloc[:0])
