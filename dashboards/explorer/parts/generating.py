"""Generate: the class, what is held and where it comes from, the sampler, the seed; how far it is."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pandas as pd
from bokeh.models import AutocompleteInput, Button, Column, Model, Row, Select, Slider, Spinner, Toggle

from modescope import sampling

from .. import attempts, states, wishes
from ..making import Batch
from ..part import WIDE, WIDGETS, Part, panel
from ..results import SOURCES, held_words, number
from ..states import State, results
from ..states.dials import MOST
from ..tasks import Task
from ..wording import ASKED, BEGIN, CONDITIONS, STEPS, USUAL

if TYPE_CHECKING:
    from ..desk import Desk


class Generating(Part):
    tab = "generate"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        classes = desk.project.classes
        self.names = {desk.cards.class_name(label): label for label in range(len(classes))}
        self.condition = Select(name="condition", title="Class", options=list(CONDITIONS.items()), **WIDE)
        self.label = AutocompleteInput(
            name="label",
            completions=list(self.names),
            search_strategy="includes",
            case_sensitive=False,
            min_characters=0,
            placeholder="type a part of its name",
            **WIDE,
        )
        self.hold = Select(name="hold", title="Hold", **WIDE)
        self.source = Select(name="source", title="Values", **WIDE)
        self.held, self.status = panel("held"), panel("status")
        self.more = Toggle(name="more", label="More", margin=0, width=60, stylesheets=[WIDGETS])
        self.begin = Select(name="begin", title="Begins with", options=list(BEGIN.items()), **WIDE)
        self.strength = Slider(name="strength", title="Strength", start=0, end=1, step=0.05, value=1, **WIDE)
        samplers = [("", USUAL), *((name, name) for name in sampling.SAMPLERS)]
        self.sampler = Select(name="sampler", title="Sampler", options=samplers, **WIDE)
        self.steps = Spinner(name="steps", title="Steps", low=1, high=256, step=1, placeholder="usual", **WIDE)
        self.during = Select(name="during", title="Held in", options=list(STEPS.items()), **WIDE)
        self.variations = Spinner(name="variations", title="Variations", low=1, high=MOST, step=1, **WIDE)
        self.seed = Spinner(name="seed", title="Seed", low=0, high=2**31 - 1, step=1, **WIDE)
        self.button = Button(
            name="generate", label="Generate", button_type="success", **WIDE, styles={"min-width": "92px"}
        )
        self.load = Button(name="load", label="Load its layers", **WIDE)
        self.task: Task | None = None
        self._drawn: tuple | None = None
        self._controls: dict[str, pd.DataFrame] = {}
        self._words: dict[tuple[str, tuple[str, ...], bool], str] = {}
        self._hear()
        beside: dict = {"sizing_mode": "stretch_width", "margin": 0, "styles": {"align-items": "end", "gap": "8px"}}
        self.rest = Column(
            self.source,
            self.strength,
            self.begin,
            Row(self.sampler, self.steps, **beside),
            self.during,
            sizing_mode="stretch_width",
            styles={"gap": "9px"},
        )
        parts = [Row(self.condition, self.hold, **beside), self.label, self.held, self.load, self.rest]
        parts += [Row(self.variations, self.seed, self.more, self.button, **beside), self.status]
        self.column = Column(*parts, name="generating", sizing_mode="stretch_width", styles={"gap": "9px"})

    def _hear(self) -> None:
        desk = self.desk
        desk.on(self.condition, "value", lambda value: self._dial(condition=value))
        desk.on(self.hold, "value", lambda value: self._dial(hold=value))
        desk.on(self.source, "value", lambda value: self._dial(source=value))
        desk.on(self.begin, "value", lambda value: self._dial(begin=value))
        desk.on(self.during, "value", lambda value: self._dial(during=value))
        desk.on(self.sampler, "value", lambda value: self._dial(sampler=value or None, steps=None))
        desk.on(self.label, "value", self._label)
        desk.on(self.strength, "value_throttled", lambda value: self._dial(strength=number(value, 0, 1)))
        desk.on(self.steps, "value", lambda n: self._tune(steps=int(number(n, 1, 256)) if n else None))
        desk.on(self.variations, "value", lambda n: self._tune(variations=int(number(n, 1, MOST))))
        desk.on(self.seed, "value", lambda n: self._tune(seed=int(number(n, 0, 2**31 - 1))))
        desk.on(self.more, "active", lambda _on: self.draw(desk.state, None))
        desk.press(self.button, self.generate)
        desk.press(self.load, self._load)

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"generating": self.column}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"generate": lambda _rest: self._here(), "cancel": lambda _rest: self.cancel()}

    def _here(self) -> None:
        """From any tab, by key: what comes of it, or what is missing for it, is to be seen in this one."""
        self.desk.become(states.looking(self.desk.state, tab=self.tab), step=False)
        self.generate()

    def _dial(self, **changes: object) -> None:
        self.desk.become(states.dialling(self.desk.state, **changes))

    def _tune(self, **changes: object) -> None:
        """Numbers that are turned often are no steps of their own for undo."""
        self.desk.become(states.dialling(self.desk.state, **changes), step=False)

    def _label(self, name: str) -> None:
        if name in self.names:
            self._dial(label=self.names[name], condition="class")

    def _load(self) -> None:
        generator = self.desk.state.look.generator
        self._task(f"Loading {generator}.").run(
            lambda _task: self.desk.studio.load(generator),
            lambda _none: self.desk.become(states.stopped(self.desk.state), step=False),
        )

    # What is asked for

    def layers(self, state: State) -> dict[str, tuple[str, ...]]:
        """What can be held, by its words."""
        generator, controls = state.look.generator, self.controls(state.look.generator)
        named = zip(controls.get("held", ()), controls["layers"], strict=False)
        measured = {str(words): tuple(str(layers).split()) for words, layers in named if isinstance(layers, str)}
        return wishes.layer_choices(self.desk.studio.layers(generator), measured)

    def controls(self, generator: str) -> pd.DataFrame:
        """What masks were measured to control, read once."""
        if generator not in self._controls:
            self._controls[generator] = self.desk.project.controls(generator)
        return self._controls[generator]

    def chosen(self, state: State) -> tuple[str, ...]:
        choices = self.layers(state)
        return choices.get(state.dials.hold) or next(iter(choices.values()), ())

    def obstacle(self, state: State) -> str | None:
        """Why nothing can be generated now, in words, or None."""
        look, dials, studio = state.look, state.dials, self.desk.studio
        if why_not := studio.why_not(look.view, look.generator):
            return why_not
        if wishes.missing(state):
            return "Choose where to aim first."
        for searched in () if dials.start == "free" else (dials.source, dials.begin):
            if why_not := self._sources(state).get(searched):
                return f"This cannot be had: {why_not}."
        try:
            self._check(state)
        except ValueError as error:
            return str(error)[:1].upper() + str(error)[1:]
        return state.busy

    def _check(self, state: State) -> None:
        if state.dials.start != "gap":
            wishes.wish_of(self.desk.studio, state, self.chosen(state))
        elif not any(gap.rank == state.gap for gap in self.desk.evidence.gaps):
            raise ValueError("That region is not there for this generator; open one in the tab Gaps.")

    def _sources(self, state: State) -> dict[str, str | None]:
        return self.desk.studio.sources(state.look.view, state.look.generator, state.dials.sampler)

    def words(self, state: State) -> str:
        """What Generate will do."""
        dials = state.dials
        count = dials.variations * (dials.row if dials.start == "between" else 1)
        images = "one image" if count == 1 else f"{count} images"
        asked = ASKED[dials.condition]
        if dials.condition == "class" and dials.label is not None:
            asked = self.desk.cards.class_name(dials.label)
        if dials.start == "gap":
            asked = "the class of the real image that each aims at"
        elif dials.condition == "selected" and (state.picks.selected is None):
            asked = ASKED["neighbours"]
        first = "" if self.desk.studio.ready(state.look.generator) else " The first one loads the generator."
        return f"Ready: {images}, {asked}.{first}"

    # Making

    def generate(self) -> None:
        state, studio = self.desk.state, self.desk.studio
        if self.obstacle(state):
            return
        layers, dials, rank = self.chosen(state), state.dials, state.gap
        if dials.start == "gap" and rank is not None:
            how, seeds = wishes.how(studio, state, layers), range(dials.seed, dials.seed + dials.variations)
            self._task(self._loading("Generating.")).run(
                lambda task: attempts.attempt(studio, how, rank, None, seeds, task.watch, lambda: task.cancelled)[0],
                self._made,
            )
            return
        wish = wishes.wish_of(studio, state, layers)
        self._task(self._loading("Generating.")).run(
            lambda task: studio.make(wish, task.watch, lambda: task.cancelled), self._made
        )

    def _loading(self, words: str) -> str:
        name = self.desk.state.look.generator
        return words if self.desk.studio.ready(name) else f"Loading {name}, then generating."

    def _task(self, words: str) -> Task:
        self.task = Task(self.desk, words, self._show)
        return self.task

    def _show(self, text: str) -> None:
        self.status.text = text or self._status(self.desk.state)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def _made(self, batch: Batch) -> None:
        desk = self.desk
        here_now = (desk.state.look.view, desk.state.look.generator)
        here = [k.id for k in batch.kept if (k.recipe.aim.view, k.recipe.generator) == here_now]
        seeds = len({kept.recipe.seed for kept in batch.kept})
        desk.past = results.made(desk.past, tuple(here), seeds)
        desk.become(desk.past.now, step=False)

    # Drawing

    def draw(self, state: State, before: State | None) -> None:
        look, studio = state.look, self.desk.studio
        key = (
            state.picks,
            state.dials,
            state.gap,
            state.busy,
            look.view,
            look.generator,
            studio.layers(look.generator),
        )
        if before is not None and key == self._drawn:
            return
        self._drawn = key
        dials, free = state.dials, state.dials.start == "free"
        self.condition.update(value=dials.condition, disabled=dials.start == "gap")
        name = next((name for name, label in self.names.items() if label == dials.label), "")
        self.label.update(value=name, visible=dials.condition == "class")
        choices = self.layers(state)
        hold = dials.hold if dials.hold in choices else next(iter(choices), "")
        self.hold.update(options=list(choices), value=hold, disabled=not choices, visible=not free)
        self.source.update(options=self._options(state), value=dials.source, visible=not free)
        self.begin.update(value=dials.begin, visible=not free)
        self.load.visible = not choices and not free and state.busy is None
        self.held.visible = not free
        self.held.text = f"<p class='note'>{self._held(state)}</p>"
        schedule = self.desk.studio.workshop.schedule(state.look.generator, dials.sampler, dials.steps)
        self.rest.visible = self.more.active
        self.strength.update(value=dials.strength, visible=not free)
        self.sampler.value = dials.sampler or ""
        self.steps.update(value=dials.steps, disabled=schedule.sampler == "one-step", placeholder=str(schedule.steps))
        self.during.update(value=dials.during, visible=schedule.steps > 1 and not free)
        self.variations.value, self.seed.value = dials.variations, dials.seed
        self.button.disabled = self.obstacle(state) is not None
        if state.busy is None or self.task is None or self.task.text() == "":
            self.status.text = self._status(state)

    def _options(self, state: State) -> list[tuple[str, str]]:
        whys = self._sources(state)
        offered = [(name, words + (" (not here)" if whys.get(name) else "")) for name, words in SOURCES.items()]
        return [*offered, (wishes.NOTHING, "nothing is held")]

    def _held(self, state: State) -> str:
        real = any(states.origin(name) == "real" for name in wishes.aimed_at(state)) or state.dials.start in (
            "point",
            "gap",
        )
        if state.dials.source == wishes.NOTHING:
            return "No layer is held."
        asked = (state.look.generator, self.chosen(state), real)
        if asked not in self._words:
            self._words[asked] = held_words(asked[1], self.controls(asked[0]), real)
        return self._words[asked]

    def _status(self, state: State) -> str:
        obstacle = self.obstacle(state)
        kind = "status" if obstacle is None else "status hint"
        return f"<p class='{kind}'>{html.escape(obstacle or self.words(state))}</p>"
