"""The made image on display, beside what it is compared with; its way over the map, step by step."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, Line, Model, Scatter

from modescope.making import Kept, Replayed, Trajectory

from .. import states
from ..cards import button
from ..colours import NEW
from ..drawing import add
from ..part import Part, panel
from ..results import result_text
from ..states import State, picks, results
from ..tasks import Task
from .aiming import map_of, put

if TYPE_CHECKING:
    from ..desk import Desk


class Result(Part):
    """`marks path` is the way, `marks step` where it is now; playing moves the latter in the browser."""

    tab = "generate"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel, self.panel_path = panel("result"), panel("trajectory")
        self.path: tuple[str, str, Trajectory] | None = None
        self.task: Task | None = None
        self._replayed: dict[str, Replayed] = {}
        self._marks: tuple[ColumnDataSource, ColumnDataSource] | None = None

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"result": self.panel, "trajectory": self.panel_path}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {
            "show": self._show,
            "choose": self._choose,
            "path": self._path,
            "replay": self._replay,
            "stop": self._stop,
        }

    def shown(self, state: State) -> Kept | None:
        """What is on display, if it is of this view and generator."""
        kept = self.desk.studio.made.get(state.shown or "")
        look = state.look
        here = kept is not None and (kept.recipe.aim.view, kept.recipe.generator) == (look.view, look.generator)
        return kept if here else None

    def _made(self, sample_id: str) -> str:
        if sample_id not in self.desk.studio.made:
            raise ValueError(f"the page named {sample_id[:80]!r}, which was not made here; load the page again")
        return sample_id

    def _show(self, sample_id: str) -> None:
        state = states.looking(results.show(self.desk.state, self._made(sample_id)), tab="generate")
        self.desk.become(state)

    def _choose(self, sample_id: str) -> None:
        state = self.desk.state
        chosen = states.replace(state, picks=picks.select(state.picks, self._made(sample_id)))
        self.desk.become(states.dialling(chosen, weights=()))

    def _replay(self, sample_id: str) -> None:
        name = self._made(sample_id)
        self._run(
            "Making it again.", lambda _task: self.desk.studio.replay(name), lambda again: self._again(name, again)
        )

    def _again(self, sample_id: str, again: Replayed) -> None:
        self._replayed[sample_id] = again
        self.desk.become(states.stopped(self.desk.state), step=False)

    def _path(self, rest: str) -> None:
        if rest == "close":
            self.path = None
            self.draw(self.desk.state, None)
            return
        sample_id, view = self.desk.checked(rest), self.desk.state.look.view
        self._run(
            "Sampling it step by step.",
            lambda task: self.desk.studio.trajectory(sample_id, view, None, lambda: task.cancelled),
            lambda path: self._followed(sample_id, view, path),
        )

    def _followed(self, sample_id: str, view: str, path: Trajectory) -> None:
        self.path = (sample_id, view, path)
        self.desk.become(states.stopped(self.desk.state), step=False)

    def _run(self, words: str, job: Callable[[Task], object], done: Callable) -> None:
        if self.desk.state.busy is None:
            self.task = Task(self.desk, words, lambda _text: self._write(self.desk.state), "stop")
            self.task.run(job, done)

    def _stop(self, _rest: str) -> None:
        if self.task is not None:
            self.task.cancel()

    # Drawing

    def draw(self, state: State, before: State | None) -> None:
        self._write(state)
        self._mark(state)

    def _write(self, state: State) -> None:
        kept, busy = self.shown(state), "" if self.task is None else self.task.text()
        head = "<h2>Generated</h2>"
        if kept is None:
            hint = "Nothing on display. What you generate shows here, with what it is to be compared with."
            self.panel.text = f"{head}<p class='hint'>{hint}</p>{busy}"
        else:
            series = tuple(name for name in state.series if name in self.desk.studio.made)
            again = self._replayed.get(kept.id)
            said = "" if again is None else f"<p>{html.escape(again_words(again))}</p>"
            self.panel.text = f"{head}{result_text(self.desk, kept, series)}{said}{busy}"
        self.panel_path.text = self._path_text(state)

    def _path_text(self, state: State) -> str:
        picked = state.picks.selected
        if not self._here(state) or self.path is None:
            if picked is None or states.origin(picked) in ("real", "made"):
                hint = "Step by step shows the way of a made image, or of a selected generated one, over the map."
                return f"<h2>Trajectory</h2><p class='hint'>{hint}</p>"
            offer = button("How the selected sample was made, step by step", f"path {picked}")
            return f"<h2>Trajectory</h2><p>{offer}</p>"
        return path_text(self.desk, self.path[0], self.path[2])

    def _here(self, state: State) -> bool:
        """Whether the trajectory is of the image on display, or of the selected sample."""
        if self.path is None or self.path[1] != state.look.view:
            return False
        return self.path[0] in (state.shown, state.picks.selected)

    def _mark(self, state: State) -> None:
        if self._marks is None:
            figure = map_of(self.desk)
            if figure is None:
                return
            way, now = (ColumnDataSource({"x": [], "y": []}) for _ in range(2))
            line = Line(x="x", y="y", line_color=NEW, line_width=2, line_alpha=0.8)
            dot = Scatter(x="x", y="y", size=5, fill_color=NEW, line_color=NEW)
            step = Scatter(
                x="x", y="y", size=15, marker=value("diamond"), fill_color=NEW, line_color="white", line_width=2
            )
            add(figure, "lines path", line, way, level="overlay")
            add(figure, "marks path", dot, way, level="overlay")
            add(figure, "marks step", step, now)
            self._marks = way, now
        flat = state.look.view not in self.desk.project.real.depths
        shown = self._here(state) and flat and state.look.tab == "generate"
        places = None if self.path is None or not shown else self.path[2].places
        points = np.empty((0, 2)) if places is None else places[:, :2]
        put(self._marks[0], x=points[:, 0], y=points[:, 1])
        put(self._marks[1], x=points[-1:, 0], y=points[-1:, 1])


PLAY = (("back", "◀", "one step back"), ("play", "▶ Play", "play or pause"), ("on", "▶", "one step on"))


def again_words(again: Replayed) -> str:
    """What making an image again showed."""
    if again.equal:
        return "Made again: every byte is equal."
    differs = f" What differs here: {'; '.join(again.differs)}." if again.differs else ""
    return f"Made again: it differs by up to {again.apart} of 255 levels.{differs}"


def path_text(desk: Desk, sample_id: str, path: Trajectory) -> str:
    """Every step's image in a strip, and buttons that play it."""
    last = len(path.images) - 1
    frames = "".join(
        f"<button type='button' class='frame{' now' if number == last else ''}' data-step='{number}' title='{words}'>"
        f"{desk.cards.image(f'{sample_id}/step/{number}', 'small', title=words)}<b>{number + 1}</b></button>"
        for number, words in enumerate(step_words(path))
    )
    words = html.escape(step_words(path)[last])
    acts = "".join(
        f"<button type='button' class='press' data-play='{act}' title='{title}' aria-label='{title}'>{sign}</button>"
        for act, sign, title in PLAY
    )
    return (
        f"<h2>Trajectory <span class='count'>{last + 1} {'steps' if last else 'step'}</span>"
        "<button type='button' class='cross' data-event='path close' title='Close' aria-label='Close'>✕</button></h2>"
        f"<div class='steps'><div class='acts'>{acts}<span class='said'>{words}</span></div>"
        f"<div class='strip tall'>{frames}</div></div>"
        f"<p class='note'>The clean image that the sampler has in mind at each step, and where that is on the map.</p>"
    )


def step_words(path: Trajectory) -> list[str]:
    away = [""] * len(path.images) if path.distances is None else [f", {d:.1f} from the aim" for d in path.distances]
    lines = zip(path.sigmas, away, strict=True)
    return [f"step {number}: noise {sigma:.3g}{far}" for number, (sigma, far) in enumerate(lines, start=1)]
