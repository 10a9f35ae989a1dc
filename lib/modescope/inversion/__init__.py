"""Noise from which a generator makes given images; what it cannot make keeps a large error.

L-BFGS on the noise, batch by batch, with a pull to the typical norm: standard normal noise of D values has a mean square
near 1, and noise far from that makes images that the generator would never be asked for. Every image starts from the noise
of a generated sample near it (moved by what a regression of noise on images expects), or from noise of its own stream,
until its error is `enough`: an error below that says that
the image can be made, not how well, and only errors above it are ranked. For the multi-step teacher, its deterministic
sampler is run backwards (`reverse`). `guide` looks for features instead of an image.
"""

from modescope.inversion.aiming import Aimed, Aiming, aim
from modescope.inversion.backwards import Reversed, reverse
from modescope.inversion.calibration import KINDS, by_class, hardest, other_images, separation, summary, told_lines
from modescope.inversion.descent import Descent, Met, atypical, descend
from modescope.inversion.guiding import Guided, features_of, guide
from modescope.inversion.searching import Inversion, Inversions, joined, nearest_samples
from modescope.inversion.starting import Expected, expected

__all__ = [
    "KINDS",
    "Aimed",
    "Aiming",
    "Descent",
    "Expected",
    "Guided",
    "Inversion",
    "Inversions",
    "Met",
    "Reversed",
    "aim",
    "atypical",
    "by_class",
    "descend",
    "expected",
    "features_of",
    "guide",
    "hardest",
    "joined",
    "nearest_samples",
    "other_images",
    "reverse",
    "separation",
    "summary",
    "told_lines",
]
