"""The part of the page that the map is: draws a state, and hears what is done on the map."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import CustomJS, Model, Row, TextInput

from modescope.atlas import Box

from ... import atlases, colours, states
from ...cards import fine
from ...part import Part
from ...resources import Side
from ...states import State, picks
from . import detail, hovering, regions
from .canvas import Canvas, ranges
from .marks import Marks
from .newest import Newest
from .painting import Drawn, Painter, View, Window, drawn, looks, moving, show

if TYPE_CHECKING:
    from ...desk import Desk

LARGEST = 10_000
"""Pixels of a window that is believed."""
TOLD = ("frame", "about", "near")
"""What the page is told besides data: what to show, facts of a sample, the point that it asked for."""


class Scene(Part):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.project, view = desk.project, desk.state.look.view
        self.window = Window(box=atlases.whole(self.project, view), width=900, height=700).fitted()
        self._axes = ranges(self.window.box)
        self.canvases: list[Canvas] = []
        self.canvas = self._map(view)
        self.marks = Marks(self.canvas, self.project)
        self.painter, self._facts = Painter(desk), Newest(desk)
        self.row = Row(self.canvas.figure, name="maps", sizing_mode="stretch_both", spacing=6)
        self._answers = {what: TextInput(name=f"scene {what}", visible=False) for what in TOLD}
        for what, each in self._answers.items():
            each.js_on_change("value", CustomJS(code=f"window.explorer.map.hear({what!r}, cb_obj.value)"))
        self._count = 0
        self._frame: tuple[float, float, float, float] | None = None
        self._members: tuple[tuple[str, ...], regions.Members] = ((), {})
        self._ready: tuple[tuple[Any, ...], Drawn] | None = None

    def _map(self, view: str) -> Canvas:
        """One map more: the second is made when it is asked for."""
        canvas = Canvas(len(self.canvases) + 1, self._axes, self._config(view))
        self.canvases.append(canvas)
        self.desk.figures.append(canvas.figure)
        return canvas

    def _config(self, view: str) -> dict[str, Any]:
        """What map.js knows of the map from the beginning."""
        centre = atlases.centre(self.project, view) if view in self.project.real.depths else None
        names = [self.desk.cards.class_name(label) for label in range(len(self.project.classes))]
        return {"classes": names, "fine": fine(self.project), "centre": centre}

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"maps": self.row}

    @property
    def told(self) -> Sequence[Model]:
        return tuple(self._answers.values())

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "click": self._click,
            "pick": self._pick,
            "near": self._near,
            "where": self._where,
            "about": self._about,
            "view": self._view,
            "whole": lambda _rest: self._whole(),
            "region": self._region,
        }

    # Drawing

    def draw(self, state: State, before: State | None) -> None:
        look = state.look
        self._arrange(state)
        if before is None or before.look.theme != look.theme:
            self._paint(state)
        if before is not None and before.look.view != look.view:
            for canvas in self.canvases:
                canvas.figure.tags = [self._config(look.view)]
        if before is None or look.frame != self._frame or before.look.view != look.view:
            self._move(state)
        if before is None or looks(before) != looks(state):
            self._refresh(state, at_once=before is None)
        self.marks.show_picks(state)
        history = self.desk.studio.history(look.view, look.generator)
        self.marks.show_made(state, [k for k in history if self.desk.studio.fits(k) and k.id not in state.hidden])

    def _paint(self, state: State) -> None:
        self.marks.paint(colours.theme(state))
        for canvas in self.canvases[1:]:
            canvas.share(self.marks.linked())
        for canvas in self.canvases:
            canvas.paint(colours.theme(state))

    def _arrange(self, state: State) -> None:
        """The second map comes and goes."""
        look = state.look
        if look.versus and len(self.canvases) == 1:
            self._map(look.view)
            self._paint(state)
        figures = self.desk.figures[: 2 if look.versus else 1]
        if self.row.children != figures:
            self.row.children = list(figures)
        titles = (look.generator, look.versus) if look.versus else ("", "")
        for canvas, words in zip(self.canvases, titles, strict=False):
            canvas.figure.title.update(text=words, visible=bool(words))  # an empty one would keep its room

    def _move(self, state: State) -> None:
        """The page is told what to show; it answers with event `view` once it does."""
        self._frame = frame = state.look.frame
        whole = atlases.whole(self.project, state.look.view)
        box = whole if frame is None else Box(left=frame[0], right=frame[1], bottom=frame[2], top=frame[3])
        self.window = replace(self.window, box=box).fitted()
        self._tell("frame", {"box": [box.left, box.right, box.bottom, box.top]})

    def _tell(self, what: str, answer: Mapping[str, Any]) -> None:
        self._count += 1
        self.set(self._answers[what], value=json.dumps({"count": self._count, **answer}))

    def _views(self, state: State) -> list[View]:
        """What each figure shows."""
        states_of = [state, detail.beside(state)] if state.look.versus else [state]
        views = []
        for canvas, each in zip(self.canvases, states_of, strict=False):
            sides = {"real": self.project.real, "generated": self.project.generators[each.look.generator]}
            here = {
                kind: side for kind, side in sides.items() if kind in each.look.kinds and each.look.view in side.points
            }
            views.append(View(canvas=canvas, state=each, sides=here))
        return views

    def _refresh(self, state: State, *, at_once: bool) -> None:
        if self._ready is not None and self._ready[0] == self._place(state):
            show(self._ready[1])
        else:
            self.painter.refresh(self._views(state), self.window, self._group(state), at_once=at_once)

    def _place(self, state: State) -> tuple[Any, ...]:
        """What pictures depend on, but for the group."""
        return detail.bare(state), "images" in state.look.overlays, state.look.versus, self.window

    def _group(self, state: State) -> regions.Members | None:
        """Members of the group by side, the true ones also where the group names only some."""
        group = state.picks.group
        if not group:
            return None
        if self._members[0] is not group:
            self._members = group, regions.members_of({side.name: side for side in self.desk.sides}, group)
        return self._members[1]

    # What is done on the map

    def _click(self, sample_id: str) -> None:
        """A point of the map was hit: a made image is shown, others are picked."""
        state, name = self.desk.state, self.desk.checked(sample_id)
        if states.origin(name) == "made":
            self.desk.become(states.replace(state, shown=name))
        else:
            self.desk.become(states.replace(state, picks=picks.click(state.picks, name)))

    def _pick(self, rest: str) -> None:
        """A tap where not every point is a marker."""
        if (hit := self._hit(hovering.numbers(rest, 4))) is not None:
            self._click(hit[0].id(hit[1]))

    def _hit(self, asked: list[float]) -> tuple[Side, int] | None:
        number, x, y, reach = asked
        views = self._views(self.desk.state)
        shown = views[-1 if number > 1 else 0].sides
        return hovering.near(self.desk, list(shown.values()), x, y, reach)

    def _near(self, rest: str) -> None:
        asked = hovering.numbers(rest, 5)
        hit = self._hit(asked[1:])
        self._answer(int(asked[0]), hit)

    def _where(self, sample_id: str) -> None:
        """An image beside the map is under the cursor, and its point is not among the markers."""
        side = self.project.side(sample_id)
        row = None if side is None else side.row_of(sample_id)
        self._answer(-1, None if side is None or row is None else (side, row))

    def _answer(self, number: int, hit: tuple[Side, int] | None) -> None:
        view = self.desk.state.look.view
        found = None if hit is None or view not in hit[0].points else hovering.described(self.project, view, *hit)
        self._tell("near", {"number": number, "hit": found})

    def _about(self, sample_id: str) -> None:
        name = self.desk.checked(sample_id)
        self._facts.ask(lambda: hovering.about(self.desk, name), lambda told: self._tell("about", told))

    def _whole(self) -> None:
        state = states.looking(self.desk.state, frame=None)
        self._frame = (0, 0, 0, 0)  # told again also where the state had no frame
        self.desk.become(state, step=False)

    def _view(self, rest: str) -> None:
        """What is in view now, in pixels; whether a GPU draws it; whether the visitor moved the map (1), or we did (0)."""
        left, right, bottom, top, width, height, gpu, moved = hovering.numbers(rest, 8)
        box = Box(left=left, right=right, bottom=bottom, top=top)
        if not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
            raise ValueError(f"the page reported a map of {width:g} by {height:g} pixels; load the page again")
        before, self.window = self.window, Window(box=box, width=int(width), height=int(height), gpu=bool(gpu))
        if moved:
            self._frame = (left, right, bottom, top)
            self.desk.become(states.looking(self.desk.state, frame=self._frame), step=False)
        if before.gpu != self.window.gpu or moving(self._views(self.desk.state), self.window.budget):
            self._refresh(self.desk.state, at_once=False)

    def _region(self, rest: str) -> None:
        mode, region = regions.parsed(rest)
        state, sides = self.desk.state, {side.name: side for side in self.desk.sides}
        before = self._group(state) or {}
        views, window, place = self._views(state), self.window, self._place(state)

        def job() -> tuple[regions.Members, tuple[str, ...], Drawn]:
            keeps = {name: colours.kept(state, side) for name, side in sides.items()}
            view = state.look.view
            now = {n: regions.caught(self.project, view, side, region, keeps[n]) for n, side in sides.items()}
            members = regions.combined(before, now, mode)
            pictures = drawn(self.project, views, window, members if any(map(np.any, members.values())) else None)
            return members, regions.named(sides, members), pictures

        self.desk.ask(job, lambda found: self._grouped(*found, place))

    def _grouped(
        self, members: regions.Members, group: tuple[str, ...], pictures: Drawn, place: tuple[Any, ...]
    ) -> None:
        """The pictures come with the group, so that the map does not wait for the images in the panel."""
        self._members, self._ready = (group, members), (place, pictures)
        caught = sum(int(inside.sum()) for inside in members.values())
        try:
            self.desk.become(states.picking(self.desk.state, group=group, caught=caught))
        finally:
            self._ready = None
