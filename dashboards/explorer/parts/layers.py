"""The renderers of what is drawn over (and under) the points of one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, Glyph, GlyphRenderer, ImageRGBA, MultiLine, Scatter, Text
from bokeh.plotting import figure

from modescope.atlas import Box

from ..drawing import add
from ..shapes import Contour, Names, Number, Outline

WIDTHS = {0.5: 2.2, 0.8: 1.5, 0.95: 0.9}
"""Pixels of a contour, by the share inside."""
GAPS = ("missing", "reached", "open")
FONT = "system-ui, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"
PLATE: Mapping[str, Any] = {
    "text_align": "center",
    "text_baseline": "middle",
    "text_font": value(FONT),
    "border_radius": 4,
}


class Layers:
    """Of the figure of map `number`, 1 or 2. Every method draws what it is given; nothing given: nothing drawn."""

    def __init__(self, plot: figure, number: int) -> None:
        self._plot, self._end = plot, "" if number == 1 else f" {number}"
        image = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")})
        picture = ImageRGBA(image="image", x="x", y="y", dw="dw", dh="dh")
        self.image = self._add("difference", picture, image, level="underlay")
        self.lines = {
            "real": self._lines("contours real", "width", line_width="width", line_dash=[5, 4]),
            "generated": self._lines("contours generated", "width", line_width="width"),
        }
        self.gaps = {
            "missing": self._lines("gaps missing", "rank", line_width=1.8),
            "reached": self._lines("gaps reached", "rank", line_width=1.8, line_dash=[6, 4]),
            "open": self._lines("gaps open", "rank", line_width=4),
        }
        self.ringed = self._marks("class", marker="circle", size=10, fill_alpha=0, line_width=1.4)
        self.words = self._text(
            "names", text_font_size="12px", text_font_style="bold", background_fill_alpha=0.72, padding=1
        )
        self.numbers = self._text(
            "gap numbers",
            "rank",
            text_font_size="11px",
            text_font_style="bold",
            background_fill_color="colour",
            padding=3,
        )

    def _source(self, *columns: str) -> ColumnDataSource:
        return ColumnDataSource({name: [] for name in columns})

    def _lines(self, name: str, *columns: str, **style: Any) -> GlyphRenderer:
        source = self._source("xs", "ys", *columns)
        return self._add(name, MultiLine(xs="xs", ys="ys", **style), source)

    def _marks(self, name: str, **style: Any) -> GlyphRenderer:
        return self._add(f"marks {name}", Scatter(x="x", y="y", **style), self._source("x", "y"))

    def _text(self, name: str, *columns: str, **style: Any) -> GlyphRenderer:
        source = self._source("x", "y", "text", "colour", *columns)
        return self._add(name, Text(x="x", y="y", **PLATE, **style), source)

    def _add(self, name: str, glyph: Glyph, source: ColumnDataSource, **more: Any) -> GlyphRenderer:
        place = {"level": "overlay", **more}  # where the points are not painted again
        return add(self._plot, f"{name}{self._end}", glyph, source, **place)

    def paint(self, theme: Mapping[str, str], generated: str) -> None:
        """The colours of the page, and of the generator that is shown."""
        self.lines["real"].glyph.line_color = theme["soft"]
        self.lines["generated"].glyph.line_color = generated
        for name, colour in zip(GAPS, ("few", "new", "selected"), strict=True):
            self.gaps[name].glyph.line_color = theme[colour]
        self.ringed.glyph.line_color = theme["ink"]
        self.words.glyph.update(text_color=theme["ink"], background_fill_color=theme["halo"])
        self.numbers.glyph.text_color = theme["halo"]

    def clear(self) -> None:
        """Nothing is drawn until there is something new to draw."""
        for each in (self.image, *self.lines.values(), *self.gaps.values(), self.ringed, self.numbers, self.words):
            _put(each, **{name: [] for name in each.data_source.data})

    def contours(self, drawn: Mapping[str, Sequence[Contour]]) -> None:
        for kind, renderer in self.lines.items():
            lines = drawn.get(kind, ())
            _put(renderer, **_xy([each.line for each in lines]), width=[WIDTHS[each.share] for each in lines])

    def difference(self, drawn: tuple[np.ndarray, Box] | None) -> None:
        if drawn is None:
            _put(self.image, image=[], x=[], y=[], dw=[], dh=[])
        else:
            pixels, box = drawn
            _put(self.image, image=[pixels], x=[box.left], y=[box.bottom], dw=[box.width], dh=[box.height])

    def outlines(
        self, drawn: Sequence[Outline], numbers: Sequence[Number], opened: int | None, theme: Mapping[str, str]
    ) -> None:
        """Missing regions with their numbers; the open one is drawn thick."""
        kinds = {each.rank: kind_of(each, opened) for each in drawn}
        for kind, renderer in self.gaps.items():
            chosen = [each for each in drawn if kinds[each.rank] == kind]
            rings = [(each.rank, ring) for each in chosen for polygon in each.polygons for ring in polygon]
            _put(renderer, **_xy([ring for _, ring in rings]), rank=[rank for rank, _ in rings])
        colours = dict(zip(GAPS, (theme["few"], theme["new"], theme["selected"]), strict=True))
        _put(
            self.numbers,
            x=[each.x for each in numbers],
            y=[each.y for each in numbers],
            text=[str(each.rank + 1) for each in numbers],
            colour=[colours[kinds[each.rank]] for each in numbers],
            rank=[each.rank for each in numbers],
        )

    def names(self, drawn: Names | None) -> None:
        if drawn is None:
            _put(self.words, x=[], y=[], text=[], colour=[])
        else:
            _put(self.words, x=drawn.x, y=drawn.y, text=list(drawn.words), colour=[""] * len(drawn.words))

    def rings(self, places: np.ndarray) -> None:
        _put(self.ringed, x=places[:, 0], y=places[:, 1])


def kind_of(drawn: Outline, opened: int | None) -> str:
    return "open" if drawn.rank == opened else "reached" if drawn.reached else "missing"


def _xy(lines: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    return {axis: [np.ascontiguousarray(line[:, i]) for line in lines] for i, axis in enumerate(("xs", "ys"))}


def _put(renderer: GlyphRenderer, **columns: Any) -> None:
    """New data; nothing travels where there was nothing and is nothing."""
    if len(next(iter(columns.values()))) or len(next(iter(renderer.data_source.data.values()))):
        renderer.data_source.data = columns
