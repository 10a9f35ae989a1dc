"""Images made to order, each with a record from which it can be made again.

`recipes` says what decides an image, `opened` holds what a project has, `holding` obtains mask values by name of their
source, `workshop` makes, `replaying` makes again and compares, `scripts` exports.

    python -m modescope.making list | show ID | replay ID [--out x.png] | replay --all | script ID
"""

from modescope.making.holding import cannot_steer, hold_of, recorded, seen_by
from modescope.making.opened import Opened, number_of, source_of
from modescope.making.recipes import (
    AVERAGES,
    SOURCES,
    VERSION,
    Aim,
    Held,
    Recipe,
    Samples,
    class_weights,
    one_class,
    shared,
    uniform,
)
from modescope.making.replaying import Kept, Replayed, kept_ids, read_kept, replay
from modescope.making.scripts import script
from modescope.making.workshop import Made, Workshop, mean_image

__all__ = [
    "AVERAGES",
    "SOURCES",
    "VERSION",
    "Aim",
    "Held",
    "Kept",
    "Made",
    "Opened",
    "Recipe",
    "Replayed",
    "Samples",
    "Workshop",
    "cannot_steer",
    "class_weights",
    "hold_of",
    "kept_ids",
    "mean_image",
    "number_of",
    "one_class",
    "read_kept",
    "recorded",
    "replay",
    "script",
    "seen_by",
    "shared",
    "source_of",
    "uniform",
]
