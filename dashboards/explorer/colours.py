"""What the colour of a point says: `paint` gives every sample of a side its place in a palette, for markers and rasters.

Colours of markers are uint32 0xRRGGBBAA, as Bokeh's columns take them. A second map beside the first asks with a state in
which `look.generator` and `look.versus` are exchanged: real samples are coloured by what was measured of `look.generator`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8, UInt32

from modescope import atlas

from . import palettes, superclasses
from .evidence import ERROR, Evidence, evidence
from .palettes import THEMES
from .resources import Project, Side
from .states import State
from .states.looks import COLOURS, Look

REAL, SELECTED, RING, NEW = (THEMES["light"][name] for name in ("real", "selected", "ring", "new"))
"""On a light page; `theme` has those of the state's."""
TOP = 10
"""Classes that `top classes` colours."""
STRONG, MIDDLE, WEAK, FAR = 235, 200, 140, 45
"""Alpha of what must be seen, of colours, of what stays behind, and of what the colours do not speak of."""
COLUMNS: Mapping[str, Mapping[bool, str]] = {
    "coverage": {True: "covered", False: "precise"},
    "density ratio": {True: "density_ratio"},
    "distance": {True: "nearest_fake", False: "nearest_real"},
    "inversion error": {True: ERROR},
}
"""Colour => the score that it shows, of real samples (True) and generated ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paint:
    """Colours of one side's samples: `palette[labels]` or `palette` at `values` in [0, 1]; neither: its first colour
    everywhere. Samples whose value is NaN have the colour `rest`. `alpha` goes with the palette.
    """

    palette: UInt8[np.ndarray, "P 3"]
    alpha: UInt8[np.ndarray, " P"]
    labels: Int32[np.ndarray, " N"] | None = None
    values: Float32[np.ndarray, " N"] | None = None
    rest: UInt8[np.ndarray, " 3"]

    def points(self, count: int) -> UInt32[np.ndarray, " N"]:
        packed = packing(self.palette, self.alpha)
        if self.labels is not None:
            return packed[self.labels]
        if self.values is None:
            return np.full(count, packed[0])
        known = ~np.isnan(self.values)
        colours = packed[np.rint(np.where(known, self.values, 0) * (len(packed) - 1)).astype(np.int32)]
        return np.where(known, colours, packing(self.rest[None], np.array([WEAK], np.uint8))[0])


def theme(state: State) -> Mapping[str, str]:
    """Colours of the figure by name: see `palettes.THEMES`."""
    return THEMES[state.look.theme]


def of_points(project: Project, state: State, side: Side) -> UInt32[np.ndarray, " N"]:
    """0xRRGGBBAA for every sample of a side, shared by all sessions: never write into it."""
    return _points(project, side, *_asked(project, state, side))


def for_raster(
    project: Project, state: State, side: Side
) -> tuple[UInt8[np.ndarray, "P 3"], Int32[np.ndarray, " N"] | None, Float32[np.ndarray, " N"] | None]:
    """The same for `atlas.raster`: palette, labels, values."""
    paint = painted(project, state, side)
    return paint.palette, paint.labels, paint.values


def painted(project: Project, state: State, side: Side) -> Paint:
    return _paint(project, side, *_asked(project, state, side))


def kept(state: State, side: Side) -> Bool[np.ndarray, " N"] | None:
    """Which samples of a side are shown: those of the classes of `look.solo`; None: all."""
    return None if not state.look.solo else of_classes(side, state.look.solo)


@lru_cache(maxsize=16)
def of_classes(side: Side, classes: tuple[int, ...]) -> Bool[np.ndarray, " N"]:
    return np.isin(side.labels, classes)


def modes(project: Project, look: Look) -> tuple[str, ...]:
    """What colours can say of this view and generator."""
    measured = evidence(project, look.view, look.generator)
    sides = ((True, project.real), (False, project.generators[look.generator]))

    def there(colour: str) -> bool:
        if colour == "top classes":
            return len(present(project)) > TOP
        if colour == "superclass":
            return superclasses.of(project) is not None
        names = COLUMNS.get(colour)
        return names is None or any(measured.has(names[real]) for real, _side in sides if real in names)

    return tuple(colour for colour in COLOURS if there(colour))


def mode(project: Project, look: Look) -> str:
    """What colours say: what the visitor chose, or the class where that was not measured."""
    return look.colour if look.colour in modes(project, look) else "class"


@lru_cache(maxsize=4)
def present(project: Project) -> tuple[int, ...]:
    """Classes that have an image, most real ones first."""
    real, *others = (np.bincount(side.labels, minlength=len(project.classes)) for side in sides(project))
    every = real + sum(others)
    return tuple(int(c) for c in np.lexsort((-every, -real)) if every[c])


def sides(project: Project) -> list[Side]:
    return [project.real, *project.generators.values()]


def class_colours(project: Project, look: Look) -> list[str]:
    """The colour of every class: those that have images stand as far apart as their number allows."""
    dark = look.theme == "dark"
    if mode(project, look) == "superclass":
        shades = superclass_colours(project, look)
        return [shades[place] for place in places_of(project)]
    top = mode(project, look) == "top classes"
    there = present(project)[:TOP] if top else sorted(present(project))
    chosen = dict(zip(there, palettes.classes(look.palette, len(there), dark=dark), strict=True))
    rest = THEMES[look.theme]["faint" if top else "real"]
    return [chosen.get(label, rest) for label in range(len(project.classes))]


def places_of(project: Project) -> list[int]:
    """The superclass of every class, by its place in the table of them; empty where there are none."""
    groups = superclasses.of(project)
    return [] if groups is None else groups.tolist()


def superclass_colours(project: Project, look: Look) -> dict[int, str]:
    """The colour of every superclass that a class of the project is in."""
    there = sorted(set(places_of(project)))
    return dict(zip(there, palettes.classes(look.palette, len(there), dark=look.theme == "dark"), strict=True))


def generator_colour(project: Project, name: str, look: Look) -> str:
    return palettes.generator(list(project.params.generators).index(name), dark=look.theme == "dark")


def _asked(project: Project, state: State, side: Side) -> tuple[Look, Evidence]:
    """What a painting depends on, and no more of the look than that."""
    look = state.look
    generator, versus = look.generator, look.versus
    if side.name == versus:
        generator, versus = versus, generator
    plain = Look(
        view=look.view,
        generator=generator,
        versus=versus,
        kinds=("real",) if look.kinds == ("real",) else ("real", "generated"),
        colour=look.colour,
        palette=look.palette,
        theme=look.theme,
    )
    return plain, evidence(project, look.view, generator)


@lru_cache(maxsize=12)
def _points(project: Project, side: Side, look: Look, measured: Evidence) -> UInt32[np.ndarray, " N"]:
    colours = _paint(project, side, look, measured).points(len(side.labels))
    colours.flags.writeable = False
    return colours


@lru_cache(maxsize=12)
def _paint(project: Project, side: Side, look: Look, measured: Evidence) -> Paint:
    real, chosen = side.name == "real", mode(project, look)
    if chosen == "coverage":
        return _coverage(side, look, measured)
    if chosen == "inversion error":
        return _inversion(project, side, look, measured)
    if chosen in COLUMNS:
        return _measure(project, side, look, measured)
    shade = THEMES[look.theme]["real"]
    if real and "generated" in look.kinds:  # grey, so that what is generated stands out
        return _flat(shade, look, WEAK)
    if chosen == "generator":
        return _flat(shade, look, WEAK) if real else _flat(generator_colour(project, side.name, look), look, MIDDLE)
    palette = palettes.rgb(class_colours(project, look))
    alpha = np.full(len(palette), MIDDLE, np.uint8)
    return Paint(palette=palette, alpha=alpha, labels=side.labels, rest=_rest(look))


def _rest(look: Look) -> UInt8[np.ndarray, " 3"]:
    return palettes.rgb([THEMES[look.theme]["faint"]])[0]


def _flat(colour: str, look: Look, alpha: int) -> Paint:
    return Paint(palette=palettes.rgb([colour]), alpha=np.array([alpha], np.uint8), rest=_rest(look))


def _coverage(side: Side, look: Look, measured: Evidence) -> Paint:
    """What is not covered, and what is not precise, in strong colours; the others in grey."""
    real = side.name == "real"
    good = measured.column(side, COLUMNS["coverage"][real])
    shades = THEMES[look.theme]
    if good is None:
        return _flat(shades["faint"], look, FAR)
    palette = palettes.rgb([shades["few" if real else "many"], shades["real" if real else "faint"]])
    alpha = np.array([STRONG, WEAK if real else 2 * FAR], np.uint8)
    return Paint(palette=palette, alpha=alpha, labels=good.astype(np.int32), rest=_rest(look))


def _measure(project: Project, side: Side, look: Look, measured: Evidence) -> Paint:
    name = COLUMNS[look.colour].get(side.name == "real")
    values = None if name is None else measured.column(side, name)
    scale = scale_of(project, look)
    if values is None or scale is None:
        return _flat(THEMES[look.theme]["faint"], look, FAR)
    palette = continuous(look)
    alpha = np.full(len(palette), MIDDLE, np.uint8)
    return Paint(palette=palette, alpha=alpha, values=scale.unit(values), rest=_rest(look))


def _inversion(project: Project, side: Side, look: Look, measured: Evidence) -> Paint:
    """What cannot be made by its error, what can in grey, what was not tried faint."""
    errors = measured.column(side, ERROR)
    scale = scale_of(project, look)
    shades = THEMES[look.theme]
    if errors is None or scale is None:
        return _flat(shades["faint"], look, FAR)
    colours = continuous(look)
    far = 2 + np.rint(scale.unit(np.nan_to_num(errors)) * (len(colours) - 1)).astype(np.int32)
    labels = np.where(np.isnan(errors), 0, np.where(errors <= enough(project), 1, far)).astype(np.int32)
    palette = np.concatenate([palettes.rgb([shades["faint"], shades["real"]]), colours])
    alpha = np.array([FAR, WEAK] + [STRONG] * len(colours), np.uint8)
    return Paint(palette=palette, alpha=alpha, labels=labels, rest=_rest(look))


def enough(project: Project) -> float:
    """The error up to which an image counts as made."""
    return project.params.inversion.enough


def continuous(look: Look) -> UInt8[np.ndarray, "256 3"]:
    """The palette of a measure, low to high."""
    dark = look.theme == "dark"
    return (
        palettes.diverging(dark=dark)
        if look.colour == "density ratio"
        else palettes.sequential(look.palette, dark=dark)
    )


def scale_of(project: Project, look: Look) -> atlas.Scale | None:
    """The range of a measure, one for both kinds and for generators side by side; None where nothing is measured."""
    names = sorted(name for name in (look.generator, look.versus) if name)
    return _scale(project, look.colour, tuple(evidence(project, look.view, name) for name in names))


@lru_cache(maxsize=32)
def _scale(project: Project, colour: str, measured: tuple[Evidence, ...]) -> atlas.Scale | None:
    columns = [
        each.column(project.real if real else project.generators[each.generator], name)
        for each in measured
        for real, name in COLUMNS[colour].items()
    ]
    there = [column for column in columns if column is not None]
    if there and colour == "inversion error":  # from what counts as made, over a factor of ten at least
        worst = float(np.nanmax(np.concatenate(there)))
        return atlas.Scale(kind="log", low=enough(project), high=max(worst, 10 * enough(project)))
    return atlas.Scale.of(np.concatenate(there), "ratio" if colour == "density ratio" else "linear") if there else None


def packing(palette: UInt8[np.ndarray, "P 3"], alpha: UInt8[np.ndarray, " P"]) -> UInt32[np.ndarray, " P"]:
    """Colours as numbers 0xRRGGBBAA."""
    red, green, blue = palette.astype(np.uint32).T
    return red << 24 | green << 16 | blue << 8 | alpha
