"""Marks by kind, the key of the colours, and the classes with their counts: searched, shown alone, zoomed to.

The list of classes is drawn in the browser (templates/legend.js) from two short messages, so that a thousand of them cost
nothing while one searches, and a new selection sends its own counts alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import CustomJS, Model, TextInput

from .. import colours, states, superclasses
from ..evidence import evidence
from ..latest import Latest
from ..part import Part, panel
from ..resources import Project, Side
from ..states import State
from ..states.looks import Look
from . import keys

if TYPE_CHECKING:
    from ..desk import Desk

EDGE = 0.02
"""Share of a class's samples beyond each side of the box that is zoomed to."""


class Legend(Part):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.key = panel("legend")
        self.rows, self.marks = (TextInput(name=name, visible=False) for name in ("class rows", "class marks"))
        for told, hears in ((self.rows, "rows"), (self.marks, "marks")):
            told.js_on_change("value", CustomJS(code=f"window.explorer.classes.{hears}(cb_obj.value)"))
        self._counts: dict[str, list[int]] = {}
        self.latest = Latest(desk)

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"legend": self.key}

    @property
    def told(self) -> Sequence[Model]:
        return self.rows, self.marks

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "solo": lambda rest: self._solo((self._class(rest),)),
            "solo-add": self._add,
            "solo-group": self._group,
            "solo-all": lambda _rest: self._solo(()),
            "zoom": self._zoom,
        }

    def _class(self, text: str) -> int:
        if not text.isdecimal() or int(text) not in colours.present(self.desk.project):
            raise ValueError(f"the page named class {text[:20]!r}, which has no image here; load the page again")
        return int(text)

    def _solo(self, classes: tuple[int, ...]) -> None:
        """A class alone; once more: all."""
        state = self.desk.state
        self.desk.become(states.looking(state, solo=() if classes == state.look.solo else classes))

    def _group(self, text: str) -> None:
        """A superclass alone; once more: all."""
        there = set(colours.present(self.desk.project))
        chosen = superclasses.members(self.desk.project, int(text) if text.isdecimal() else -1)
        self._solo(tuple(c for c in chosen if c in there))

    def _add(self, text: str) -> None:
        """One more of those shown, or one less."""
        chosen, solo = self._class(text), self.desk.state.look.solo
        self._solo(tuple(sorted(set(solo) ^ {chosen})))

    def _zoom(self, text: str) -> None:
        chosen, look = self._class(text), self.desk.state.look
        found = frame(self.desk.sides or [self.desk.project.real], look.view, chosen)
        if found is not None:
            self.desk.become(states.looking(self.desk.state, frame=found), step=False)

    def draw(self, state: State, before: State | None) -> None:
        project, group, look = self.desk.project, state.picks.group, state.look
        stamps = [evidence(project, look.view, name) for name in (look.generator, look.versus) if name]
        solo = look.solo if colours.mode(project, look) == "superclass" else ()  # the others say nothing of it
        self.latest.ask(
            "key",
            (states.replace(look, frame=None, tab="select", solo=solo), *stamps),
            lambda: (keys.text(project, state), rows(project, look)),
            self._show,
        )
        sides = columns(project, look)
        self.latest.ask("group", (group, *sides), lambda: members(group, sides), self._count)
        self._mark(state)

    def _show(self, told: tuple[str, str]) -> None:
        self.key.text, self.rows.value = told

    def _count(self, counts: dict[str, list[int]]) -> None:
        self._counts = counts
        self._mark(self.desk.state)

    def _mark(self, state: State) -> None:
        self.marks.value = json.dumps({"solo": state.look.solo, "counts": self._counts})


def columns(project: Project, look: Look) -> list[Side]:
    """Whose samples are counted: generated, real, those of the generator beside."""
    names = [look.generator, *([look.versus] if look.versus else [])]
    first, *others = (project.generators[name] for name in names)
    return [first, project.real, *others]


def rows(project: Project, look: Look) -> str:
    """Columns by name, and for each class that has images: number, name, colour, samples in each column."""
    counts = [totals(side, len(project.classes)) for side in columns(project, look)]
    by_class = colours.mode(project, look) in keys.BY_CLASS
    shades = colours.class_colours(project, look) if by_class else None
    there = sorted(c for c in colours.present(project) if any(count[c] for count in counts))
    if colours.mode(project, look) == "top classes":
        there = [c for c in colours.present(project) if c in set(there)]
    message: dict[str, Any] = {
        "sign": keys.CIRCLE if look.kinds == ("real",) else keys.TRIANGLE,
        "columns": [look.generator, "real", look.versus] if look.versus else ["generated", "real"],
        "rows": [
            [c, project.classes[c], shades[c] if shades else None, *(int(count[c]) for count in counts)] for c in there
        ],
    }
    return json.dumps(message, separators=(",", ":"))


@lru_cache(maxsize=32)
def totals(side: Side, classes: int) -> np.ndarray:
    return np.bincount(side.labels, minlength=classes)


def members(group: tuple[str, ...], sides: list[Side]) -> dict[str, list[int]]:
    """Class => samples of a group in each column, for classes that have any."""
    if not group:
        return {}
    found = [side.rows_of(group) for side in sides]
    labels = [side.labels[rows[rows >= 0]] for side, rows in zip(sides, found, strict=True)]
    there = np.unique(np.concatenate(labels)).tolist()
    return {str(c): [int((each == c).sum()) for each in labels] for c in there}


def frame(sides: list[Side], view: str, label: int) -> tuple[float, float, float, float] | None:
    """Lowest and highest x, lowest and highest y of all but a few samples of a class, with a margin; None if it has none."""
    places = np.concatenate([side.points[view][side.labels == label] for side in sides])
    if not len(places):
        return None
    low, high = np.quantile(places, (EDGE, 1 - EDGE), axis=0)
    room = max(0.15 * float((high - low).max()), 1e-3)
    (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()
    return left, right, bottom, top
