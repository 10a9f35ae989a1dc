"""One visitor's session: holds the state, hears what the browser reports, asks the queue, has the parts draw."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from bokeh.document import Document
from bokeh.models import Column, Model, TextInput

from . import states
from .cards import Cards
from .evidence import Evidence, evidence
from .making import Studio
from .part import TAB, Part, panel
from .resources import Side
from .states import State
from .states.past import Past
from .worker import Line

log = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST = 100_000
"""Characters of one report of the browser; a lasso has some thousand."""


class Desk:
    """`parts` are told of every change of the state. All that changes it goes through `become`."""

    def __init__(
        self, studio: Studio, document: Document, images: str, state: State, parts: Sequence[type[Part]]
    ) -> None:
        self.studio, self.project, self.document = studio, studio.project, document
        self.line = Line(document.add_next_tick_callback)
        self.cards = Cards(self.project, images)
        self.past: Past[State] = Past(now=state)
        self.bridge = TextInput(name="bridge", visible=False)
        self.notice = panel("alert")
        self.notice.visible = False
        self._deaf, self._holding = 0, False
        self._drawn: dict[Part, State] = {}
        self._tab: str | None = None
        self.figures: list[Any] = []  # the scene's: the map, and the one beside it
        self.parts: list[Part] = []
        self._events: dict[str, Callable[[str], None]] = {"close": lambda _rest: self._quiet()}
        self._later = {tab: [part for part in parts if part.tab == tab] for tab in dict.fromkeys(p.tab for p in parts)}
        self._columns = {tab: _column(tab) for tab in self._later if tab is not None}
        self.bridge.on_change("value", lambda _attr, _old, new: self.hear(new))
        seen = self._make(None)
        self._draw()
        document.config.update(reconnect_session=False, notify_connection_status=False)  # page.js does both
        document.template_variables["tab"] = state.look.tab
        with document.models.freeze():  # one pass over all models instead of one per root
            for model in (*seen, *self._columns.values(), self.notice, self.bridge):
                document.add_root(model)

    def _make(self, tab: str | None) -> list[Model]:
        """The parts of a tab, or of none, where they were not made before; what of them is to be seen."""
        made = [part(self) for part in self._later.pop(tab, ())]
        self.parts += made
        self._events.update((kind, hear) for part in made for kind, hear in part.events.items())
        self.bridge.tags = [*self.bridge.tags, *(model for part in made for model in part.told)]
        return [root for part in made for root in part.roots.values()]

    def _open(self, tab: str) -> None:
        if tab in self._later:
            self._columns[tab].children = self._make(tab)

    # What parts read

    @property
    def state(self) -> State:
        return self.past.now

    @property
    def generated(self) -> Side:
        return self.project.generators[self.state.look.generator]

    @property
    def sides(self) -> list[Side]:
        """What is shown: real, the generator, the one beside it."""
        look = self.state.look
        names = [name for name in (look.generator, look.versus) if name is not None and "generated" in look.kinds]
        return [*([self.project.real] if "real" in look.kinds else []), *(self.project.generators[n] for n in names)]

    @property
    def evidence(self) -> Evidence:
        """Of the view and generator that are shown."""
        return evidence(self.project, self.state.look.view, self.state.look.generator)

    def known(self, sample_id: str) -> bool:
        """Whether an id from the browser names a sample that can be on this map."""
        if sample_id in self.studio.made:
            return True
        look = self.state.look
        here = states.origin(sample_id) in ("real", look.generator, look.versus)
        return here and self.project.side(sample_id) is not None

    def checked(self, sample_id: str) -> str:
        """An id from the browser, or ValueError."""
        if not self.known(sample_id):
            raise ValueError(f"the page named {sample_id[:80]!r}, which is no sample on this map; load the page again")
        return sample_id

    # What parts do

    def become(self, state: State, *, step: bool = True) -> None:
        """Another state, drawn at once. `step`: one that undo goes back over. A state that cannot be drawn is left again."""
        before = self.past
        self.past = before.do(state) if step else before.amend(state)
        try:
            self._draw()
        except Exception:
            self.past = before
            self._draw()
            raise

    def undo(self) -> None:
        self._travel(self.past.undo())

    def redo(self) -> None:
        self._travel(self.past.redo())

    def _travel(self, past: Past[State]) -> None:
        """To another state of the past; what is in view stays in view, and what is being made goes on."""
        here, there = self.state, past.now
        look = states.replace(there.look, frame=here.look.frame, tab=here.look.tab, theme=here.look.theme)
        self.past = past.amend(states.replace(there, look=look, busy=here.busy))
        self._draw()

    def ask(self, job: Callable[[], T], done: Callable[[T], None], *, model: bool = False) -> None:
        """Run a job away from the event loop, in front of the model where it needs one; then `done(result)`. What fails
        is shown in the page."""
        (self.line.submit if model else self.line.read)(job, self._guarded(done), self._failed)

    def on(self, model: Any, name: str, hear: Callable[[Any], None]) -> None:
        """Hear a widget's changes, but not those that drawing makes."""
        safe = self._guarded(hear)
        model.on_change(name, lambda _attr, _old, new: None if self._deaf else safe(new))

    def press(self, button: Any, hear: Callable[[], None]) -> None:
        button.on_click(self._guarded(lambda *_event: hear()))

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Widgets that change inside were changed by us."""
        self._deaf += 1
        try:
            yield
        finally:
            self._deaf -= 1

    def alert(self, message: str) -> None:
        self.notice.text = (
            f"<div class='alert'><p>{html.escape(message)}</p>"
            "<button class='cross' data-event='close' aria-label='Close'>✕</button></div>"
        )
        self.notice.visible = True

    def _quiet(self) -> None:
        self.notice.visible = False

    # Events

    def hear(self, message: str) -> None:
        """What the page reports: `<count> <kind> <rest>`."""
        _count, kind, rest = [*message[:LONGEST].split(" ", 2), "", ""][:3]
        self._guarded(self._hear)(kind, rest)

    def _hear(self, kind: str, rest: str) -> None:
        for tab in tuple(filter(None, self._later)):  # an event can come before its tab is opened
            if kind not in self._events:
                self._open(tab)
        if kind not in self._events:
            raise ValueError(f"the page reported {kind[:40]!r}, which nothing here hears; load the page again")
        self._events[kind](rest)

    def _guarded(self, hear: Callable[..., None]) -> Callable[..., None]:
        """A callback that fails shows a message in the page and leaves the rest alive."""

        @functools.wraps(hear)
        def safe(*args: Any) -> None:
            with self._held():
                try:
                    hear(*args)
                except (
                    Exception
                ) as error:  # the outermost frame of the page: whatever it is, the visitor must hear of it
                    log.exception("a callback of the explorer failed")
                    self.alert(f"That did not work: {error}")

        return safe

    def _failed(self, error: BaseException) -> None:
        self.become(states.stopped(self.state), step=False)
        self.alert(f"That did not work: {error}")

    def close(self, session_context: Any) -> None:
        """The session has ended (Bokeh asks for a parameter of this name)."""
        self.line.close()

    def _draw(self) -> None:
        state, tabs = self.state, (None, self.state.look.tab, self._tab)
        self._tab = state.look.tab
        once = self.document.models.freeze() if self._tab in self._later else nullcontext()
        with self._held(), self.deaf(), once:  # of a new tab: one pass over all models, not one for each renderer
            self._open(state.look.tab)
            for part in self.parts:
                if part.tab in tabs:
                    before, self._drawn[part] = self._drawn.get(part), state
                    part.draw(state, before)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """All changes inside go to the browser in one message."""
        if self._holding:
            yield
            return
        self._holding = True
        self.document.hold("combine")
        try:
            yield
        finally:
            self._holding = False
            with self.deaf():  # callbacks were held too, and run now
                self.document.unhold()


def _column(tab: str) -> Column:
    """The place of a tab, with nothing in it."""
    return Column(name=f"tab {tab}", sizing_mode="stretch_width", stylesheets=[TAB])
