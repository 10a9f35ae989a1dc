"""Several samples side by side: class, nearest of the other kind, distances between them, neighbours that they share."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from bokeh.models import Model

from .. import states
from ..about import About, about, distances
from ..cards import button
from ..latest import Latest
from ..making import Studio
from ..part import Part, panel
from ..resources import Side
from ..states import State

if TYPE_CHECKING:
    from ..desk import Desk

MOST = 8
"""Samples in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`apart`: distance in features to the first of the table; `shared`: of the k nearest, those that are also the
    first's."""

    told: About
    apart: float
    shared: int


def compared(
    studio: Studio, view: str, generator: str, ids: tuple[str, ...], sides: list[Side], k: int, space: str
) -> list[Line]:
    """Reads features: not for the event loop."""
    near = [set(studio.nearest(view, name, sides, k, space)) if sides else set() for name in ids]
    apart = (0.0, *distances(studio, view, ids[0], ids[1:], "features"))
    return [
        Line(told=about(studio, view, generator, name), apart=far, shared=len(near[0] & mine))
        for name, far, mine in zip(ids, apart, near, strict=True)
    ]


class Table(Part):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("table")
        self._late = Latest(desk)

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"table": self.panel}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"tabled": self._add, "untabled": self._drop}

    def _add(self, sample_id: str) -> None:
        name, state = self.desk.checked(sample_id), self.desk.state
        if name in state.picks.table:
            return
        if len(state.picks.table) >= MOST:
            raise ValueError(f"the table holds {MOST} samples already; take one out first")
        self.desk.become(states.picking(state, table=(*state.picks.table, name)))

    def _drop(self, sample_id: str) -> None:
        state = self.desk.state
        kept = tuple(name for name in state.picks.table if name != sample_id) if sample_id else ()
        self.desk.become(states.picking(state, table=kept))

    def draw(self, state: State, before: State | None) -> None:
        chosen, look = state.picks, state.look
        sides, studio = self.desk.sides, self.desk.studio
        if not chosen.table:
            self._late.forget("table")
            self.panel.text = ""
            return
        ids, k, space = chosen.table, chosen.k, chosen.space
        key = (ids, look.view, look.generator, tuple(side.name for side in sides), k, space)
        job = functools.partial(compared, studio, look.view, look.generator, ids, sides, k, space)
        self._late.ask("table", key, job, self._show)

    def _show(self, lines: list[Line]) -> None:
        k = self.desk.state.picks.k
        rows = "".join(self._row(line, first=not i) for i, line in enumerate(lines))
        cross = "<button class='cross' data-event='untabled' title='Empty the table' aria-label='Empty the table'>✕</button>"
        self.panel.text = (
            f"<h2>Compared <span class='count'>{len(lines)}</span>{cross}</h2>"
            "<table><tr><th></th><th>class</th><th title='distance in features to the nearest of the other kind'>nearest</th>"
            "<th title='distance in features to the first of the table'>to first</th>"
            f"<th title='of the {k} nearest, those that the first has too'>shared</th><th></th></tr>{rows}</table>"
            f"<p>{' '.join(button(kind, f'take {kind} table') for kind in ('csv', 'parquet'))}</p>"
        )

    def _row(self, line: Line, *, first: bool) -> str:
        told, cards = line.told, self.desk.cards
        words = "" if told.label is None else html.escape(cards.class_name(told.label).removeprefix("class "))
        nearest = told.nearest_fake or told.nearest_real
        image = cards.sample(told.id, "tiny", event=f"select {told.id}", title=f"{told.id}: click to select it")
        far = "" if first or not np.isfinite(line.apart) else f"{line.apart:.3g}"
        shared = "" if first else f"{line.shared} of {self.desk.state.picks.k}"
        return (
            f"<tr><td>{image}</td><td>{words}</td><td>{'' if nearest is None else f'{nearest[1]:.3g}'}</td><td>{far}</td>"
            f"<td>{shared}</td><td>{button('✕', f'untabled {told.id}', bare=True, title='Take it out')}</td></tr>"
        )
