"""Contours, difference, missing regions and names over the points of both maps; each computed when it is switched on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.models import Plot

from .. import colours, shapes, states
from ..evidence import evidence
from ..latest import Latest
from ..part import Part
from ..states import State
from ..states.looks import KINDS
from .layers import Layers

if TYPE_CHECKING:
    from ..desk import Desk

PLOT = (700, 700)
"""Pixels of a plot of which the browser has not told yet."""


class Overlays(Part):
    """It draws into the scene's figures: `desk.figures`."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.layers: list[Layers] = []
        self.latest = Latest(desk)
        self._shown: dict[int, tuple[str, str]] = {}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"highlight": self._highlight}

    def _follow(self) -> None:
        """Layers for every figure of the scene, which makes the second one when it is asked for."""
        for plot in self.desk.figures[len(self.layers) :]:
            with self.desk.document.models.freeze():  # one pass over all models, not one for each renderer
                self.layers.append(Layers(plot, len(self.layers) + 1))
            for side in ("inner_width", "inner_height"):
                self.desk.on(plot, side, lambda _size: self._resized())

    def draw(self, state: State, before: State | None) -> None:
        self._follow()
        if before is not None and (before.look, before.gap) == (state.look, state.gap):
            return
        for number, mine in self._maps(state):
            colour = colours.generator_colour(self.desk.project, mine.look.generator, mine.look)
            self.layers[number].paint(colours.theme(mine), colour)
            if self._shown.get(number) != (place := (mine.look.view, mine.look.generator)):
                self._shown[number] = place
                self.layers[number].clear()
            for drawing in (self._contours, self._difference, self._gaps, self._names):
                drawing(number, mine)

    def _resized(self) -> None:
        for number, mine in self._maps(self.desk.state):
            self._gaps(number, mine)
            self._names(number, mine)

    def _maps(self, state: State) -> list[tuple[int, State]]:
        """The maps that are there, each with the state of its own generator; gaps are opened on the first."""
        look = state.look
        states_of = [states.looking(state, versus=None)]
        if look.versus is not None:
            states_of.append(states.replace(states.looking(state, generator=look.versus, versus=None), gap=None))
        return list(enumerate(states_of[: len(self.layers)]))

    def _on(self, state: State, name: str, *kinds: str) -> bool:
        """Whether an overlay is wanted and the kinds that it is about are shown."""
        look = state.look
        return name in look.overlays and set(kinds) <= set(look.kinds) and shapes.flat(self.desk.project, look.view)

    def _contours(self, number: int, state: State) -> None:
        look, layers, what = state.look, self.layers[number], (number, "contours")
        if self._on(state, "contours"):
            asked = (self.desk.project, look.view, look.generator, look.solo)
            self.latest.ask(
                what,
                (*asked, look.kinds),
                lambda: {kind: lines for kind, lines in shapes.contours(*asked).items() if kind in look.kinds},
                layers.contours,
            )
        else:
            self.latest.forget(what)
            layers.contours({})

    def _difference(self, number: int, state: State) -> None:
        look, layers, what = state.look, self.layers[number], (number, "difference")
        if self._on(state, "difference", *KINDS):
            asked = (self.desk.project, look.view, look.generator, look.solo, look.theme == "dark")
            self.latest.ask(what, asked, lambda: shapes.difference(*asked), layers.difference)
        else:
            self.latest.forget(what)
            layers.difference(None)

    def _gaps(self, number: int, state: State) -> None:
        look, layers, what = state.look, self.layers[number], (number, "gaps")
        theme, opened = colours.theme(state), state.gap
        if self._on(state, "gaps", "real"):
            project, size = self.desk.project, pixels(self.desk.figures[number])

            def find() -> tuple[tuple[shapes.Outline, ...], tuple[shapes.Number, ...]]:
                drawn = shapes.outlines(project, look.view, look.generator, look.solo)
                return drawn, shapes.numbers(drawn, shapes.view_box(project, look, size), size)

            measured = evidence(project, look.view, look.generator)
            key = (measured, look.view, look.frame, look.solo, look.theme, opened, size)
            self.latest.ask(what, key, find, lambda found: layers.outlines(*found, opened, theme))
        else:
            self.latest.forget(what)
            layers.outlines((), (), None, theme)

    def _names(self, number: int, state: State) -> None:
        look, layers, what = state.look, self.layers[number], (number, "names")
        if self._on(state, "names"):
            project, size = self.desk.project, pixels(self.desk.figures[number])
            key = (look.view, look.generator, look.frame, look.kinds, look.solo, size)
            self.latest.ask(what, key, lambda: shapes.names(project, look, size), layers.names)
        else:
            self.latest.forget(what)
            layers.names(None)

    def _highlight(self, text: str) -> None:
        """Rings around the samples of the class whose row the pointer is on; empty: none."""
        project, state = self.desk.project, self.desk.state
        chosen = int(text) if text.isdecimal() and int(text) < len(project.classes) else None
        nothing = np.empty((0, 2), np.float32)
        self.latest.ask(
            "class",
            (chosen, state.look.view, state.look.generator, state.look.kinds),
            lambda: nothing if chosen is None else shapes.of_class(project, state, chosen),
            self.layers[0].rings,
        )


def pixels(plot: Plot) -> tuple[int, int]:
    """Width and height of what a plot shows."""
    try:
        return int(plot.inner_width) or PLOT[0], int(plot.inner_height) or PLOT[1]
    except UnsetValueError:
        return PLOT
