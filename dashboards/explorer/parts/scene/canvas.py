"""A figure of the map: an image and markers for each side, and small sources for every mark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.core.properties import field, value
from bokeh.models import (
    BoxSelectTool,
    BoxZoomTool,
    ColumnDataSource,
    CustomAction,
    CustomJS,
    Glyph,
    GlyphRenderer,
    ImageRGBA,
    LassoSelectTool,
    PanTool,
    Range1d,
    ResetTool,
    SaveTool,
    Scatter,
    Segment,
    WheelZoomTool,
)
from bokeh.plotting import figure

from modescope.atlas import Box

from ...drawing import add
from .detail import Picture, Thumbnails

KINDS = ("real", "generated")
ICON = (
    "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'>"
    "<text x='12' y='11' fill='gray' text-anchor='middle' style='font:700 10px sans-serif'>SVG</text>"
    "<path d='M12 13v7.5M8.5 17.5l3.5 3.5 3.5-3.5' stroke='gray' stroke-width='1.6' fill='none'/></svg>"
)
"""Of the tool that saves the map as SVG, in about the grey that Bokeh's icons have on any page (it encodes the address)."""
HEARD = ("mousemove", "mouseleave", "tap", "doubletap", "reset", "selectiongeometry")
"""Events of a figure that map.js takes."""


def put(renderer: GlyphRenderer, **columns: np.ndarray | list) -> None:
    """New data for a source; where nothing changes, nothing travels and nothing is painted again."""
    source = renderer.data_source
    same = source.data.keys() == columns.keys()
    if not same or any(not _same(source.data[name], values) for name, values in columns.items()):
        source.data = columns


def _same(old: Any, new: Any) -> bool:
    return old is new or (len(old) == len(new) and np.array_equal(old, new))


def columns(places: np.ndarray) -> dict[str, np.ndarray]:
    """Places (n, 2 or 3) as columns x, y (and z, which map.js turns)."""
    return {axis: np.ascontiguousarray(places[:, i], np.float32) for i, axis in enumerate("xyz"[: places.shape[1]])}


def point_size(count: int) -> float:
    """Pixels: large where points are few, never too small to hit."""
    return float(np.clip(220 / np.sqrt(max(count, 1)), 3, 9))


def ranges(box: Box) -> dict[str, Range1d]:
    """The page moves them, and tells by event `view`: they are not sent back for every frame of a pan."""
    x = Range1d(box.left, box.right, syncable=False)
    y = Range1d(box.bottom, box.top, syncable=False)
    moved = CustomJS(code="window.explorer.map.moved()")
    for each in (x, y):
        each.js_on_change("start", moved)
        each.js_on_change("end", moved)
    return {"x_range": x, "y_range": y}


