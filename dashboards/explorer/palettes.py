"""Palettes: of classes, generators and measures, and of the figure on a light and a dark page.

Colour-blind safe where that can be: ten or eight classes. Beyond that each further colour is the one farthest from those
before it, so that classes stay apart as long as there is room; marker shape tells real, generated and made in any case.
MODESCOPE_PALETTE names a file with a palette of one's own: one hex colour (#rrggbb) a line, the classes' in their order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from bokeh.palettes import Colorblind8, cividis, turbo, viridis
from jaxtyping import Float, UInt8

from modescope.figures import PALETTE

from .states.looks import PALETTES

VARIABLE = "MODESCOPE_PALETTE"
GENERATORS = ("#7b3fb5", "#00827f", "#b0307f", "#8a5a00", "#5b6b00", "#3b5bb5")
THEMES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "background": "#ffffff",
        "grid": "#eef0f4",
        "outline": "#d8dce3",
        "ink": "#1d2430",
        "soft": "#475467",
        "halo": "#ffffff",
        "real": "#8d95a1",
        "faint": "#ccd1d9",
        "few": "#d95f02",
        "many": "#6a3d9a",
        "selected": "#1769e0",
        "ring": "#d81b2a",
        "new": "#0a8f3c",
    },
    "dark": {
        "background": "#15191f",
        "grid": "#232931",
        "outline": "#353d49",
        "ink": "#e6e9ef",
        "soft": "#b4bcc8",
        "halo": "#15191f",
        "real": "#7f8998",
        "faint": "#454e5b",
        "few": "#ff9d3c",
        "many": "#bf9bff",
        "selected": "#5b9bff",
        "ring": "#ff5a66",
        "new": "#3ecf79",
    },
}
"""Colours of the figure. `few` and `many`: real without generated, generated without real; `faint`: what does not matter;
`halo`: behind text."""

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def offered() -> tuple[str, ...]:
    """Palettes to choose from; `file` where the environment names one."""
    return PALETTES if os.environ.get(VARIABLE) else PALETTES[:-1]


def rgb(colours: Sequence[str]) -> UInt8[np.ndarray, "P 3"]:
    return np.array([list(bytes.fromhex(colour[1:7])) for colour in colours], np.uint8).reshape(-1, 3)


def hexes(colours: UInt8[np.ndarray, "P 3"]) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours.tolist()]


def read(path: Path) -> tuple[str, ...]:
    """The colours of a file, one a line."""
    try:
        lines = [line.strip().lower() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{VARIABLE} names {path.name!r}, which cannot be read ({error}); name a text file") from error
    colours = tuple(line for line in lines if line)
    wrong = [
        line for line in colours if len(line) != 7 or line[0] != "#" or not set(line[1:]) <= set("0123456789abcdef")
    ]
    if wrong or not colours:
        what = f"has a line {wrong[0][:40]!r}" if wrong else "is empty"
        raise ValueError(f"the palette {path.name!r} {what}; write one colour a line, as #1769e0")
    return colours


def classes(name: str, count: int, *, dark: bool = False) -> list[str]:
    """A colour for each of `count` classes. Those of a file serve in turn; a visitor who has none sees the default."""
    if name == "file" and os.environ.get(VARIABLE):
        chosen = read(Path(os.environ[VARIABLE]))
        return [chosen[i % len(chosen)] for i in range(count)]
    return list(_classes(name, count, dark))


@lru_cache(maxsize=16)
def _classes(name: str, count: int, dark: bool) -> tuple[str, ...]:
    if name == "rainbow":
        steps = turbo(min(max(count, 1), 256))
        return tuple(steps[i * len(steps) // count] for i in range(count))
    first = tuple(Colorblind8) if name == "Okabe-Ito" else PALETTE
    chosen = first[:count] if count <= len(first) else spread(first, count)
    return lit(chosen) if dark else tuple(chosen)


def generator(number: int, *, dark: bool = False) -> str:
    """The colour of a generator, by its place among those of params.yaml."""
    colour = GENERATORS[number % len(GENERATORS)]
    return lit((colour,))[0] if dark else colour


def sequential(name: str, *, dark: bool = False) -> UInt8[np.ndarray, "256 3"]:
    """Low to high, without the end that the page would swallow."""
    palette = {"Okabe-Ito": viridis, "rainbow": turbo}.get(name, cividis)(256)
    places = np.linspace(0.25, 1, 256) if dark else np.linspace(0, 0.88, 256)
    return rgb(palette)[np.rint(places * 255).astype(int)]


def diverging(*, dark: bool = False) -> UInt8[np.ndarray, "256 3"]:
    """Too few (0) over as it should be (0.5) to too many (1)."""
    theme = THEMES["dark" if dark else "light"]
    ends = rgb([theme["few"], theme["faint"], theme["many"]]).astype(np.float64)
    places = np.linspace(0, 2, 256)
    return np.rint(np.stack([np.interp(places, [0, 1, 2], ends[:, c]) for c in range(3)], 1)).astype(np.uint8)


def lab(colours: UInt8[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
    """sRGB => OKLab (Ottosson 2020): equal distances look about equally far apart."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


def _srgb(colours: Float[np.ndarray, "P 3"]) -> UInt8[np.ndarray, "P 3"]:
    """OKLab => sRGB, clipped."""
    linear = np.clip((colours @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T, 0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * value).astype(np.uint8)


def lit(colours: Sequence[str]) -> tuple[str, ...]:
    """The same hues for a dark page: half as far from white."""
    places = lab(rgb(colours))
    places[:, 0] = 0.5 + 0.5 * places[:, 0]
    return tuple(hexes(_srgb(places)))


def spread(first: Sequence[str], count: int) -> tuple[str, ...]:
    """`first`, then always the colour that is farthest from all before it, and from grey."""
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    every = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    places = lab(every)
    fit = (places[:, 0] > 0.35) & (places[:, 0] < 0.85) & (np.hypot(places[:, 1], places[:, 2]) > 0.06)
    every, places = every[fit], places[fit]
    chosen = list(first)
    far = np.full(len(every), np.inf)
    for place in lab(rgb(chosen)):
        far = np.minimum(far, np.linalg.norm(places - place, axis=1))
    while len(chosen) < count:
        best = int(far.argmax())
        chosen += hexes(every[best : best + 1])
        far = np.minimum(far, np.linalg.norm(places - places[best], axis=1))
    return tuple(chosen)
