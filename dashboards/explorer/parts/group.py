"""The group that a lasso or a box took: how many, of which classes, their images; the table of several samples."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bokeh.models import CustomJS, Model, TextInput

from .. import states, taking
from ..cards import button
from ..part import Part, panel
from ..states import State

if TYPE_CHECKING:
    from ..desk import Desk

IMAGES = 60
CLASSES = 8


class Group(Part):
    """Files go to the page as text of a hidden model, which makes a download of them: no route has to know a session."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("group")
        self.file = TextInput(name="file", visible=False)
        self.file.js_on_change("value", CustomJS(code="explorer.save(cb_obj.value)"))
        self._files = 0

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"group": self.panel}

    @property
    def told(self) -> Sequence[Model]:
        return (self.file,)

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "take": self._take,
            "group-clear": lambda _rest: self.desk.become(states.picking(self.desk.state, group=())),
            "group-generate": lambda _rest: self.desk.become(
                states.looking(states.dialling(self.desk.state, start="group"), tab="generate")
            ),
        }

    def _take(self, rest: str) -> None:
        """`<csv | parquet> <picks | group | table>` as a file."""
        kind, _, what = rest.partition(" ")
        state, studio = self.desk.state, self.desk.studio
        chosen = state.picks
        ids, parts = {
            "group": (chosen.group, ()),
            "table": (chosen.table, ()),
            "picks": (
                (*([chosen.selected] if chosen.selected else []), *chosen.neighbours),
                (
                    *(["selected"] if chosen.selected else []),
                    *["nearest"] * len(chosen.found),
                    *["by hand"] * len(chosen.manual),
                ),
            ),
        }.get(what, ((), ()))
        if not ids:
            raise ValueError(f"there is nothing to take of {what[:20]!r}; select something first")
        view, generator = state.look.view, state.look.generator
        self.desk.ask(
            lambda: taking.file(taking.table(studio, view, generator, ids, parts), kind),
            lambda content: self._send(f"{what}.{kind}", content),
        )

    def _send(self, name: str, content: bytes) -> None:
        self._files += 1  # the same file twice is a change too
        told = {"count": self._files, "name": name, "content": base64.b64encode(content).decode()}
        self.file.value = json.dumps(told)

    def draw(self, state: State, before: State | None) -> None:
        if before is None or before.picks.group != state.picks.group:
            self.panel.text = self._text(state.picks.group)

    def _text(self, group: tuple[str, ...]) -> str:
        if not group:
            return "<h2>Group</h2><p class='hint'>Draw a lasso (E) or a box (B) on the map.</p>"
        cards, studio = self.desk.cards, self.desk.studio
        kinds = Counter(
            "real" if name.startswith("real/") else "made" if name.startswith("made/") else "generated"
            for name in group
        )
        labels = studio.count_labels(group)
        most = ", ".join(
            f"{html.escape('no class' if label is None else cards.class_name(label))}: <b>{count:,}</b>"
            for label, count in labels.most_common(CLASSES)
        )
        more = f" and {len(labels) - CLASSES} more classes" if len(labels) > CLASSES else ""
        thumbs = "".join(
            cards.sample(name, "small", event=f"select {name}", title=f"{name}: click to select it")
            for name in group[:IMAGES]
        )
        rest = f"<p class='note'>the first {IMAGES} are shown</p>" if len(group) > IMAGES else ""
        cross = "<button class='cross' data-event='group-clear' title='No group' aria-label='No group'>✕</button>"
        buttons = [button("Generate from it", "group-generate")]
        buttons += [button(kind, f"take {kind} group", title=f"The group as {kind}") for kind in taking.KINDS]
        return (
            f"<h2>Group <span class='count'>{len(group):,}</span>{cross}</h2>"
            f"<p>{', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common())}<br>{most}{more}</p>"
            f"<div class='strip tall'>{thumbs}</div>{rest}<p>{' '.join(buttons)}</p>"
        )
