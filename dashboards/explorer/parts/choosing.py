"""What the map shows: view, generator, a second one beside it, kinds, what colours say, what is drawn over the points."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bokeh.models import CheckboxButtonGroup, Column, Model, Row, Select

from .. import atlases, colours, palettes, shapes, states
from ..part import WIDE, Part, panel
from ..resources import Project
from ..states import State
from ..states.looks import KINDS, OVERLAYS, Look

if TYPE_CHECKING:
    from ..desk import Desk

CHIPS = """.bk-btn-group { display: flex; flex-wrap: wrap; gap: 4px; }
.bk-btn-group .bk-btn { flex: 0 1 auto; border-radius: 5px !important; margin: 0 !important; padding: 2px 8px;
  font-size: 12px; }"""


NARROW = {**WIDE, "styles": {"flex": "0 0 100px"}}
FLAT = ("names", "contours", "difference", "gaps")
"""Overlays of maps of two dimensions alone."""


class Choosing(Part):
    """The head of the left column."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        views = desk.project.views
        chips = {**WIDE, "stylesheets": [*WIDE["stylesheets"], CHIPS]}
        named = [(view, sigma_of(desk.project, view)) for view in views]
        self.view = Select(name="view", title="View (keys [ and ])", options=named, visible=len(views) > 1, **WIDE)
        self.generator = Select(name="generator", title="Generator", **WIDE)
        self.beside = Select(name="beside", title="Beside it", **WIDE)
        self.kinds = CheckboxButtonGroup(name="show", labels=list(KINDS), **WIDE)
        self.colour = Select(name="colour", title="Colour by", **WIDE)
        self.palette = Select(name="palette", title="Palette", options=list(palettes.offered()), **NARROW)
        self.overlays = CheckboxButtonGroup(name="overlays", labels=list(OVERLAYS), **chips)
        self.hint = panel("absent")
        self._listen()
        parts = [
            self.view,
            _pair(self.generator, self.beside),
            self.kinds,
            _pair(self.colour, self.palette),
            self.overlays,
            self.hint,
        ]
        self.column = Column(*parts, name="choosing", sizing_mode="stretch_width", styles={"gap": "9px"})

    def _listen(self) -> None:
        desk = self.desk
        desk.on(self.view, "value", self._choose_view)
        desk.on(self.generator, "value", lambda name: desk.become(states.choose_generator(desk.state, name)))
        desk.on(self.beside, "value", lambda name: desk.become(states.choose_versus(desk.state, name or None)))
        desk.on(self.kinds, "active", lambda active: self._look(kinds=_named(KINDS, active)))
        desk.on(self.colour, "value", lambda name: self._look(colour=name))
        desk.on(self.palette, "value", lambda name: self._look(palette=name))
        desk.on(self.overlays, "active", lambda active: self._look(overlays=_named(OVERLAYS, active)))

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"choosing": self.column}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"view-before": lambda _rest: self._step(-1), "view-next": lambda _rest: self._step(1)}

    def _step(self, by: int) -> None:
        """The view before or after this one, in the order of params.yaml; the ends hold."""
        views = self.desk.project.views
        number = views.index(self.desk.state.look.view) + by
        if 0 <= number < len(views):
            self._choose_view(views[number])

    def _look(self, **changes: object) -> None:
        self.desk.become(states.looking(self.desk.state, **changes))

    def _choose_view(self, view: str) -> None:
        before, there = self.desk.state, self.desk.project.on(view)
        state = states.choose_view(before, view)
        if atlases.aligned(self.desk.project, before.look.view, view):
            state = states.looking(state, frame=before.look.frame)
        if state.look.generator not in there:
            state = states.choose_generator(state, there[-1])
        if state.look.versus not in there:
            state = states.choose_versus(state, None)
        self.desk.become(state)

    def draw(self, state: State, before: State | None) -> None:
        if before is not None and before.look == state.look:
            return
        look, project = state.look, self.desk.project
        there = project.on(look.view)
        self.view.value = look.view
        self.generator.update(options=list(there), value=look.generator)
        others = [("", "none"), *((name, name) for name in there if name != look.generator)]
        self.beside.update(options=others, value=look.versus or "", disabled=len(others) == 1)
        self.kinds.active = [KINDS.index(kind) for kind in look.kinds]
        self.colour.update(options=list(colours.modes(project, look)), value=colours.mode(project, look))
        self.palette.value = look.palette if look.palette in palettes.offered() else palettes.offered()[0]
        self.overlays.active = [OVERLAYS.index(name) for name in look.overlays]
        words = hint(project, look)
        self.hint.update(text=words, visible=bool(words))


def _named(names: tuple[str, ...], active: list[int]) -> tuple[str, ...]:
    return tuple(names[i] for i in sorted(active))


def _pair(*widgets: Model) -> Row:
    return Row(*widgets, sizing_mode="stretch_width", margin=0, styles={"gap": "8px"})


def sigma_of(project: Project, view: str) -> str:
    """A view with its noise level, where it has one."""
    sigmas = ", ".join(f"{sigma:g}" for sigma in project.params.views[view].sigmas)
    return f"{view}, sigma {sigmas}" if sigmas else view


def hint(project: Project, look: Look) -> str:
    """Which generators are not to be seen and why, what is not drawn on a map that turns, and what was not measured."""
    lines = [f"<b>{html.escape(name)}</b> is not here: {html.escape(why)}" for name, why in project.absent.items()]
    if "coverage" not in colours.modes(project, look):
        lines.append(
            f"Nothing was measured of {html.escape(look.generator)} on this view yet: run <code>dvc repro</code>."
        )
    if not shapes.flat(project, look.view):
        lines.append("This map has three dimensions: drag with the right button, or with Alt held, to turn it.")
        if lost := [name for name in look.overlays if name in FLAT]:
            lines.append(f"Not drawn on a map that turns: {', '.join(lost)}.")
    return "".join(f"<p class='note'>{line}</p>" for line in lines)
