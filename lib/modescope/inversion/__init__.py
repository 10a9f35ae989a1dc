"""Noise from which a generator makes given images; what it cannot make keeps a large error.

Adam on the noise, batch by batch, with a pull to the typical norm: standard normal noise of D values has a mean square near
1, and noise far from that makes images that the generator would never be asked for. Every image starts from the noise of a
generated sample near it, or from noise of its own stream, and keeps the best image that it has met. For the multi-step
teacher, its deterministic sampler is run backwards (`reverse`). `guide` looks for features instead of an image.
"""

from modescope.inversion.backwards import Reversed, reverse
from modescope.inversion.calibration import other_images, separation
from modescope.inversion.descent import Descent, atypical, descend
from modescope.inversion.guiding import Guided, features_of, guide
from modescope.inversion.searching import Inversion, Inversions, joined, nearest_samples

__all__ = [
    "Descent",
    "Guided",
    "Inversion",
    "Inversions",
    "Reversed",
    "atypical",
    "descend",
    "features_of",
    "guide",
    "joined",
    "nearest_samples",
    "other_images",
    "reverse",
    "separation",
]
