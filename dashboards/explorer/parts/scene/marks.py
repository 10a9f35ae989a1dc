"""What is picked and made, drawn over the points: a small source for each kind, on one map or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import GlyphRenderer

from modescope.making import Kept

from ...resources import Project
from ...states import State
from .canvas import Canvas, columns, put

LINKED = ("found", "manual", "selected")
"""Marks that both maps show."""


class Marks:
    def __init__(self, canvas: Canvas, project: Project) -> None:
        self.project = project
        self.links = canvas.links()
        self.aims = canvas.marks("aims", marker="x", size=12, line_width=2.5)
        ring: dict[str, Any] = dict(marker="circle", fill_alpha=0)
        self.found = canvas.marks("found", size=14, line_width=1.5, **ring)
        self.manual = canvas.marks("manual", size=15, line_width=4, **ring)
        self.made = canvas.marks("made", "size", "label", "id", marker="star", size="size", line_width=1)
        self.selected = canvas.marks("selected", marker="circle", size=13, line_width=2)

    def linked(self) -> dict[str, GlyphRenderer]:
        return {what: getattr(self, what) for what in LINKED}

    def paint(self, theme: Mapping[str, str]) -> None:
        self.links.glyph.update(line_color=theme["new"])
        self.aims.glyph.update(line_color=theme["new"])
        for ring in (self.found, self.manual):
            ring.glyph.update(line_color=theme["ring"])
        for filled, colour in ((self.made, theme["new"]), (self.selected, theme["selected"])):
            filled.glyph.update(fill_color=colour, line_color=theme["halo"])

    def show_picks(self, state: State) -> None:
        picked = state.picks
        one = () if picked.selected is None else (picked.selected,)
        for marks, ids in ((self.selected, one), (self.found, picked.found), (self.manual, picked.manual)):
            put(marks, **columns(self.project.places(state.look.view, ids)))

    def show_made(self, state: State, history: Sequence[Kept]) -> None:
        """A star where each image landed; for the one on display also its aim and the line between."""
        width = 3 if state.look.view in self.project.real.depths else 2
        landed = [kept for kept in history if kept.landed]
        put(
            self.made,
            **columns(_stacked([kept.landed for kept in landed], width)),
            size=np.array([24 if kept.id == state.shown else 13 for kept in landed], np.float32),
            label=np.array([kept.recipe.label or 0 for kept in landed], np.int32),
            id=[kept.id for kept in landed],
        )
        shown = [kept for kept in landed if kept.id == state.shown and kept.recipe.aim.place]
        aim, end = (
            _stacked(places, width) for places in ([k.recipe.aim.place for k in shown], [k.landed for k in shown])
        )
        put(self.aims, **columns(aim))
        if width == 2:  # a line between two turned places is not worth its code
            put(self.links, **columns(aim), x1=end[:, 0].copy(), y1=end[:, 1].copy())


def _stacked(places: Sequence[tuple[float, ...] | None], width: int) -> np.ndarray:
    return np.array([place[:width] for place in places if place], np.float32).reshape(-1, width)
