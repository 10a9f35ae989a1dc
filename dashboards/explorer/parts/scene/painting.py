"""Has the sides of the maps drawn: small ones at once, large ones away from the event loop, the newest view first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from modescope.atlas import Box, Frame

from ...cards import fine
from ...resources import Project, Side
from ...states import State
from . import detail
from .canvas import Canvas
from .detail import GPU, PLAIN, Budget, Picture, Thumbnails
from .hovering import words
from .newest import Newest
from .regions import Members

if TYPE_CHECKING:
    from ...desk import Desk

AT_ONCE = 20_000
"""Points that are drawn without leaving the event loop."""
ROOM = 0.15
"""An image of the map reaches so much further than the view, so that a pan does not come to its edge at once."""
CELLS = 640
"""Pixels of that image across the view."""
THUMBNAIL = {False: 30, True: 60}
"""Pixels of an image on the map and the room around it: small ones, and those with detail."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """What one figure shows: kind => side, and the state in which its colours are."""

    canvas: Canvas
    state: State
    sides: Mapping[str, Side]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is in view, in so many pixels, and whether a GPU draws it."""

    box: Box
    width: int
    height: int
    gpu: bool = False

    def fitted(self) -> Window:
        """With square units, the whole box in view."""
        unit = max(self.box.width / self.width, self.box.height / self.height)
        across, up = unit * self.width / 2, unit * self.height / 2
        x, y = (self.box.left + self.box.right) / 2, (self.box.bottom + self.box.top) / 2
        box = Box(left=x - across, right=x + across, bottom=y - up, top=y + up)
        return replace(self, box=box)

    @property
    def budget(self) -> Budget:
        return GPU if self.gpu else PLAIN

    @property
    def frame(self) -> Frame:
        """Pixels of an image of it, with room to pan."""
        share = min(1.0, CELLS / self.width) * (1 + 2 * ROOM)
        width, height = max(1, round(share * self.width)), max(1, round(share * self.height))
        return Frame(box=self.box.enlarged(ROOM), width=width, height=height)


Drawn = list[tuple[View, dict[str, Picture], Thumbnails]]


def drawn(project: Project, views: Sequence[View], window: Window, members: Members | None) -> Drawn:
    """Pictures of every side, and the images on the map where they are asked for."""
    unit = window.box.width / window.width
    size = unit * THUMBNAIL[fine(project)]
    out: Drawn = []
    for view in views:
        sides = tuple(view.sides.values())
        simple = detail.raw(sides, window.budget)
        pictures = {
            kind: detail.picture(
                project,
                view.state,
                side,
                None if side.name in simple else window.frame,
                window.budget,
                None if members is None else members.get(side.name, np.zeros(len(side), bool)),
            )
            for kind, side in view.sides.items()
        }
        wanted = "images" in view.state.look.overlays and sides
        images = detail.thumbnails(project, view.state, sides, window.box, (size, size)) if wanted else Thumbnails()
        out.append((view, pictures, images))
    return out


class Painter:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._newest = Newest(desk)

    def refresh(self, views: Sequence[View], window: Window, members: Members | None, *, at_once: bool) -> None:
        def job() -> Drawn:
            return drawn(self.desk.project, views, window, members)

        key = looks(self.desk.state)
        if at_once or sum(len(side) for view in views for side in view.sides.values()) <= AT_ONCE:
            show(job())
        else:
            self._newest.ask(job, lambda done: show(done) if looks(self.desk.state) == key else None)


def looks(state: State) -> tuple[Any, ...]:
    """What pictures depend on but for the window. The group counts by identity: thousands of ids are not compared."""
    return detail.bare(state), "images" in state.look.overlays, id(state.picks.group)


def moving(views: Sequence[View], budget: Budget) -> bool:
    """Whether a picture depends on the window."""
    sides = [tuple(view.sides.values()) for view in views]
    simple = all(len(detail.raw(each, budget)) == len(each) for each in sides)
    return not simple or any("images" in view.state.look.overlays for view in views)


def show(done: Drawn) -> None:
    for view, pictures, images in done:
        for kind in ("real", "generated"):
            side = view.sides.get(kind)
            view.canvas.show(kind, view.state.look.view, pictures.get(kind), words(side) if side else "")
        view.canvas.thumbnails(view.state.look.view, images)
