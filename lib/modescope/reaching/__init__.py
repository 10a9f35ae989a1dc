"""Can a generator be brought to make what it leaves out? Every missing region is aimed at, in several ways.

`regions` says when an image counts as in a region and when a region counts as reached, `ways` makes the images,
`verdicts` looks where they landed. A region that only noise found by descent reaches is within the generator's range and
outside of what its sampling visits; one that no way reaches is not in the generator, as far as these searches go.
"""

from modescope.reaching.regions import Neighbourhood, Region, is_reached, neighbourhood, real_share, regions_of
from modescope.reaching.verdicts import COLUMNS, counted, looked_at, summary, verdicts
from modescope.reaching.ways import WAYS, Aims, Attempts, Batch, aims_at

__all__ = [
    "COLUMNS",
    "WAYS",
    "Aims",
    "Attempts",
    "Batch",
    "Neighbourhood",
    "Region",
    "aims_at",
    "counted",
    "is_reached",
    "looked_at",
    "neighbourhood",
    "real_share",
    "regions_of",
    "summary",
    "verdicts",
]
