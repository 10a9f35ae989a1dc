"""A made image in words: how far it landed from its aim, what that says of the mask, what was held."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modescope.making import Kept

from .cards import button, copied

if TYPE_CHECKING:
    from .desk import Desk

SOURCES = {
    "nearest": "of the nearest generated samples",
    "scaled": "of real images scaled to the noise level",
    "inverted": "from noise that makes them (slow)",
    "guided": "from noise steered to the aim (slow)",
    "inverse": "of the view itself",
}
"""Where mask values come from."""
NAMES = {"recorded": "recorded for the samples", "mixed": "recorded for the samples or those nearest to them"}


BEGUN = {"inverted": "that makes a real image", "guided": "steered to the aim"}


def steered_at_all(kept: Kept) -> bool:
    """Whether something was held, or the noise searched for."""
    return bool(kept.recipe.holds) or kept.recipe.start is not None


def number(value: Any, least: float, most: float) -> float:
    """A number from a widget, brought between two others; the lower one for none."""
    if value is None or not math.isfinite(float(value)):
        return least
    return min(max(float(value), least), most)


def numbers(text: str, count: int) -> tuple[float, ...]:
    """Numbers from the browser. ValueError for anything else."""
    parts = text.split()
    try:
        found = tuple(float(part) for part in parts)
    except ValueError:
        found = ()
    if len(found) != count or not all(math.isfinite(x) and abs(x) < 1e9 for x in found):
        raise ValueError(f"the page named the place {text[:60]!r}; {count} numbers are expected: load the page again")
    return found


def steered(relative: float) -> str:
    """What the distance to the aim, over that of the same seed without a mask, says of the mask."""
    if relative < 0.5:
        said = "the mask steered it far"
    elif relative < 0.8:
        said = "the mask steered it"
    elif relative < 0.97:
        said = "the mask steered it a little"
    elif relative <= 1.03:
        said = "the mask changed nothing of that"
    else:
        said = "it landed farther away than without"
    return f"{relative:.2f} of the distance without a mask: {said}"


def held_words(layers: Sequence[str], controls: pd.DataFrame, real: bool) -> str:
    """What holding these layers fixes and leaves free, and what that was measured to control, for `real` samples or for
    generated ones.
    """
    if not layers:
        return "Which layers of this generator can be held is known once it is loaded."
    encoder = [name for name in layers if name.startswith("encoder_")]
    if "midblock" in layers:
        rest = "The bottleneck acts only through the first decoder block's skip connection."
    elif len(encoder) > 2:
        rest = "All skip connections are fixed: only the class still acts, seeds hardly differ."
    elif layers == ("encoder_bottleneck",):
        rest = "Feeds the first skip connection too; class, noise, other skips stay free."
    else:
        rest = "Class, noise and the layers before stay free."
    return f"<b title='{html.escape(', '.join(layers))}'>Held</b>: {rest}{measured(layers, controls, real)}"


def measured(layers: Sequence[str], controls: pd.DataFrame, real: bool) -> str:
    """The measured distance to the aim over that without a mask, beside that of a neighbour itself."""
    side = controls[controls["aims"] == ("real" if real else "generated")] if "aims" in controls else controls
    mine = side[(side["layers"] == " ".join(layers)) & (side["source"] == ("nearest" if real else "recorded"))]
    if not len(mine):
        return ""
    itself = side[side["held"] == "(a neighbour itself)"]["control"] if "held" in side else ()
    beside = f"; of a neighbour itself {float(np.mean(itself)):.2f}" if len(itself) else ""
    return f" Measured: distance to the aim {float(mine['control'].iloc[0]):.2f} of that without a mask{beside}."


def result_text(desk: Desk, kept: Kept, series: Sequence[str]) -> str:
    """The image on display with those beside it that it is to be compared with, and what became of its aim."""
    strip = ""
    if len(series) > 1:
        size = "small" if len(series) <= 5 else "tiny"
        thumbs = "".join(
            desk.cards.image(
                name,
                f"{size} green" if name == kept.id else size,
                event=f"show {name}",
                title=f"{place} of {len(series)}: seed {desk.studio.made[name].recipe.seed}",
            )
            for place, name in enumerate(series, start=1)
        )
        strip = f"<div class='strip tall'>{thumbs}</div>"
    return f"{strip}{_pictures(desk, kept)}{_words(desk, kept)}{_buttons(desk, kept)}"


def _pictures(desk: Desk, kept: Kept) -> str:
    masked = steered_at_all(kept)
    parts = [
        (
            "",
            ("with the mask" if kept.recipe.holds else "from searched noise") if masked else "made without a mask",
            "large green",
        )
    ]
    if masked:
        parts.append(("/free", "same seed, no aim", "large"))
    if "mean" in kept.arrays:
        parts.append(("/mean", "mean of what it aims at", "large"))
    shown = "".join(
        f"<figure>{desk.cards.image(kept.id + end, size, title=words)}<figcaption>{words}</figcaption></figure>"
        for end, words, size in parts
    )
    return f"<div class='three'>{shown}</div>"


def _words(desk: Desk, kept: Kept) -> str:
    lines = [f"<p>{html.escape(line)}</p>" for line in landed_words(desk, kept)]
    if kept.record.get("extrapolated"):
        lines.append("<p class='warn'>Its aim lies off the data: nothing real is there to compare it with.</p>")
    return "".join(lines) + f"<p class='note'>{html.escape(made_words(desk, kept))}</p>"


def landed_words(desk: Desk, kept: Kept) -> list[str]:
    recipe, landed = kept.recipe, kept.landed
    if landed is None:
        return ["A view of sampling passes has no place for a new image."]
    if not desk.studio.fits(kept):
        return ["Made for an earlier map, so it is not drawn on this one."]
    if not recipe.aim.place:
        return [f"Landed at ({landed[0]:.2f}, {landed[1]:.2f}); nothing was aimed at."]
    apart = float(np.linalg.norm(np.subtract(landed, recipe.aim.place)))
    words = [f"Landed {apart:.2f} map units from its aim (the dashed line)."]
    relative = kept.record.get("relative")
    if relative is not None and steered_at_all(kept):
        words.append(f"In features {steered(relative)}.")
    return words


def made_words(desk: Desk, kept: Kept) -> str:
    """Everything that was asked for, in one line."""
    recipe = kept.recipe
    shares = sorted(recipe.condition, key=lambda pair: -pair[1])
    if not shares:
        asked = "no class"
    elif len(shares) > 3 and shares[0][1] == shares[-1][1]:
        asked = "every class alike"
    else:
        parts = [desk.cards.class_name(c) + (f" {s:.0%}" if s < 0.999 else "") for c, s in shares[:3]]
        asked = ", ".join(parts)
    how = recipe.sampler if recipe.steps == 1 else f"{recipe.sampler}, {recipe.steps} steps"
    how += "" if recipe.start is None else f" from noise {BEGUN[recipe.start.source]}"
    if not recipe.holds:
        return f"{asked}; seed {recipe.seed}; {how}; nothing held"
    held = recipe.holds[0]
    source = NAMES.get(held.source) or SOURCES[held.source].removesuffix(" (slow)")
    strength = "" if held.strength == 1 else f", strength {held.strength:g}"
    steps = "" if len(recipe.holds) == 1 else f", in {len(recipe.holds)} steps"
    return f"{asked}; seed {recipe.seed}; {how}; held: {', '.join(recipe.layers)}, {source}{strength}{steps}"


def _buttons(desk: Desk, kept: Kept) -> str:
    name = kept.id
    acts = [
        button("Select it", f"choose {name}", title="Its neighbours can be found, and it can be aimed at again"),
        button("Step by step", f"path {name}", title="Its way over the map, step by step"),
        button("Make again", f"replay {name}", title="Make it again and compare the bytes"),
        f"<a class='press' href='{html.escape(address(desk, kept))}' download>Script</a>",
    ]
    return f"<div class='acts'>{''.join(acts)}</div><p>{copied(name)}</p>"


def address(desk: Desk, kept: Kept) -> str:
    """Of the script that makes an image again."""
    return f"{base(desk)}{kept.id}.py"


def base(desk: Desk) -> str:
    """Where the app's routes begin, relative to the page."""
    return desk.cards.images.removesuffix("thumb/")
