"""The selected sample with what is known of it, its neighbours, and how they are found."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from bokeh.models import Button, Column, Model, RadioButtonGroup, Slider

from .. import states
from ..about import About, about, distances
from ..cards import button, copied
from ..latest import Latest
from ..part import WIDE, Part, panel
from ..states import State, picks

if TYPE_CHECKING:
    from ..desk import Desk

AMONG = {"shown": "both", "real": "real", "generated": "generated"}


class Selecting(Part):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.selected, self.neighbours = panel("selected"), panel("neighbours")
        self.k = Slider(name="k", title="Nearest neighbours", start=1, end=picks.MOST, step=1, value=5, **WIDE)
        self.space = RadioButtonGroup(name="space", labels=["on the map", "in features"], active=0, **WIDE)
        self.among = RadioButtonGroup(name="among", labels=list(AMONG.values()), active=0, **WIDE)
        self.button = Button(name="find", label="Find nearest (N)", **WIDE)
        desk.on(self.k, "value", lambda k: desk.become(states.picking(desk.state, k=int(k)), step=False))
        desk.on(self.k, "value_throttled", lambda _k: self._find_again())
        desk.on(self.space, "active", lambda active: self._choose(space=picks.SPACES[active]))
        desk.on(self.among, "active", lambda active: self._choose(among=picks.AMONG[active]))
        desk.press(self.button, self.find)
        parts = [self.k, self.space, self.among, self.button]
        self.column = Column(*parts, name="finding", sizing_mode="stretch_width", styles={"gap": "8px"})
        self._late = Latest(desk)
        self._apart: dict[str, float] = {}

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"selected": self.selected, "finding": self.column, "neighbours": self.neighbours}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "clear": lambda _rest: self.desk.become(states.clear(self.desk.state)),
            "drop": lambda name: self._pick(picks.drop(self.desk.state.picks, name)),
            "select": lambda name: self._pick(picks.select(self.desk.state.picks, self.desk.checked(name))),
            "loose": lambda _rest: self.desk.become(states.picking(self.desk.state, found=(), manual=())),
            "find": lambda _rest: self.find(),
        }

    def _pick(self, chosen: picks.Picks) -> None:
        self.desk.become(states.replace(self.desk.state, picks=chosen))

    def _choose(self, **changes: str) -> None:
        self.desk.become(states.picking(self.desk.state, **changes))
        self._find_again()

    def _find_again(self) -> None:
        if self.desk.state.picks.found:
            self.find()

    def find(self) -> None:
        """The k nearest among what is shown, or among one kind of it."""
        state = self.desk.state
        selected, k, space, among = (getattr(state.picks, name) for name in ("selected", "k", "space", "among"))
        sides = [side for side in self.desk.sides if among == "shown" or (side.name == "real") == (among == "real")]
        if selected is None or not sides:
            return
        self.desk.ask(
            lambda: self.desk.studio.nearest(state.look.view, selected, sides, k, space),
            lambda ids: self._found(selected, ids),
        )

    def _found(self, selected: str, ids: tuple[str, ...]) -> None:
        state = self.desk.state
        here = [name for name in ids if self.desk.known(name)]
        self.desk.become(states.replace(state, picks=picks.found(state.picks, selected, here)))

    def draw(self, state: State, before: State | None) -> None:
        chosen, look = state.picks, state.look
        self.k.value, self.space.active = chosen.k, picks.SPACES.index(chosen.space)
        self.among.active = picks.AMONG.index(chosen.among)
        self.button.disabled = chosen.selected is None
        where = (look.view, look.generator)
        if before is not None and (before.picks, (before.look.view, before.look.generator)) == (chosen, where):
            return
        self.selected.text = self._selected_text(state)
        self._measure(state)
        self.neighbours.text = self._neighbours_text(state)

    def _measure(self, state: State) -> None:
        """Distances of neighbours come later: features have to be read for them."""
        chosen, view, studio = state.picks, state.look.view, self.desk.studio
        key = (chosen.selected, chosen.neighbours, chosen.space, view)
        if chosen.selected is None or not chosen.neighbours:
            self._late.forget("apart")
            return
        first, others, space = chosen.selected, chosen.neighbours, chosen.space

        def show(found: tuple[float, ...]) -> None:
            self._apart = dict(zip(others, found, strict=True))
            self.neighbours.text = self._neighbours_text(self.desk.state)

        self._late.ask("apart", key, lambda: distances(studio, view, first, others, space), show)

    def _selected_text(self, state: State) -> str:
        chosen, cards = state.picks.selected, self.desk.cards
        if chosen is None:
            return "<h2>Selected</h2><p class='hint'>Nothing yet. Click a point on the map.</p>"
        told = about(self.desk.studio, state.look.view, state.look.generator, chosen)
        words = "no class" if told.label is None else cards.class_name(told.label)
        synset = f" <code>{html.escape(told.synset)}</code>" if told.synset else ""
        return (
            "<h2>Selected <button class='cross' data-event='clear' title='Clear (Esc)' aria-label='Clear'>✕</button></h2>"
            f"<div class='pair'>{cards.sample(chosen, 'large blue')}<div><p><b>{html.escape(words)}</b>{synset}<br>"
            f"{html.escape(told.source)}<br>{copied(chosen)}</p></div></div>"
            f"<dl class='facts'>{''.join(self._facts(told))}</dl>"
            f"<p>{button('Compare in the table', f'tabled {chosen}', disabled=chosen in state.picks.table)}</p>"
        )

    def _facts(self, told: About) -> Iterator[str]:
        def line(name: str, value: str) -> str:
            return f"<dt>{name}</dt><dd>{value}</dd>"

        for words, nearest in (("nearest generated", told.nearest_fake), ("nearest real", told.nearest_real)):
            if nearest is not None:
                name, far = nearest
                image = self.desk.cards.sample(
                    name, "tiny", event=f"select {name}", title=f"{name}: click to select it"
                )
                yield line(words, f"{image} {far:.3g} in features")
        if told.covered is not None:
            yes, no = ("covered", "not covered") if told.nearest_real is None else ("yes", "no")
            yield line("coverage" if told.nearest_real is None else "among real ones", yes if told.covered else no)
        if told.density_ratio is not None:
            yield line("density ratio", f"{told.density_ratio:.2f} generated for each expected")
        if told.inversion_error is not None:
            yield line("best the generator makes", f"error {told.inversion_error:.3g}")
        if told.gap is not None:
            yield line("missing region", button(f"gap {told.gap + 1}", f"gap {told.gap}"))
        if told.place is not None:
            yield line("on the map", ", ".join(f"{value:.2f}" for value in told.place))

    def _neighbours_text(self, state: State) -> str:
        chosen = state.picks
        head = f"<h2>Neighbours <span class='count'>{len(chosen.neighbours)}</span>"
        if not chosen.neighbours:
            hint = "Find the nearest, or click points." if chosen.selected else "They follow a selected point."
            return f"{head}</h2><p class='hint'>{hint}</p>"
        thumbs = [
            self._neighbour(name, kind)
            for kind, names in (("thin", chosen.found), ("thick", chosen.manual))
            for name in names
        ]
        loose = "<button class='cross' data-event='loose' title='Take all out' aria-label='Take all out'>✕</button>"
        tables = " ".join(
            button(kind, f"take {kind} picks", title=f"Selected and neighbours as {kind}")
            for kind in ("csv", "parquet")
        )
        space = "map units" if chosen.space == "map" else "distance in features"
        return (
            f"{head}{loose}</h2><div class='strip far'>{''.join(thumbs)}</div>"
            f"<p class='note'>below each: {space}; click one to take it out</p><p>{tables}</p>"
        )

    def _neighbour(self, name: str, kind: str) -> str:
        far = self._apart.get(name, np.inf)
        title = f"{name}, {self.desk.cards.named(name)}: click to take it out"
        said = f"{far:.2g}" if np.isfinite(far) else ""
        image = self.desk.cards.sample(name, f"small {kind}", event=f"drop {name}", title=title)
        return f"<figure>{image}<figcaption>{said}</figcaption></figure>"
