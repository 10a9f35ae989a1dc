"""What the legend says of kinds, colours and overlays, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator

import numpy as np

from modescope import atlas

from .. import colours, palettes, shapes, superclasses
from ..evidence import ERROR, evidence
from ..resources import Project
from ..states import State

CIRCLE, TRIANGLE, HOLLOW, STAR, CROSS = "●▲△★✕"
MEASURES = {
    "density ratio": ("generated over expected, around each real image", "too few", "too many"),
    "distance": ("to the nearest of the other kind, in features", "close", "far"),
    "inversion error": ("mean squared error of the best attempt", "nearly made", "far off"),
}
"""What a colour bar shows, and the words at its ends."""
STOPS = 12
BY_CLASS = ("class", "top classes", "superclass")
"""Where colours say the class, or what it belongs to."""
TOLD = {("real", "generated"): "generated and real", ("real",): "real", ("generated",): "generated"}
"""Kinds that are shown: what two numbers, or one, count."""


def text(project: Project, state: State) -> str:
    """All but the classes."""
    parts = [f"<div class='legend flow'>{''.join(kinds(project, state))}</div>"]
    if colour := colour_key(project, state):
        parts.append(f"<h3>colour: {colours.mode(project, state.look)}</h3>{colour}")
    if drawn := "".join(overlays(project, state)):
        parts.append(f"<h3>drawn over it</h3><div class='legend wide'>{drawn}</div>")
    return "".join(parts)


def line(sign: str, colour: str, words: str, count: int | None = None) -> str:
    number = "" if count is None else f" <b>{count:,}</b>"
    return f"<span><i style='color:{colour}'>{sign}</i>{html.escape(words)}{number}</span>"


def kinds(project: Project, state: State) -> Iterator[str]:
    look, theme = state.look, colours.theme(state)
    if "real" in look.kinds:
        yield line(CIRCLE, theme["real"], "real", len(project.real))
    if "generated" in look.kinds:
        yield line(HOLLOW, theme["ink"], "generated", len(project.generators[look.generator]))
    yield line(STAR, theme["new"], "made here")
    yield line(CROSS, theme["new"], "aimed at")


def colour_key(project: Project, state: State) -> str:
    """What colours say, where it is not the class."""
    look, mode = state.look, colours.mode(project, state.look)
    if mode == "generator":
        names = [name for name in (look.generator, look.versus) if name]
        lines = (line(TRIANGLE, colours.generator_colour(project, name, look), name) for name in names)
        return f"<div class='legend wide'>{''.join(lines)}</div>"
    if mode == "superclass":
        return f"<div class='legend groups'>{''.join(_superclasses(project, state))}</div>"
    if mode == "coverage":
        return f"<div class='legend wide'>{''.join(_coverage(project, state))}</div>"
    made = "".join(_inverted(project, state)) if mode == "inversion error" else ""
    return made + (_bar(project, state) if mode in MEASURES else "")


def _superclasses(project: Project, state: State) -> Iterator[str]:
    """Each with its samples, and shown alone by a click."""
    look, own = state.look, np.array(colours.places_of(project))
    sides = [project.generators[look.generator]] if "generated" in look.kinds else []
    sides += [project.real] if "real" in look.kinds else []
    counts = [np.bincount(own[side.labels], minlength=len(superclasses.table())) for side in sides]
    sign = CIRCLE if look.kinds == ("real",) else TRIANGLE
    for place, colour in colours.superclass_colours(project, look).items():
        words = html.escape(superclasses.table()[place][0])
        totals = "".join(f"<b>{count[place]:,}</b>" for count in counts)
        off = "off" if look.solo and not set(look.solo) & set(superclasses.members(project, place)) else ""
        said = f"{words}: click shows it alone; {TOLD.get(look.kinds, '')}"
        yield (
            f"<button data-event='solo-group {place}' class='{off}' title='{said}'>"
            f"<span><i style='color:{colour}'>{sign}</i>{words}</span>{totals}</button>"
        )


def _inverted(project: Project, state: State) -> Iterator[str]:
    look, theme, limit = state.look, colours.theme(state), colours.enough(project)
    errors = evidence(project, look.view, look.generator).column(project.real, ERROR)
    if errors is not None and "real" in look.kinds:
        counts = int((errors <= limit).sum()), int((errors > limit).sum()), int(np.isnan(errors).sum())
        shade = palettes.hexes(colours.continuous(look)[128:129])[0]
        yield "<div class='legend wide'>"
        yield line(CIRCLE, theme["real"], f"real, can be made (up to {limit:g})", counts[0])
        yield line(CIRCLE, shade, "real, cannot be made", counts[1])
        yield line(CIRCLE, theme["faint"], "real, not tried", counts[2]) if counts[2] else ""
        yield "</div>"


def _coverage(project: Project, state: State) -> Iterator[str]:
    look, theme = state.look, colours.theme(state)
    measured = evidence(project, look.view, look.generator)
    covered = measured.column(project.real, "covered")
    precise = measured.column(project.generators[look.generator], "precise")
    if covered is not None and "real" in look.kinds:
        yield line(CIRCLE, theme["few"], "real, not covered", int((~covered).sum()))
        yield line(CIRCLE, theme["real"], "real, covered", int(covered.sum()))
    if precise is not None and "generated" in look.kinds:
        yield line(TRIANGLE, theme["many"], "generated, off the real ones", int((~precise).sum()))
        yield line(TRIANGLE, theme["faint"], "generated, among real ones", int(precise.sum()))


def _bar(project: Project, state: State) -> str:
    look = state.look
    scale = colours.scale_of(project, look)
    if scale is None:
        return ""
    what, low, high = MEASURES[look.colour]
    palette = colours.continuous(look)
    stops = palettes.hexes(palette[np.linspace(0, len(palette) - 1, STOPS).astype(int)])
    values, places = scale.ticks(6)
    ticks = "".join(
        f"<span style='left:{100 * place:.1f}%'>{_short(value) if scale.kind == 'ratio' else f'{value:.3g}'}</span>"
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
    )
    return (
        f"<p class='note'>{what}</p><div class='scale'><i style='background:linear-gradient(90deg,{','.join(stops)})'></i>"
        f"{ticks}</div><p class='ends'><span>{low}</span><span>{high}</span></p>"
    )


def _short(value: float) -> str:
    """A round number; below 1 as a share, where it is one: 1/16."""
    whole = round(1 / value) if 0 < value < 1 else 0
    return f"1/{whole}" if whole and abs(whole * value - 1) < 1e-6 else f"{value:.3g}"


def overlays(project: Project, state: State) -> Iterator[str]:
    """Of what is switched on and drawn."""
    look, theme = state.look, colours.theme(state)
    if not shapes.flat(project, look.view):
        return
    both = look.kinds == ("real", "generated")
    if "contours" in look.overlays:
        lines = [_stroke(theme["soft"], "4 3") + "real"] if "real" in look.kinds else []
        if "generated" in look.kinds:
            lines.append(_stroke(colours.generator_colour(project, look.generator, look)) + "generated")
        yield f"<span title='each line holds that share of the samples'>{' '.join(lines)}: 50, 80, 95 %</span>"
    if "difference" in look.overlays and both:
        few, many = atlas.DIFFERENCE[look.theme == "dark"]
        yield f"<span><i style='color:{few}'>■</i>too few generated <i style='color:{many}'>■</i>too many</span>"
    if "gaps" in look.overlays and (gaps := evidence(project, look.view, look.generator).gaps):
        yield f"<span>{_stroke(theme['few'])}missing region <b>{sum(not gap.reached for gap in gaps)}</b></span>"
        if reached := sum(bool(gap.reached) for gap in gaps):
            yield f"<span>{_stroke(theme['new'], '5 3')}missing, but can be reached <b>{reached}</b></span>"


def _stroke(colour: str, dash: str = "none") -> str:
    return (
        "<svg width='20' height='8' aria-hidden='true'><path d='M1 4H19' stroke-width='2' "
        f"stroke='{colour}' stroke-dasharray='{dash}'/></svg>"
    )
