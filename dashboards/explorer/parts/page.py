"""What of a state the page itself shows: tab, theme, address. `explorer.show` in the browser hears it, and remembers it for a
session that comes back after the server has lost this one (templates/memory.js)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bokeh.models import CustomJS, Model, TextInput

from .. import memory, opening, states
from ..part import Part
from ..states import State, address

if TYPE_CHECKING:
    from ..desk import Desk


class Page(Part):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.usual = opening.first(desk.studio)
        self.shown = TextInput(name="page", visible=False)
        context = desk.document.session_context
        self._session = "" if context is None else str(context.id)  # the page comes back to it after a lost connection
        self.shown.js_on_change("value", CustomJS(code="window.explorer.show(cb_obj.value)"))
        self.group = TextInput(name="page group", visible=False)
        self.group.js_on_change("value", CustomJS(code="window.explorer.memory.group(cb_obj.value)"))

    @property
    def told(self) -> Sequence[Model]:
        return self.shown, self.group

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "tab": lambda name: self.desk.become(states.looking(self.desk.state, tab=name), step=False),
            "theme": lambda name: self.desk.become(states.looking(self.desk.state, theme=name), step=False),
            "undo": lambda _rest: self.desk.undo(),
            "redo": lambda _rest: self.desk.redo(),
            "restore": self._restore,
        }

    def _restore(self, text: str) -> None:
        """What the browser remembers of a session that is no more, in one that has just begun."""
        desk = self.desk
        if desk.past.before or desk.past.after:
            raise ValueError("this session has steps of its own; what the page remembered of another one was not taken")
        desk.past = memory.read(desk.studio, text, desk.state)
        desk.become(desk.past.now, step=False)

    def draw(self, state: State, before: State | None) -> None:
        past = self.desk.past
        told: dict[str, object] = {
            "tab": state.look.tab,
            "theme": state.look.theme,
            "query": address.write(state, self.usual),
        }
        if before is None or before.picks.group is not state.picks.group:
            self.group.value = memory.packed(state.picks.group)
        told |= {"number": past.number, "undo": len(past.before), "redo": len(past.after), "session": self._session}
        self.shown.value = json.dumps(told)