class Canvas:
    """`number` is 1 for the map and 2 for the one beside it, which has the same ranges."""

    def __init__(self, number: int, axes: Mapping[str, Range1d], config: Mapping[str, Any]) -> None:
        self.number = number
        self.suffix = "" if number == 1 else f" {number}"
        self.figure = figure(
            name="map" if number == 1 else f"map{number}",
            output_backend="webgl",
            sizing_mode="stretch_both",
            tools=[
                PanTool(),
                wheel := WheelZoomTool(),
                BoxZoomTool(match_aspect=True),
                LassoSelectTool(renderers=[]),
                BoxSelectTool(renderers=[]),
                ResetTool(),
                SaveTool(filename="modescope", description="Save as PNG"),
                CustomAction(icon=ICON, description="Save as SVG (S)", callback=CustomJS(code="explorer.picture()")),
            ],
            toolbar_location="right",
            lod_threshold=None,
            tags=[dict(config)],
            **axes,
        )
        self.figure.toolbar.logo = None
        self.figure.toolbar.active_scroll = wheel
        self.figure.toolbar.stylesheets = [".bk-divider { background-color: var(--line); }"]
        self.figure.stylesheets = [":host(:focus:not(:focus-visible)) { outline: none; }"]
        self._shared: dict[str, GlyphRenderer] = {}
        self._filled = CustomJS(code="window.explorer.map.filled(cb_obj)")
        self.rasters = {kind: self._raster(kind) for kind in KINDS}
        self.points = {
            kind: self._points(kind, marker) for kind, marker in zip(KINDS, ("circle", "triangle"), strict=True)
        }
        self.images = self.marks("images", "id", "version", "colour", marker="dot", size=0)
        for event in HEARD:
            self.figure.js_on_event(event, CustomJS(code=f"window.explorer.map.{event}(cb_obj)"))
        self.figure.title.js_on_change("visible", CustomJS(code="window.explorer.map.titled()"))
        resized = CustomJS(code="window.explorer.map.resized()")
        self.figure.js_on_change("inner_width", resized)
        self.figure.js_on_change("inner_height", resized)

    def _add(self, name: str, glyph: Glyph, source: ColumnDataSource, **more: Any) -> GlyphRenderer:
        return add(self.figure, f"{name}{self.suffix}", glyph, source, **more)

    def _raster(self, kind: str) -> GlyphRenderer:
        glyph = ImageRGBA(image="image", x="x", y="y", dw="dw", dh="dh")
        empty = {"image": [np.zeros((1, 1), np.uint32)], **{name: [0.0] for name in ("x", "y", "dw", "dh")}}
        return self._add(f"raster {kind}", glyph, ColumnDataSource(empty), visible=False)

    def _points(self, kind: str, marker: str) -> GlyphRenderer:
        glyph = Scatter(x="x", y="y", marker=value(marker), fill_color=field("colour"), line_color=None)
        return self._add(f"points {kind}", glyph, self._source("x", "y", "number", "label", "colour"))

    def _source(self, *names: str) -> ColumnDataSource:
        source = ColumnDataSource({name: np.empty(0, np.uint32 if name == "colour" else np.float32) for name in names})
        source.js_on_change("data", self._filled)
        return source

    def links(self) -> GlyphRenderer:
        """Lines from an aim to where the image landed."""
        source = ColumnDataSource({name: np.empty(0, np.float32) for name in ("x", "y", "x1", "y1")})
        glyph = Segment(x0="x", y0="y", x1="x1", y1="y1", line_width=1.5, line_dash="dashed")
        return self._add("links made", glyph, source, level="overlay")

    def marks(self, what: str, *names: str, marker: str, **style: Any) -> GlyphRenderer:
        """On a layer of their own: where they change, the points are not painted again."""
        glyph = Scatter(x="x", y="y", marker=value(marker), **style)
        return self._add(f"marks {what}", glyph, self._source("x", "y", *names), level="overlay")

    def share(self, linked: Mapping[str, GlyphRenderer]) -> None:
        """The marks of another map, here too."""
        for what, marks in linked.items():
            if what not in self._shared:
                self._shared[what] = self._add(f"marks {what}", marks.glyph.clone(), marks.data_source, level="overlay")
            self._shared[what].glyph.update(fill_color=marks.glyph.fill_color, line_color=marks.glyph.line_color)

    def paint(self, theme: Mapping[str, str]) -> None:
        """The colours of the page."""
        self.figure.update(
            background_fill_color=theme["background"],
            border_fill_color=theme["background"],
            outline_line_color=theme["outline"],
        )
        self.figure.grid.grid_line_color = theme["grid"]
        self.figure.title.update(text_color=theme["soft"], text_font_size="12px")

    def show(self, kind: str, view: str, picture: Picture | None, words: str) -> None:
        """One side's picture; None: that kind is hidden. `words` say where its samples come from."""
        markers, raster = self.points[kind], self.rasters[kind]
        markers.visible = picture is not None
        raster.visible = picture is not None and picture.image is not None
        if picture is None:
            return
        side, rows = picture.side, picture.rows
        markers.data_source.tags = [side.prefix, side.version, words, picture.complete]
        markers.glyph.size = (1.2 if kind == "generated" else 1) * point_size(
            len(rows) if picture.complete else 1 << 20
        )
        depth = {"z": side.depths[view][rows]} if view in side.depths else {}
        x, y = (np.ascontiguousarray(side.points[view][rows, axis]) for axis in (0, 1))
        put(markers, x=x, y=y, **depth, number=side.numbers[rows], label=side.labels[rows], colour=picture.colours)
        if picture.image is not None and picture.box is not None:
            box = picture.box
            corner = {"x": [box.left], "y": [box.bottom], "dw": [box.width], "dh": [box.height]}
            raster.data_source.data = {"image": [picture.image], **corner}

    def thumbnails(self, view: str, chosen: Thumbnails) -> None:
        here = list(zip(chosen.sides, chosen.rows, strict=True))
        places = np.array([side.place(view, row) for side, row in here], np.float32)
        columns_of = columns(places.reshape(len(here), places.shape[-1] if here else 2))
        ids, versions = [side.id(row) for side, row in here], [side.version for side, _ in here]
        put(self.images, **columns_of, id=ids, version=versions, colour=chosen.colours)
