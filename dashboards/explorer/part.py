"""What a part of the page is: its models, the events that it hears, and how it draws a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bokeh.models import Div, Model

if TYPE_CHECKING:
    from .desk import Desk
    from .states import State

_TEMPLATES = Path(__file__).parent / "templates"
PANELS = (_TEMPLATES / "panels.css").read_text(encoding="utf-8")
WIDGETS = (_TEMPLATES / "widgets.css").read_text(encoding="utf-8")
WIDE: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0, "stylesheets": [WIDGETS]}
"""Arguments of every widget in a column."""

TAB = ":host > div + div { border-top: 1px solid var(--line); padding-top: 12px; margin-top: 12px !important; }"
"""Between the parts of a tab."""


def panel(name: str, text: str = "") -> Div:
    """A piece of HTML that the template places by name."""
    return Div(name=name, text=text, stylesheets=[PANELS], margin=0, sizing_mode="stretch_width")


class Part:
    """One concern of the page. It reads `desk.state`, and changes it by `desk.become` alone. A part of one `tab` is made when
    that tab opens first or an event of its is heard, and drawn while the tab is open, and once when it is left.
    """

    tab: ClassVar[str | None] = None

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    @property
    def roots(self) -> Mapping[str, Model]:
        """What is to be seen, by name (each has it): the template embeds it by that name, or its tab has it in this order."""
        return {}

    @property
    def told(self) -> Sequence[Model]:
        """Models without a place in the page, by which the browser is told something."""
        return ()

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        """What the browser may report (`data-event="<kind> <rest>"`, or `send(kind, rest)`): kind => what to do with the
        rest, which is hostile until checked."""
        return {}

    def draw(self, state: State, before: State | None) -> None:
        """Show a state. `before` is what the part drew last, None the first time; nothing is sent where nothing changed."""

    def set(self, model: Model, **values: Any) -> None:
        """Properties of a widget, without hearing its own change as an event."""
        with self.desk.deaf():
            model.update(**values)
