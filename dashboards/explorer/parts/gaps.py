"""Missing regions: a ranked list; one that is opened, its images, and what is made towards it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from bokeh.models import Button, Column, Model, RadioButtonGroup, Row, Spinner, TextAreaInput

from modescope import making

from .. import attempts, reports, states, wishes
from ..attempts import Attempt
from ..cards import button
from ..evidence import Gap
from ..making import Batch
from ..part import WIDE, WIDGETS, Part, panel
from ..results import number
from ..states import State, results
from ..states.dials import MOST, WAYS
from ..tasks import Task

if TYPE_CHECKING:
    from ..desk import Desk

WORDS = {
    "mask": "Holds what the generator recorded for its samples nearest to some of these images: quick.",
    "inversion": "Searches the noise from which it makes one of these images best: slow.",
    "guided": "Steers noise until the image has their features: slow.",
}
HELD = ("encoder_bottleneck",)
SHOWN = 60
"""Images of a region that are shown."""
SHOWN_RUNS = 6


class Gaps(Part):
    tab = "gaps"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.list, self.head, self.what, self.outcome = (
            panel("missing"),
            panel("region"),
            panel("way-words"),
            panel("tried"),
        )
        self.way = RadioButtonGroup(name="way", labels=list(WAYS), **WIDE)
        self.tries = Spinner(
            name="tries", title="Images", low=1, high=MOST, step=1, width=80, margin=0, stylesheets=[WIDGETS]
        )
        self.button = Button(name="towards", label="Generate towards it", button_type="success", **WIDE)
        self.notes = TextAreaInput(
            name="notes", title="Notes, kept with it", rows=2, max_length=reports.LONGEST, **WIDE
        )
        desk.on(self.way, "active", lambda way: self._dial(way=WAYS[way]))
        desk.on(self.tries, "value", lambda n: self._dial(tries=int(number(n, 1, MOST))))
        desk.press(self.button, self.towards)
        styles = {"align-items": "end", "gap": "10px"}
        row = Row(self.tries, self.button, sizing_mode="stretch_width", margin=0, styles=styles)
        parts = [self.head, self.way, self.what, row, self.outcome, self.notes]
        self.opened = Column(*parts, name="gap", sizing_mode="stretch_width", styles={"gap": "9px"})
        self.column = Column(self.list, self.opened, name="gaps", sizing_mode="stretch_width")
        self.task: Task | None = None

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"gaps": self.column}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "gap": self._open,
            "towards": lambda _rest: self.towards(),
            "halt": lambda _rest: self.task.cancel() if self.task else None,
            "keep": self._keep,
            "frame": lambda _rest: self._frame(),
        }

    def _dial(self, **changes: object) -> None:
        self.desk.become(states.dialling(self.desk.state, **changes), step=False)

    def region(self, state: State) -> Gap | None:
        """The region that is open."""
        return next((gap for gap in self.desk.evidence.gaps if gap.rank == state.gap), None)

    def _open(self, rest: str) -> None:
        """`<rank>`, or `none`: close it."""
        if rest == "none":
            self.desk.become(states.replace(states.looking(self.desk.state, frame=None), gap=None))
            return
        gap = next((gap for gap in self.desk.evidence.gaps if str(gap.rank) == rest), None)
        if gap is None:
            raise ValueError(f"there is no region {rest[:20]!r} for this generator; load the page again")
        self.desk.become(states.replace(self._framed(gap), gap=gap.rank))

    def _frame(self) -> None:
        if gap := self.region(self.desk.state):
            self.desk.become(self._framed(gap), step=False)

    def _framed(self, gap: Gap) -> State:
        view = self.desk.state.look.view
        places, every = self.desk.project.places(view, gap.ids)[:, :2], self.desk.project.real.points[view]
        return states.looking(self.desk.state, frame=frame_of(places, np.ptp(every, axis=0)))

    # Making

    def obstacle(self, state: State) -> str | None:
        look, studio = state.look, self.desk.studio
        if why_not := studio.why_not(look.view, look.generator):
            return why_not
        way = making.WAYS[state.dials.way]
        searched = way["source"] or way["begin"] or ""
        why_not = studio.sources(look.view, look.generator).get(searched)
        return f"This way cannot be gone: {why_not}." if why_not else state.busy

    def towards(self) -> None:
        state, gap, studio = self.desk.state, self.region(self.desk.state), self.desk.studio
        if gap is None or self.obstacle(state):
            return
        plain = states.dialling(state, sampler=None, steps=None, during="first", strength=1.0, begin="seed")
        how = wishes.how(studio, plain, HELD)
        way, seeds = state.dials.way, range(state.dials.seed, state.dials.seed + state.dials.tries)
        loading = "" if studio.ready(state.look.generator) else f"Loading {state.look.generator}, then "
        words = f"{loading}generating towards region {gap.rank + 1}."
        self.task = Task(self.desk, words[0].upper() + words[1:], lambda _text: self._tell(self.desk.state), "halt")
        self.task.run(
            lambda task: attempts.attempt(studio, how, gap.rank, way, seeds, task.watch, lambda: task.cancelled)[0],
            self._made,
        )

    def _made(self, batch: Batch) -> None:
        desk = self.desk
        here = (desk.state.look.view, desk.state.look.generator)
        ids = tuple(kept.id for kept in batch.kept if (kept.recipe.aim.view, kept.recipe.generator) == here)
        desk.past = results.made(desk.past, ids, len(ids))
        desk.become(desk.past.now, step=False)

    def tried(self, state: State) -> tuple[Attempt, ...]:
        """Runs at the region that is open, newest first."""
        here = (state.look.view, state.look.generator, -1 if state.gap is None else state.gap)
        return self.desk.studio.attempts.get(here, ())

    def _keep(self, key: str) -> None:
        desk, gap, look = self.desk, self.region(self.desk.state), self.desk.state.look
        tried = next((each for each in self.tried(desk.state) if each.key == key), None)
        if gap is None or tried is None:
            raise ValueError(f"run {key[:40]!r} is not there any more; generate again")
        entry = reports.entry(desk.studio, look.view, look.generator, gap, tried, self.notes.value)
        reports.keep(desk.studio, entry)
        self.set(self.notes, value="")
        desk.become(desk.state, step=False)

    # Drawing

    def draw(self, state: State, before: State | None) -> None:
        gap = self.region(state)
        self.list.visible, self.opened.visible = gap is None, gap is not None
        if gap is None:
            self.list.text = self.list_text(state)
            return
        dials = state.dials
        self.head.text = self.region_text(gap)
        self.way.active, self.tries.value = WAYS.index(dials.way), dials.tries
        self.what.text = f"<p class='note'>{WORDS[dials.way]}</p>"
        self.button.disabled = self.obstacle(state) is not None
        self._tell(state)

    def list_text(self, state: State) -> str:
        gaps, name = self.desk.evidence.gaps, html.escape(state.look.generator)
        head = f"<h2>Missing with {name} <span class='count'>{len(gaps)}</span></h2>"
        if not gaps:
            if not self.desk.evidence.summary:
                return (
                    f"{head}<p class='hint'>{name} was not evaluated on this view yet: run <code>dvc repro</code>.</p>"
                )
            rate = self.desk.project.params.metrics.gap_rate
            words = f"No missing region at a false discovery rate of {rate:.0%}."
            others = f" {state.look.view} was searched for regions of real images that {name} leaves out."
            return f"{head}<p>{words}</p><p class='hint'>{html.escape(others)}</p>"
        rows = "".join(self._row(gap) for gap in gaps)
        hint = "Regions of real images that it leaves out, largest first."
        return f"{head}<p class='hint'>{hint}</p><div class='gaps'>{rows}</div>"

    def _row(self, gap: Gap) -> str:
        thumbs = "".join(self.desk.cards.sample(name, "small") for name in gap.ids[:3])
        words = f"{len(gap.ids)} real, {gap.missing:.1%} of all"
        inner = (
            f"<b>{gap.rank + 1}</b><span class='strip'>{thumbs}</span>"
            f"<span class='said'>{words}<br>{html.escape(self._classes(gap, 3))}</span>{chips(gap)}"
        )
        return button(inner, f"gap {gap.rank}", bare=True, title=f"Region {gap.rank + 1}: {self._classes(gap, 20)}")

    def _classes(self, gap: Gap, most: int) -> str:
        parts = [f"{name} ×{count}" for name, count in gap.classes[:most]]
        more = len(gap.classes) - most
        return f"class {', '.join(parts)}" + (f" +{more}" if more > 0 else "")

    def region_text(self, gap: Gap) -> str:
        cards = self.desk.cards
        grid = "".join(
            cards.sample(name, "small", event=f"click {name}", title=f"{name}, {cards.named(name)}: click to pick it")
            for name in gap.ids[:SHOWN]
        )
        more = f"<p class='note'>and {len(gap.ids) - SHOWN} more</p>" if len(gap.ids) > SHOWN else ""
        close = "<button class='cross' data-event='gap none' title='Back to all' aria-label='Back to all'>✕</button>"
        words = (
            f"{len(gap.ids)} real images, {gap.missing:.1%} of all; {gap.found or 'no'} generated ones where "
            f"{gap.expected:.0f} were expected (q = {gap.q_value:.1g}). {self._classes(gap, 20)}."
        )
        return (
            f"<h2>Region {gap.rank + 1}{close}</h2><p>{html.escape(words)}</p>"
            f"<div class='strip grid'>{grid}</div>{more}"
            f"<p>{chips(gap)} {button('Show on the map', 'frame')}</p><h3>make it</h3>"
        )

    def _tell(self, state: State) -> None:
        """What is being made, or what was."""
        busy, tried = "" if self.task is None else self.task.text(), self.tried(state)
        obstacle = self.obstacle(state)
        said = f"<p class='hint'>{html.escape(obstacle)}</p>" if obstacle and not busy else ""
        look = state.look
        kept = {entry.id for entry in reports.entries(self.desk.studio, look.view, look.generator)} if tried else set()
        self.outcome.text = said + busy + "".join(self._attempt(each, each.key in kept) for each in tried[:SHOWN_RUNS])
        self.notes.visible = bool(tried)

    def _attempt(self, tried: Attempt, kept: bool) -> str:
        thumbs = "".join(
            f"<span class='kept {'in' if inside else 'out'}'>"
            f"{self.desk.cards.image(name, 'small', event=f'show {name}', title=f'{name}: {where}')}</span>"
            for name, inside in zip(tried.ids, tried.inside, strict=True)
            for where in ("in the region" if inside else "elsewhere",)
        )
        mark = "<span class='chip yes'>reached</span>" if tried.reached else "<span class='chip no'>not reached</span>"
        keep = "<span class='said'>In the report.</span>" if kept else button("Keep in report", f"keep {tried.key}")
        cut = ", cancelled" if tried.cancelled else ""
        return (
            f"<div class='tried'><h3>by {html.escape(tried.way)}{cut} {mark}</h3><div class='strip all'>{thumbs}</div>"
            f"<p class='note'>{html.escape(attempts.verdict(tried))}</p>"
            f"<div class='acts'>{keep}</div></div>"
        )


def chips(gap: Gap) -> str:
    """What stage reach found: which share of its images landed in the region, by each way."""
    parts = [
        f"<span class='chip'>{html.escape(way)} {share:.0%}</span>" for way, share in gap.ways.items() if way != "free"
    ]
    if gap.reached is None:
        return "<span class='chip'>not tried yet</span>"
    mark = "<span class='chip yes'>reached</span>" if gap.reached else "<span class='chip no'>not reached</span>"
    return f"<span class='chips'>{mark}{''.join(parts)}</span>"


def frame_of(places: np.ndarray, whole: np.ndarray) -> tuple[float, float, float, float]:
    """Lowest and highest x, then y, around places: at least an eighth of the whole map, with some of what is around."""
    centre = (places.min(0) + places.max(0)) / 2
    half = np.maximum(np.ptp(places, axis=0) * 0.75, whole * 0.06)
    (left, bottom), (right, top) = (centre - half).tolist(), (centre + half).tolist()
    return left, right, bottom, top
