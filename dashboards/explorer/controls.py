"""Turns widgets into events, events into states, and states into drawings. Nothing here computes: the queue does."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bokeh.document import Document
from bokeh.models import (
    Button,
    CheckboxButtonGroup,
    Column,
    RadioButtonGroup,
    Row,
    Select,
    Slider,
    Spinner,
    TextInput,
)

from modescope.making import Kept

from . import state as picks
from .making import Studio, Wish
from .resources import Side
from .state import State
from .views import Cards, Map, held_words, panel
from .worker import Line

log = logging.getLogger(__name__)

SPACES = ("map", "features")


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """A callback that fails shows a message in the page and leaves the rest alive."""

    @functools.wraps(method)
    def safe(self: Desk, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:  # the outermost frame of the page: whatever it is, the visitor must hear of it
            log.exception("a callback of the explorer failed")
            self.alert(f"That did not work: {error}")

    return safe


class Widgets:
    """The controls, and the one channel through which the browser reports clicks and keys."""

    def __init__(self, state: State, views: Sequence[str]) -> None:
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.view = Select(title="View", options=list(views), value=state.view, visible=len(views) > 1, **wide)
        self.generator = Select(name="generator", title="Generator", value=state.generator, **wide)
        self.show = CheckboxButtonGroup(name="show", labels=["real", "generated"], active=[0, 1], **wide)
        self.k = Slider(name="k", title="Nearest neighbours", start=1, end=30, step=1, value=state.k, **wide)
        self.space = RadioButtonGroup(name="space", labels=["on the map", "in features"], active=0, **wide)
        self.find = Button(name="find", label="Find nearest", **wide)
        self.hold = Select(name="hold", title="Hold", **wide)
        self.held = panel("held")
        self.seed = Spinner(name="seed", title="Seed", low=0, high=2**31 - 1, step=1, value=state.seed, **wide)
        self.generate = Button(name="generate", label="Generate", button_type="success", **wide)
        self.status = panel("status")
        self.legend = panel("legend")
        self.bridge = TextInput(name="bridge", visible=False)

    def column(self) -> Column:
        parts = [
            self.view,
            self.generator,
            self.show,
            self.k,
            self.space,
            self.find,
            self.hold,
            self.held,
            Row(
                self.seed,
                self.generate,
                sizing_mode="stretch_width",
                margin=0,
                styles={"align-items": "end", "gap": "10px"},
            ),
            self.status,
            self.legend,
        ]
        return Column(*parts, name="controls", sizing_mode="stretch_width", styles={"gap": "11px"})


class Desk:
    """One visitor's session: holds the state, hears events, asks the queue, redraws."""

    def __init__(self, studio: Studio, document: Document, images: str) -> None:
        self.studio, self.project, self.document = studio, studio.project, document
        self.line = Line(document.add_next_tick_callback)
        view = self.project.views[0]
        self.state = State(view=view, generator=self._first(view), seed=self._next_seed())
        self.map, self.cards = Map(self.project, view), Cards(self.project, images)
        self.widgets = Widgets(self.state, self.project.views)
        self.panels = {name: panel(name) for name in ("selected", "neighbours", "result", "history")}
        self.notice = panel("alert")
        self.notice.visible = False
        self._show_generator()
        self._listen()
        self._draw()
        with document.models.freeze():  # one pass over all models instead of one per root
            for root in (
                self.map.figure,
                self.widgets.column(),
                *self.panels.values(),
                self.notice,
                self.widgets.bridge,
            ):
                document.add_root(root)

    def _first(self, view: str) -> str:
        """The last generator that can make something here: params.yaml lists the best one last."""
        there = self.project.on(view)
        able = [name for name in there if self.project.why_not(view, name) is None]
        return (able or list(there))[-1]

    def _next_seed(self) -> int:
        return max((kept.recipe.seed + 1 for kept in self.studio.made.values()), default=0)

    def _listen(self) -> None:
        w = self.widgets
        w.view.on_change("value", lambda _attr, _old, new: self.choose_view(new))
        w.generator.on_change("value", lambda _attr, _old, new: self.choose_generator(new))
        w.show.on_change("active", lambda _attr, _old, new: self.choose_shown(new))
        w.k.on_change("value", lambda _attr, _old, new: self.set_k(new))
        w.k.on_change("value_throttled", lambda _attr, _old, _new: self.find_again())
        w.space.on_change("active", lambda _attr, _old, new: self.choose_space(SPACES[new]))
        w.find.on_click(lambda: self.find())
        w.hold.on_change("value", lambda _attr, _old, new: self.choose_hold(new))
        w.seed.on_change("value", lambda _attr, _old, new: self.set_seed(new))
        w.generate.on_click(lambda: self.generate())
        w.bridge.on_change("value", lambda _attr, _old, new: self.hear(new))

    # Events

    @guarded
    def hear(self, message: str) -> None:
        """What the page reports: `<count> <kind> <id>`."""
        _count, kind, sample_id = [*message.split(" ", 2), "", ""][:3]
        if kind == "clear":
            self._become(picks.clear(self.state))
        elif kind == "close":
            self.notice.visible = False
        elif kind == "drop":
            self._become(picks.drop(self.state, sample_id))
        elif kind in ("click", "show") and self._known(sample_id):
            self._become(picks.click(self.state, sample_id))
        else:
            raise ValueError(f"the page reported {message!r}, which names no sample on this map; load the page again")

    def _known(self, sample_id: str) -> bool:
        if sample_id in self.studio.made:
            return True
        return picks.origin(sample_id) in ("real", self.state.generator) and self.project.side(sample_id) is not None

    @guarded
    def choose_view(self, view: str) -> None:
        self._become(picks.choose_view(self.state, view))
        if self.state.generator not in self.project.on(view):
            self._become(picks.choose_generator(self.state, self._first(view)))
        self.map.show_view(view)
        self._show_generator()
        self._draw()

    @guarded
    def choose_generator(self, generator: str) -> None:
        self._become(picks.choose_generator(self.state, generator))
        self._show_generator()
        self._draw()

    @guarded
    def choose_shown(self, active: list[int]) -> None:
        self._become(replace(self.state, show_real=0 in active, show_generated=1 in active))

    @guarded
    def choose_space(self, space: picks.Space) -> None:
        self._become(replace(self.state, space=space))
        self.find_again()

    @guarded
    def choose_hold(self, words: str) -> None:
        self._become(replace(self.state, hold=words))

    @guarded
    def set_k(self, k: int) -> None:
        self._become(replace(self.state, k=int(k)))

    @guarded
    def set_seed(self, seed: int | None) -> None:
        self._become(replace(self.state, seed=int(seed or 0)))

    def find_again(self) -> None:
        if self.state.found:
            self.find()

    @guarded
    def find(self) -> None:
        """The k nearest among what is shown."""
        state, selected = self.state, self.state.selected
        if selected is None or not self._sides():
            return
        sides = self._sides()
        self.line.submit(
            lambda: self.studio.nearest(state.view, selected, sides, state.k, state.space),
            lambda ids: self._found(selected, ids),
            self._failed,
        )

    def _sides(self) -> list[Side]:
        both = ((self.state.show_real, self.project.real), (self.state.show_generated, self._generated()))
        return [side for shown, side in both if shown]

    def _generated(self) -> Side:
        return self.project.generators[self.state.generator]

    @guarded
    def _found(self, selected: str, ids: tuple[str, ...]) -> None:
        here = tuple(name for name in ids if picks.origin(name) in ("real", self.state.generator))
        self._become(picks.found(self.state, selected, here))

    @guarded
    def generate(self) -> None:
        state = self.state
        if self._obstacle() or state.selected is None:
            return
        wish = Wish(
            view=state.view,
            generator=state.generator,
            label=self.project.label(state.selected),
            layers=self.project.choices(state.generator)[state.hold],
            neighbours=state.neighbours,
            seed=state.seed,
        )
        words = "Generating." if self.studio.ready(state.generator) else f"Loading {state.generator}, then generating."
        self._become(picks.started(state, words))
        self.line.submit(lambda: self.studio.make(wish), self._made, self._failed)

    @guarded
    def _made(self, kept: Kept) -> None:
        here = (kept.recipe.aim.view, kept.recipe.generator) == (self.state.view, self.state.generator)
        self._become(picks.made(self.state, kept.id) if here else picks.stopped(self.state))

    @guarded
    def _failed(self, error: BaseException) -> None:
        self._become(picks.stopped(self.state))
        self.alert(f"That did not work: {error}")

    def close(self, session_context: Any) -> None:
        """The session has ended (Bokeh asks for a parameter of this name)."""
        self.line.close()

    # Drawing

    def alert(self, message: str) -> None:
        self.notice.text = (
            f"<div class='alert'><p>{html.escape(message)}</p>"
            "<button class='cross' data-event='close' aria-label='Close'>✕</button></div>"
        )
        self.notice.visible = True

    def _become(self, state: State) -> None:
        self.state = state
        self._draw()

    def _obstacle(self) -> str | None:
        why_not = self.project.why_not(self.state.view, self.state.generator)
        return picks.obstacle(self.state, why_not)

    def _show_generator(self) -> None:
        """What follows the choice of view and generator alone: points, legend, layers that can be held."""
        state, w = self.state, self.widgets
        self.map.show_generator(state.view, state.generator)
        self._controls = self.project.controls(state.generator)
        names = list(self.project.on(state.view))
        w.generator.options, w.generator.value = names, state.generator
        choices = list(self.project.choices(state.generator))
        hold = state.hold if state.hold in choices else next(iter(choices), "")
        self.state = replace(state, hold=hold)
        w.hold.options, w.hold.value, w.hold.disabled = choices, hold, not choices
        w.legend.text = self.cards.legend(state)

    def _draw(self) -> None:
        self.document.hold("combine")  # one message to the browser
        try:
            self._redraw()
        finally:
            self.document.unhold()

    def _redraw(self) -> None:
        state, w = self.state, self.widgets
        history = self.studio.history(state.view, state.generator)
        self.map.show_picks(state)
        self.map.show_made(state, [kept for kept in history if self.studio.fits(kept)])
        shown = next((kept for kept in history if kept.id == state.shown), None)
        self.panels["selected"].text = self.cards.selected(state)
        self.panels["neighbours"].text = self.cards.neighbours(state)
        self.panels["result"].text = self.cards.result(shown, shown is not None and self.studio.fits(shown))
        self.panels["history"].text = self.cards.history(state, history)
        obstacle = self._obstacle()
        w.find.disabled = state.selected is None
        w.generate.disabled = obstacle is not None
        w.status.text = f"<p class='status'>{html.escape(obstacle or 'Ready: conditioned on the selected class.')}</p>"
        layers = self.project.choices(state.generator).get(state.hold, ())
        w.held.text = f"<p class='note'>{held_words(layers, self._controls)}</p>"
        w.seed.value = state.seed
