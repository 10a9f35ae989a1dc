"""What of a state the page itself shows: tab, theme, address. `explorer.show` in the browser hears it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bokeh.models import CustomJS, Model, TextInput

from .. import opening, states
from ..part import Part
from ..states import State, address

if TYPE_CHECKING:
    from ..desk import Desk


class Page(Part):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.usual = opening.first(desk.studio)
        self.told = TextInput(name="page", visible=False)
        context = desk.document.session_context
        self._session = "" if context is None else str(context.id)  # the page comes back to it after a lost connection
        self.told.js_on_change("value", CustomJS(code="window.explorer.show(cb_obj.value)"))

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"page": self.told}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "tab": lambda name: self.desk.become(states.looking(self.desk.state, tab=name), step=False),
            "theme": lambda name: self.desk.become(states.looking(self.desk.state, theme=name), step=False),
            "undo": lambda _rest: self.desk.undo(),
            "redo": lambda _rest: self.desk.redo(),
        }

    def draw(self, state: State, before: State | None) -> None:
        past = self.desk.past
        told: dict[str, object] = {
            "tab": state.look.tab,
            "theme": state.look.theme,
            "query": address.write(state, self.usual),
        }
        told |= {"undo": bool(past.before), "redo": bool(past.after), "session": self._session}
        self.told.value = json.dumps(told)
