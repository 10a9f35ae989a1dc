"""What was made: newest first, in groups of one wish; undone and brought back; downloaded."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bokeh.models import Model

from modescope.making import Kept

from ..cards import button
from ..part import Part, panel
from ..results import base
from ..states import State, results

if TYPE_CHECKING:
    from ..desk import Desk

PAGE = 60
"""Images in the list at first, and more of them at a press."""
MOST = 400
"""Images in one download."""


class History(Part):
    tab = "made"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("history")
        self.all = False
        self.most = PAGE
        self._drawn: tuple = ()

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"history": self.panel}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"hide": self._hide, "reveal": self._reveal, "hidden": self._hidden, "older": self._older}

    def _hide(self, sample_id: str) -> None:
        self.desk.become(results.hide(self.desk.state, (self.desk.checked(sample_id),)))

    def _reveal(self, sample_id: str) -> None:
        self.desk.become(results.reveal(self.desk.state, (self.desk.checked(sample_id),)))

    def _hidden(self, _rest: str) -> None:
        self.all = not self.all
        self.draw(self.desk.state, None)

    def _older(self, _rest: str) -> None:
        self.most += 2 * PAGE
        self.draw(self.desk.state, None)

    def draw(self, state: State, before: State | None) -> None:
        key = (tuple(self.desk.studio.made), state.hidden, state.shown, state.look.view, state.look.generator)
        if before is not None and key == self._drawn:
            return
        self._drawn = key
        self.panel.text = self.text(state)

    def text(self, state: State) -> str:
        look = state.look
        history = self.desk.studio.history(look.view, look.generator)
        there = [kept for kept in history if kept.id not in state.hidden]
        undone = [kept for kept in history if kept.id in state.hidden]
        head = f"<h2>Made with {html.escape(look.generator)} <span class='count'>{len(there)}</span></h2>"
        if not history:
            return f"{head}<p class='hint'>What you generate is kept here, and is still here after a restart.</p>"
        groups = "".join(self._group(state, group) for group in grouped(there[: self.most]))
        more = f"<p>{button(f'{len(there) - self.most:,} older', 'older')}</p>" if len(there) > self.most else ""
        return f"{head}{self._acts(there, undone)}{groups}{more}{self._undone(undone)}"

    def _acts(self, there: Sequence[Kept], undone: Sequence[Kept]) -> str:
        acts = []
        if undone:
            acts.append(button(f"{'Do not show' if self.all else 'Show'} {len(undone)} hidden", "hidden"))
        if there:
            where = f"{base(self.desk)}made.zip?ids={','.join(kept.id.removeprefix('made/') for kept in there[:MOST])}"
            title = "A folder of images, records and replay scripts"
            acts.append(f"<a class='press' href='{html.escape(where)}' download title='{title}'>Download all</a>")
        return f"<div class='acts'>{''.join(acts)}</div>"

    def _group(self, state: State, group: Sequence[Kept]) -> str:
        thumbs = "".join(
            f"<span class='kept'>{self._thumb(state, kept, f'show {kept.id}')}"
            f"{button('✕', f'hide {kept.id}', bare=True, title='Hide it; it stays on disk')}</span>"
            for kept in group
        )
        return f"<h3>{html.escape(self._title(group[0]))}</h3><div class='strip all'>{thumbs}</div>"

    def _thumb(self, state: State, kept: Kept, event: str) -> str:
        size = "small green" if kept.id == state.shown else "small"
        return self.desk.cards.image(kept.id, size, event=event, title=f"seed {kept.recipe.seed}, {kept.id}")

    def _title(self, kept: Kept) -> str:
        recipe = kept.recipe
        label = recipe.label
        asked = "no class" if not recipe.condition else "all classes" if label is None else self._class(kept)
        if not recipe.holds:
            return f"{asked}, no mask"
        held = recipe.holds[0]
        aim = (
            f"{len(recipe.aim.ids)} sample{'s' * (len(recipe.aim.ids) != 1)}"
            if recipe.aim.inverse is None
            else "a spot of the map"
        )
        return f"{asked}, towards {aim}, {' + '.join(recipe.layers)} ({source_of(held.source)})"

    def _class(self, kept: Kept) -> str:
        recipe = kept.recipe
        if len(recipe.condition) == len(self.desk.project.classes) > 1:
            return "all classes"
        return self.desk.cards.class_name(recipe.label or 0)

    def _undone(self, undone: Sequence[Kept]) -> str:
        if not self.all or not undone:
            return ""
        thumbs = "".join(
            self.desk.cards.image(kept.id, "small pale", event=f"reveal {kept.id}", title=f"bring back {kept.id}")
            for kept in undone[: self.most]
        )
        return f"<h3>hidden: click one to bring it back</h3><div class='strip all'>{thumbs}</div>"


def grouped(history: Sequence[Kept]) -> Iterator[list[Kept]]:
    """Images that stand side by side in the history and differ in seed or share of a row alone."""
    group: list[Kept] = []
    for kept in history:
        if group and not alike(group[-1], kept):
            yield group
            group = []
        group.append(kept)
    if group:
        yield group


def source_of(name: str) -> str:
    """The names of one source: recorded, for samples of the generator or for those that stand in for real ones."""
    return "recorded" if name in ("recorded", "nearest", "mixed") else name


def alike(one: Kept, other: Kept) -> bool:
    a, b = one.recipe, other.recipe
    same = (a.condition, a.sampler, a.steps, a.layers) == (b.condition, b.sampler, b.steps, b.layers)
    sources = [{(source_of(held.source), held.strength) for held in recipe.holds} for recipe in (a, b)]
    ids = set(a.aim.ids), set(b.aim.ids)
    return same and sources[0] == sources[1] and (ids[0] <= ids[1] or ids[1] <= ids[0])
