"""The report of the missing regions: what was kept, its notes, its downloads."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bokeh.models import Column, Model, TextAreaInput

from .. import reports
from ..attempts import verdict
from ..cards import button
from ..part import WIDE, Part, panel
from ..reports import Entry
from ..results import base
from ..states import State

if TYPE_CHECKING:
    from ..desk import Desk


class Report(Part):
    tab = "gaps"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("entries")
        self.notes = TextAreaInput(name="noted", title="Notes of this entry", rows=3, visible=False, **WIDE)
        desk.on(self.notes, "value", self._noted)
        styles = {"gap": "9px"}
        self.column = Column(self.panel, self.notes, name="report", sizing_mode="stretch_width", styles=styles)
        self.edited: str | None = None

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"report": self.column}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"note": self._note, "unkeep": self._unkeep}

    def _note(self, entry_id: str) -> None:
        entry = reports.known(self.desk.studio, self.desk.state.look.generator, entry_id)
        self.edited = None if self.edited == entry.id else entry.id
        self.set(self.notes, value=entry.notes)
        self.draw(self.desk.state, None)

    def _noted(self, text: str) -> None:
        if self.edited is not None:
            reports.note(self.desk.studio, self.desk.state.look.generator, self.edited, text)
            self.draw(self.desk.state, None)

    def _unkeep(self, entry_id: str) -> None:
        reports.drop(self.desk.studio, self.desk.state.look.generator, entry_id)
        self.edited = None if self.edited == entry_id else self.edited
        self.draw(self.desk.state, None)

    def draw(self, state: State, before: State | None) -> None:
        look = state.look
        found = reports.entries(self.desk.studio, look.view, look.generator)
        if self.edited not in {entry.id for entry in found}:
            self.edited = None
        self.notes.visible = self.edited is not None
        hint = "<h2>Report</h2><p class='hint'>Open a region, generate towards it, and keep what is worth it here.</p>"
        self.panel.text = self.text(state, found) if found else hint
        self.column.visible = bool(found or self.desk.evidence.gaps)

    def text(self, state: State, found: tuple[Entry, ...]) -> str:
        query = urlencode({"view": state.look.view, "generator": state.look.generator})
        links = "".join(
            f"<a class='press' href='{html.escape(f'{base(self.desk)}report.{kind}?{query}')}' download title='{title}'>"
            f"{words}</a>"
            for kind, words, title in (
                ("html", "Page", "One HTML page with all images in it"),
                ("zip", "Folder", "Markdown, images, records and replay scripts"),
                ("json", "JSON", "The values alone"),
            )
        )
        rows = "".join(map(self._entry, found))
        acts = f"<div class='acts'><span class='said'>Download</span>{links}</div>"
        return f"<h2>Report <span class='count'>{len(found)}</span></h2>{acts}{rows}"

    def _entry(self, entry: Entry) -> str:
        tried = entry.attempt
        thumbs = "".join(
            f"<span class='kept {'in' if inside else 'out'}'>"
            f"{self.desk.cards.image(name, 'tiny', event=f'show {name}')}</span>"
            for name, inside in zip(tried.ids, tried.inside, strict=True)
        )
        mark = "<span class='chip yes'>reached</span>" if tried.reached else "<span class='chip no'>not reached</span>"
        notes = f"<p class='quoted'>{html.escape(entry.notes)}</p>" if entry.notes else ""
        acts = button("Notes", f"note {entry.id}") + button("Take out", f"unkeep {entry.id}", title="Images stay")
        return (
            f"<div class='tried'><h3>Region {entry.rank + 1} by {html.escape(tried.way)} {mark}</h3>"
            f"<div class='strip all' title='{html.escape(verdict(tried))}'>{thumbs}</div>{notes}"
            f"<div class='acts'>{acts}</div></div>"
        )
