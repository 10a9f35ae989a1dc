"""Draws records: the map with its small sources, and the panels as HTML. Reads states, never changes them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from bokeh.document import Document
from bokeh.models import ColumnDataSource, CustomJS, DataRange1d, Div, GlyphRenderer
from bokeh.palettes import turbo
from bokeh.plotting import figure
from bokeh.transform import linear_cmap

from modescope.figures import PALETTE
from modescope.making import Kept

from .resources import Project, Side
from .state import State

REAL, SELECTED, RING, NEW = "#8d95a1", "#1769e0", "#d81b2a", "#0a8f3c"
FINE = 32  # pixels
STYLE = (Path(__file__).parent / "templates" / "panels.css").read_text(encoding="utf-8")


def palette(classes: int) -> list[str]:
    """One colour per class; beyond 256 neighbours share one."""
    if classes <= len(PALETTE):
        return list(PALETTE[:classes])
    steps = turbo(min(classes, 256))
    return [steps[i * len(steps) // classes] for i in range(classes)]


def class_colours(project: Project) -> list[str]:
    """The colour of every class: those that have images stand as far apart as their number allows."""
    there = np.unique(np.concatenate([side.labels for side in (project.real, *project.generators.values())])).tolist()
    chosen = dict(zip(there, palette(len(there)), strict=True))
    return [chosen.get(label, REAL) for label in range(len(project.classes))]


def fine(project: Project) -> bool:
    """Whether images have detail enough to be enlarged smoothly; smaller ones show their pixels."""
    images = next(iter(project.generators.values())).images
    return images.manifest["arrays"]["images"]["shape"][-1] >= FINE


def point_size(side: Side) -> float:
    """Pixels: large where points are few, never too small to hit."""
    return float(np.clip(220 / np.sqrt(len(side.labels)), 4, 9))


def panel(name: str) -> Div:
    """A piece of HTML that the template places by name."""
    return Div(name=name, text="", stylesheets=[STYLE], margin=0, sizing_mode="stretch_width")


def show_empty(document: Document, message: str) -> None:
    """A page that says what is missing and what to run."""
    document.template_variables["message"] = message
    document.add_root(Div(name="empty", text=""))


def put(renderer: GlyphRenderer, **columns: np.ndarray | list) -> None:
    """New data for a source; where nothing changes, nothing travels and nothing is painted again."""
    source = renderer.data_source
    if any(not np.array_equal(source.data.get(name, ()), values) for name, values in columns.items()):
        source.data = columns


class Map:
    """The figure. Real and generated points have a source each; every mark has a small one of its own."""

    def __init__(self, project: Project, view: str) -> None:
        self.project = project
        colours = class_colours(project)
        self.figure = figure(
            name="map",
            output_backend="webgl",
            sizing_mode="stretch_both",
            match_aspect=True,
            tools="pan,wheel_zoom,box_zoom,reset,save",
            active_scroll="wheel_zoom",
            toolbar_location="right",
            lod_threshold=None,
            x_range=DataRange1d(range_padding=0.05),
            y_range=DataRange1d(range_padding=0.05),
        )
        self.figure.toolbar.logo = None
        self.figure.stylesheets = [":host(:focus:not(:focus-visible)) { outline: none; }"]
        self.figure.tags = [list(project.classes), fine(project)]
        self.frame = self._marks("frame", size=0, alpha=0)
        self.figure.x_range.renderers = self.figure.y_range.renderers = [self.frame]
        colour = linear_cmap("label", colours, -0.5, len(project.classes) - 0.5)
        self.real = self._points("real", marker="circle", size=point_size(project.real), color=REAL, alpha=0.55)
        most = max(project.generators.values(), key=lambda side: len(side.labels))
        self.fake = self._points("generated", marker="triangle", size=1.2 * point_size(most), color=colour, alpha=0.75)
        self.links = self.figure.segment("x", "y", "x1", "y1", source=self._source("x", "y", "x1", "y1"))
        self.links.glyph.update(line_color=NEW, line_width=1.5, line_dash="dashed")
        self.aims = self._marks("aims", marker="x", size=12, line_color=NEW, line_width=2.5)
        ring = dict(marker="circle", fill_alpha=0, line_color=RING)
        self.found = self._marks("found", size=14, line_width=1.5, **ring)
        self.manual = self._marks("manual", size=15, line_width=4, **ring)
        self.made = self._marks(
            "made", "size", "label", "id", marker="star", size="size", color=NEW, line_color="white", line_width=1
        )
        self.selected = self._marks(
            "selected", marker="circle", size=13, color=SELECTED, line_color="white", line_width=2
        )
        self._listen()
        self.show_view(view)

    def _source(self, *columns: str) -> ColumnDataSource:
        return ColumnDataSource({column: np.empty(0, np.float32) for column in columns})

    def _marks(self, name: str, *columns: str, **style: object) -> GlyphRenderer:
        source = self._source("x", "y", *columns)
        return self.figure.scatter("x", "y", source=source, name=f"marks {name}", **style)

    def _points(self, name: str, **style: object) -> GlyphRenderer:
        source = self._source("x", "y", "number", "label")
        return self.figure.scatter("x", "y", source=source, name=f"points {name}", **style)

    def _listen(self) -> None:
        args = dict(plot=self.figure, sides=[self.real, self.fake, self.made])
        for event in ("mousemove", "mouseleave", "tap"):
            code = f"window.explorer.{event}(cb_obj, plot, sides)"
            self.figure.js_on_event(event, CustomJS(args=args, code=code))

    def _fill(self, renderer: GlyphRenderer, side: Side, view: str) -> None:
        points = side.points[view]
        renderer.data_source.tags = [side.prefix, side.version, "real" if side.name == "real" else side.name]
        put(renderer, x=points[:, 0], y=points[:, 1], number=side.numbers, label=side.labels)

    def show_view(self, view: str) -> None:
        low, high = self.project.frame(view)
        put(self.frame, x=np.array([low[0], high[0]]), y=np.array([low[1], high[1]]))
        self._fill(self.real, self.project.real, view)

    def show_generator(self, view: str, generator: str) -> None:
        self._fill(self.fake, self.project.generators[generator], view)

    def _place(self, renderer: GlyphRenderer, view: str, ids: tuple[str, ...]) -> None:
        points = self.project.places(view, ids)
        put(renderer, x=points[:, 0], y=points[:, 1])

    def show_picks(self, state: State) -> None:
        self.real.visible, self.fake.visible = state.show_real, state.show_generated
        self._place(self.selected, state.view, () if state.selected is None else (state.selected,))
        self._place(self.found, state.view, state.found)
        self._place(self.manual, state.view, state.manual)

    def show_made(self, state: State, history: Sequence[Kept]) -> None:
        """A star where each image landed; for the one on display also its aim and the line between."""
        landed = np.array([place[:2] for kept in history if (place := kept.landed)], np.float32).reshape(-1, 2)
        put(
            self.made,
            x=landed[:, 0],
            y=landed[:, 1],
            size=np.array([24 if kept.id == state.shown else 13 for kept in history], np.float32),
            label=np.array([kept.recipe.label or 0 for kept in history], np.int32),
            id=[kept.id for kept in history],
        )
        shown = [kept for kept in history if kept.id == state.shown]
        aim = np.array([kept.recipe.aim.place[:2] for kept in shown], np.float32).reshape(-1, 2)
        end = np.array([place[:2] for kept in shown if (place := kept.landed)], np.float32).reshape(-1, 2)
        put(self.aims, x=aim[:, 0], y=aim[:, 1])
        put(self.links, x=aim[:, 0], y=aim[:, 1], x1=end[:, 0], y1=end[:, 1])


class Cards:
    """The panels beside the map. `images` is the address of the thumbnails."""

    def __init__(self, project: Project, images: str) -> None:
        self.project, self.images = project, images
        self.fine = " fine" if fine(project) else ""

    def image(self, sample_id: str, size: str, *, version: str = "", event: str = "", title: str = "") -> str:
        """An image by its address; with an event, a button."""
        source = html.escape(f"{self.images}{sample_id}{f'?v={version}' if version else ''}")
        text = html.escape(title or sample_id)
        picture = f'<img class="{size}{self.fine}" src="{source}" alt="{text}" title="{text}">'
        return f'<button data-event="{html.escape(event)}">{picture}</button>' if event else picture

    def sample(self, sample_id: str, size: str, *, event: str = "", title: str = "") -> str:
        side = self.project.side(sample_id)
        return self.image(sample_id, size, version=side.version if side else "", event=event, title=title)

    def named(self, sample_id: str) -> str:
        return f"class {self.project.classes[self.project.label(sample_id)]}"

    def selected(self, state: State) -> str:
        if state.selected is None:
            return "<h2>Selected</h2><p class='hint'>Nothing yet. Click a point on the map.</p>"
        name, what = html.escape(state.selected), html.escape(self.named(state.selected))
        return (
            "<h2>Selected <button class='cross' data-event='clear' title='Clear (Esc)' aria-label='Clear'>✕</button></h2>"
            f"<div class='pair'>{self.sample(state.selected, 'large blue')}<p><b>{what}</b><br><code>{name}</code></p></div>"
        )

    def neighbours(self, state: State) -> str:
        head = f"<h2>Neighbours <span class='count'>{len(state.neighbours)}</span></h2>"
        if not state.neighbours:
            hint = "Find the nearest, or click points." if state.selected else "They follow a selected point."
            return f"{head}<p class='hint'>{hint}</p>"
        thumbs = [
            self.sample(n, f"small {kind}", event=f"drop {n}", title=f"{n}, {self.named(n)}: click to take it out")
            for kind, names in (("thin", state.found), ("thick", state.manual))
            for n in names
        ]
        return f"{head}<div class='strip'>{''.join(thumbs)}</div>"

    def _asked(self, kept: Kept) -> str:
        """The class that an image was conditioned on."""
        label = kept.recipe.label
        return "no class" if label is None else f"class {self.project.classes[label]}"

    def result(self, kept: Kept | None, fits: bool) -> str:
        if kept is None:
            return "<h2>Generated</h2><p class='hint'>Nothing on display.</p>"
        made = kept.recipe
        parts = [("", "with the mask", "large green"), ("/free", "same seed, no mask", "large")]
        parts.append(("/mean", "neighbours' mean", "large"))
        shown = "".join(
            f"<figure>{self.image(kept.id + end, size, title=words)}<figcaption>{words}</figcaption></figure>"
            for end, words, size in parts
        )
        where = "made for an earlier map, so it is not drawn on this one"
        if fits and kept.landed is not None:
            where = (
                f"landed {float(np.linalg.norm(np.subtract(kept.landed, made.aim.place))):.2f} map units from its aim"
            )
        if fits and kept.record["relative"] is not None:
            where += f", in features {kept.record['relative']:.2f} of the distance without mask"
        return (
            f"<h2>Generated</h2><div class='three'>{shown}</div>"
            f"<p>{html.escape(self._asked(kept))}, seed {made.seed}<br>{where}<br>"
            f"held: {html.escape(', '.join(made.layers))}<br><code>{html.escape(kept.id)}</code></p>"
        )

    def history(self, state: State, history: Sequence[Kept]) -> str:
        head = f"<h2>Made with {html.escape(state.generator)} <span class='count'>{len(history)}</span></h2>"
        if not history:
            return f"{head}<p class='hint'>What you generate is kept here.</p>"
        thumbs = [
            self.image(
                kept.id,
                "small green" if kept.id == state.shown else "small",
                event=f"show {kept.id}",
                title=f"{self._asked(kept)}, seed {kept.recipe.seed}, {kept.id}",
            )
            for kept in history
        ]
        return f"{head}<div class='strip'>{''.join(thumbs)}</div>"

    def legend(self, state: State, most: int = 20) -> str:
        """Marks by kind, classes by colour with their counts: generated, then real."""
        fake, real = (
            np.bincount(side.labels, minlength=len(self.project.classes))
            for side in (self.project.generators[state.generator], self.project.real)
        )
        colours, classes = class_colours(self.project), self.project.classes
        there = np.flatnonzero(fake + real).tolist()
        wide = " wide" if any(len(classes[c]) > 9 for c in there[:most]) else ""
        kinds = (
            f"<span><i style='color:{REAL}'>●</i>real {real.sum():,}</span>"
            f"<span><i class='hollow'>△</i>generated {fake.sum():,}</span>"
            f"<span><i style='color:{NEW}'>★</i>made here</span><span><i style='color:{NEW}'>✕</i>aimed at</span>"
        )
        rows = "".join(
            f"<span title='{name}: {fake[c]} generated, {real[c]} real'><i style='color:{colours[c]}'>▲</i>"
            f"<b>{name}</b> {fake[c]} / {real[c]}</span>"
            for c, name in ((c, html.escape(classes[c])) for c in there[:most])
        )
        more = len(there) - most
        rest = f"<span>and {more} more classes</span>" if more > 0 else ""
        return (
            f"<h2>Legend</h2><div class='legend'>{kinds}</div>"
            f"<h3>class: generated / real</h3><div class='legend{wide}'>{rows}{rest}</div>"
        )


def held_words(layers: Sequence[str], controls: pd.DataFrame) -> str:
    """What holding these layers fixes and what it leaves free, and what that was measured to control."""
    if not layers:
        return "No layer of this generator can be held."
    if "midblock" in layers:
        rest = "The bottleneck then acts only through the skip connection into the first decoder block."
    elif len(layers) > 1:
        rest = "Every skip connection is fixed too: only the class still acts, and seeds hardly differ."
    else:
        rest = "It also feeds the skip connection into the first decoder block. Class, noise and other skips stay free."
    found = controls[controls["layers"] == " ".join(layers)].to_dict("records")
    names = {"recorded": "generated neighbours", "nearest": "real neighbours"}
    measured = [
        f"{line['control']:.2f} at diversity {line['diversity']:.2f} with {names[line['source']]}"
        for line in found
        if line["source"] in names
    ]
    quoted = f" Distance to the aim over that without a mask: {', '.join(measured)}." if measured else ""
    return f"Held: the neighbours' mean of <b>{html.escape(', '.join(layers))}</b>. {rest}{quoted}"
