"""The map: standardise, PCA, UMAP. Fitted once; then any row goes onto it, and any point comes back.

A fitted map is arrays and a few numbers. It is saved as such (never as a pickle, which would hold the training matrix
and break across library versions), and a loaded one gives the same coordinates, bit for bit on one machine.
"""

from modescope.projection.evidence import judged, round_trip
from modescope.projection.growth import Drift, drift
from modescope.projection.inverses import Inverse, RoundTrip
from modescope.projection.levels import aligned, movement
from modescope.projection.places import Places
from modescope.projection.reducer import Reducer
from modescope.projection.settings import Settings

__all__ = [
    "Drift",
    "Inverse",
    "Places",
    "Reducer",
    "RoundTrip",
    "Settings",
    "aligned",
    "drift",
    "judged",
    "movement",
    "round_trip",
]
