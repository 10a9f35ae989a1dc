"""Images made to order, each with a record from which it can be made again.

From a wish to an image: `wishes` says what can be asked for, `aims` and `holds` find the samples that this means,
`recipes` says what decides an image, `holding` obtains mask values by name of their source, `running` samples, `landing`
looks where the image stands, `workshop` does all of it, `fulfilling` for many. `opened` holds what a project has.
`trajectories` follows a sampler step by step. What was kept: `keeping` finds and packs it, `replaying` makes it again and
compares, `scripts` exports.

    python -m modescope.making list | show ID | replay ID [--out x.png] | replay --all | script ID
"""

from modescope.making.fulfilling import Order, Progress
from modescope.making.holding import hold_of, recorded
from modescope.making.keeping import PICTURES, Kept, bundle, kept_ids, png, read_kept, script_of
from modescope.making.made import Made, Tally, mean_image, tally
from modescope.making.opened import Opened, number_of, source_of
from modescope.making.recipes import (
    AVERAGES,
    SOURCES,
    STARTS,
    VERSION,
    Aim,
    Held,
    Recipe,
    Samples,
    Start,
    class_weights,
    one_class,
    shared,
    uniform,
)
from modescope.making.replaying import Replayed, replay
from modescope.making.running import Cancelled
from modescope.making.schedules import Schedule
from modescope.making.scripts import script
from modescope.making.steering import cannot_steer, seen_by
from modescope.making.trajectories import Trajectory
from modescope.making.wishes import (
    BEGINS,
    CONDITIONS,
    INVERSES,
    WAYS,
    Picked,
    Point,
    Row,
    Target,
    Wish,
    condition_of,
    evenly,
    seeds_from,
    towards,
)
from modescope.making.workshop import Workshop

__all__ = [
    "AVERAGES",
    "BEGINS",
    "CONDITIONS",
    "INVERSES",
    "PICTURES",
    "SOURCES",
    "STARTS",
    "VERSION",
    "WAYS",
    "Aim",
    "Cancelled",
    "Held",
    "Kept",
    "Made",
    "Opened",
    "Order",
    "Picked",
    "Point",
    "Progress",
    "Recipe",
    "Replayed",
    "Row",
    "Samples",
    "Schedule",
    "Start",
    "Tally",
    "Target",
    "Trajectory",
    "Wish",
    "Workshop",
    "bundle",
    "cannot_steer",
    "class_weights",
    "condition_of",
    "evenly",
    "hold_of",
    "kept_ids",
    "mean_image",
    "number_of",
    "one_class",
    "png",
    "read_kept",
    "recorded",
    "replay",
    "script",
    "script_of",
    "seeds_from",
    "seen_by",
    "shared",
    "source_of",
    "tally",
    "towards",
    "uniform",
]
