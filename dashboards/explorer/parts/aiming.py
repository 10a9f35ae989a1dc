"""Where the next image aims: what that means on the map, neighbours by weight, an aim that can be dragged."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import Column, ColumnDataSource, Model, Row, Scatter, Segment, Select, Spinner

from .. import states
from ..cards import button
from ..colours import NEW
from ..drawing import add
from ..making import Around
from ..part import WIDE, WIDGETS, Part, panel
from ..results import number, numbers
from ..states import State
from ..states.dials import MOST, shares, weighed
from ..wishes import MOST_AIMED, aimed_at, far_end, missing

if TYPE_CHECKING:
    from ..desk import Desk

WORDS = {
    "neighbours": "the neighbours' mean",
    "point": "an empty spot of the map",
    "group": "the lasso group's mean",
    "between": "a row between two samples",
    "gap": "a missing region",
    "free": "nothing (no mask)",
}
SHOWN = 24
"""Samples of an aim that are shown, and that a dragged aim weights."""
STEP = 1.5
"""Factor of one press on + or -."""


class Aiming(Part):
    """The marks `wish` on the map: a cross where the next image aims, lines from the samples that it is the mean of."""

    tab = "generate"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        options = list(WORDS.items())
        self.start = Select(name="start", title="Aim at", options=options, value=options[0][0], **WIDE)
        self.row = Spinner(
            name="row", title="Images in a row", low=2, high=MOST, step=1, width=96, margin=0, stylesheets=[WIDGETS]
        )
        self.panel = panel("aim")
        desk.on(self.start, "value", lambda start: desk.become(states.dialling(desk.state, start=start)))
        desk.on(self.row, "value", self._row)
        beside = Row(self.start, self.row, sizing_mode="stretch_width", margin=0, styles={"gap": "10px"})
        parts = [beside, self.panel]
        self.column = Column(*parts, name="aiming", sizing_mode="stretch_width", styles={"gap": "9px"})
        self._around: dict[tuple[str, tuple[float, ...]], Around] = {}
        self._drawn: tuple | None = None
        self._marks: tuple[ColumnDataSource, ColumnDataSource] | None = None

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"aiming": self.column}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"spot": self._spot, "aim": self._drag, "weigh": self._weigh, "far": self._far, "level": self._level}

    def _row(self, images: float | None) -> None:
        self.desk.become(states.dialling(self.desk.state, row=int(number(images, 2, MOST))), step=False)

    def _spot(self, rest: str) -> None:
        """A tap that hit nothing."""
        if self.desk.state.dials.start == "point" and self.desk.state.look.tab == "generate":
            self.desk.become(states.dialling(self.desk.state, point=numbers(rest, 2)))

    def _drag(self, rest: str) -> None:
        """The aim was dragged: another spot, or other weights of the same samples."""
        state, at = self.desk.state, numbers(rest, 2)
        if state.dials.start == "point":
            self.desk.become(states.dialling(state, point=at))
        elif len(ids := aimed_at(state)) in range(2, SHOWN + 1) and state.dials.start != "between":
            view = state.look.view
            self.desk.ask(lambda: self.desk.studio.weighted(view, ids, at), self._weighted)

    def _weighted(self, weights: tuple[tuple[str, float], ...]) -> None:
        self.desk.become(states.dialling(self.desk.state, weights=weights))

    def _weigh(self, rest: str) -> None:
        sample_id, _, way = rest.rpartition(" ")
        dials = self.desk.state.dials
        weights = weighed(dials, self.desk.checked(sample_id), STEP if way == "up" else 1 / STEP)
        self.desk.become(states.dialling(self.desk.state, weights=weights))

    def _level(self, _rest: str) -> None:
        self.desk.become(states.dialling(self.desk.state, weights=()))

    def _far(self, sample_id: str) -> None:
        self.desk.become(states.dialling(self.desk.state, other=self.desk.checked(sample_id)))

    # Drawing

    def draw(self, state: State, before: State | None) -> None:
        key = (state.picks, state.dials, state.gap, state.look.view, state.look.generator, state.look.tab)
        if before is not None and key == self._drawn:
            return
        self._drawn = key
        self.start.value, self.row.value = state.dials.start, state.dials.row
        self.row.visible = state.dials.start == "between"
        self.panel.text = self.text(state)
        self._mark(state)

    def text(self, state: State) -> str:
        start = state.dials.start
        if start == "free":
            return "<p class='note'>The generator alone: class, seed and sampler. Nothing is held, nothing is aimed at.</p>"
        if what := missing(state):
            return f"<p class='hint'>{html.escape(what)}</p>"
        if start == "point":
            return self._point_text(state)
        if start == "between":
            return self._between_text(state)
        if start == "gap":
            return self._gap_text(state)
        return self._samples_text(state)

    def _samples_text(self, state: State) -> str:
        ids = aimed_at(state)
        if len(ids) == 1:
            words = "Its own mask values are held. Click more points to aim at the mean of several."
            return f"<div class='weights'>{self._sample(ids[0])}</div><p class='note'>{words}</p>"
        many = len(ids) > SHOWN
        cells = "".join(
            f"<span>{self._sample(name)}<b>{share:.0%}</b>{'' if many else self._steppers(name)}</span>"
            for name, share in zip(ids[:SHOWN], shares(state.dials, ids), strict=False)
        )
        more = f"<p class='note'>and {len(ids) - SHOWN} more, all alike</p>" if many else ""
        words = "" if many else "Drag the green cross on the map, or press + and −, to weight them. "
        level = button("All alike", "level") if state.dials.weights else ""
        return f"<div class='weights'>{cells}</div>{more}<p class='note'>{words}{level}</p>"

    def _steppers(self, name: str) -> str:
        pressed = [("−", "down", "less of"), ("+", "up", "more of")]
        return f"<i>{''.join(button(sign, f'weigh {name} {way}', title=f'{w} {name}') for sign, way, w in pressed)}</i>"

    def _sample(self, sample_id: str, event: str = "") -> str:
        cards = self.desk.cards
        return cards.sample(sample_id, "small", event=event, title=f"{sample_id}, {self._class(sample_id)}")

    def _class(self, sample_id: str) -> str:
        label = self.desk.studio.label(sample_id)
        return "no class" if label is None else self.desk.cards.class_name(label)

    def _between_text(self, state: State) -> str:
        first, last = state.picks.selected, far_end(state)
        if first is None or last is None:
            return ""
        others = [name for name in state.picks.neighbours[:SHOWN] if name != last]
        choose = "".join(self._sample(name, event=f"far {name}") for name in others)
        rest = f"<h3>another end</h3><div class='weights'>{choose}</div>" if choose else ""
        words = f"{state.dials.row} images in equal steps of the mask values, from the one to the other."
        ends = f"<div class='ends'>{self._sample(first)}<b>⟶</b>{self._sample(last)}</div>"
        return f"{ends}<p class='note'>{words}</p>{rest}"

    def _gap_text(self, state: State) -> str:
        gap = next((gap for gap in self.desk.evidence.gaps if gap.rank == state.gap), None)
        if gap is None:
            return "<p class='hint'>That region is not there for this generator. Open one in the tab Gaps.</p>"
        cells = "".join(self._sample(name) for name in gap.ids[:6])
        words = f"Region {gap.rank + 1}: {len(gap.ids)} real images. Each image aims at some of them, with their class."
        return f"<div class='weights'>{cells}</div><p class='note'>{words}</p>"

    def _point_text(self, state: State) -> str:
        view, point = state.look.view, state.dials.point
        if point is None:
            return ""
        where = f"At ({point[0]:.2f}, {point[1]:.2f})"
        around = self._around.get((view, point))
        if around is None:
            if state.look.tab == "generate":  # reads the fitted map
                self.desk.ask(
                    lambda: self.desk.studio.around(view, point), lambda found: self._found(view, point, found)
                )
            return f"<p class='note'>{where}: looking for the real samples around it.</p>"
        cells = "".join(
            f"<span>{self._sample(name)}<b>{share:.0%}</b></span>"
            for name, share in zip(around.ids, around.weights, strict=True)
        )
        far = (
            "<p class='warn'>This spot lies off the data: what is made for it is a guess.</p>"
            if around.extrapolates
            else ""
        )
        return f"<div class='weights'>{cells}</div><p class='note'>{where}: the mean of the nearest real ones.</p>{far}"

    def _found(self, view: str, point: tuple[float, ...], around: Around) -> None:
        self._around = {**dict(list(self._around.items())[-50:]), (view, point): around}
        self.draw(self.desk.state, None)

    # On the map

    def place(self, state: State) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the aim is, and the samples that it is the mean of; None where there is no single one."""
        view, dials, ids = state.look.view, state.dials, aimed_at(state)
        if dials.start == "point" and dials.point is not None:
            return np.array([dials.point[:2]]), np.empty((0, 2))
        if dials.start not in ("neighbours", "group") or not 0 < len(ids) <= MOST_AIMED:
            return None
        there = [
            (place[:2], share)
            for name, share in self._shares(state, ids)
            if (place := self.desk.studio.place(view, name))
        ]
        if not there:
            return None
        places, weights = np.array([place for place, _ in there]), np.array([share for _, share in there])
        total = weights.sum()
        mean = np.average(places, axis=0, weights=weights if total else None)[None]
        return mean, places[:SHOWN] if len(ids) > 1 else np.empty((0, 2))

    @staticmethod
    def _shares(state: State, ids: tuple[str, ...]) -> list[tuple[str, float]]:
        return list(zip(ids, shares(state.dials, ids), strict=True))

    def _mark(self, state: State) -> None:
        if self._marks is None:
            self._marks = self._renderers()
        if self._marks is None:
            return
        aim, lines = self._marks
        flat = state.look.view not in self.desk.project.real.depths
        found = self.place(state) if flat and state.look.tab == "generate" else None
        mean, places = found if found is not None else (np.empty((0, 2)), np.empty((0, 2)))
        put(aim, x=mean[:, 0], y=mean[:, 1])
        ends = np.repeat(mean, len(places), axis=0)
        put(lines, x=places[:, 0], y=places[:, 1], x1=ends[:, 0], y1=ends[:, 1])

    def _renderers(self) -> tuple[ColumnDataSource, ColumnDataSource] | None:
        figure = map_of(self.desk)
        if figure is None:
            return None
        aim, lines = (ColumnDataSource({name: [] for name in names}) for names in (("x", "y"), ("x", "y", "x1", "y1")))
        line = Segment(x0="x", y0="y", x1="x1", y1="y1", line_color=NEW, line_alpha=0.55)
        white: dict[str, Any] = dict(fill_color="white", fill_alpha=0.75)
        cross = Scatter(x="x", y="y", marker=value("circle_cross"), size=20, line_color=NEW, line_width=2, **white)
        add(figure, "lines wish", line, lines, level="overlay")
        add(figure, "marks wish", cross, aim, level="overlay")
        return aim, lines


def put(source: ColumnDataSource, **columns: np.ndarray) -> None:
    """New data for a source; nothing travels where nothing changes."""
    if any(not np.array_equal(source.data[name], values) for name, values in columns.items()):
        source.data = {name: np.asarray(values, np.float32) for name, values in columns.items()}


def map_of(desk: Desk) -> Any:
    """The figure of the map, None where a page has none."""
    return next(iter(desk.figures), None)
