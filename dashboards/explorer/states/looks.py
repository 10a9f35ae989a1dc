"""How the map looks."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("real", "generated")
COLOURS = (
    "class",
    "top classes",
    "superclass",
    "generator",
    "coverage",
    "density ratio",
    "distance",
    "inversion error",
)
"""What the colour of a point may say."""
PALETTES = ("Tol", "Okabe-Ito", "rainbow", "file")
"""Colours of classes; `file` is the one that the environment names."""
OVERLAYS = ("names", "contours", "difference", "gaps", "images")
"""What may be drawn over the points."""
TABS = ("select", "gaps", "generate", "made", "compare")
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """`versus`: a second generator beside the first; `solo`: the only classes shown (none: all); `frame`: lowest x,
    highest x, lowest y, highest y of what is in view (None: everything).
    """

    view: str
    generator: str
    versus: str | None = None
    kinds: tuple[str, ...] = KINDS
    colour: str = "class"
    palette: str = "Tol"
    overlays: tuple[str, ...] = ("gaps",)
    solo: tuple[int, ...] = ()
    tab: str = "select"
    theme: str = "light"
    frame: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        for what, values, known in (
            ("kinds", self.kinds, KINDS),
            ("colour", (self.colour,), COLOURS),
            ("palette", (self.palette,), PALETTES),
            ("overlays", self.overlays, OVERLAYS),
            ("tab", (self.tab,), TABS),
            ("theme", (self.theme,), THEMES),
        ):
            if wrong := [value for value in values if value not in known]:
                raise ValueError(f"{what} has {wrong[0]!r}; it knows {', '.join(known)}")
            if len(set(values)) != len(values):
                raise ValueError(f"{what} names {', '.join(values)}; name each once")
        if self.versus == self.generator:
            raise ValueError(f"generator {self.generator!r} stands beside itself; versus names another one, or none")
