"""Static pictures. Functions return matplotlib figures; whoever asked saves them (`png`)."""

from modescope.figures.channels import channels_figure
from modescope.figures.classes import coverage_figure
from modescope.figures.curves import curve_figure
from modescope.figures.density import density_figure, smoothed
from modescope.figures.inversion import inversion_figure
from modescope.figures.maps import map_figure
from modescope.figures.reach import reach_figure
from modescope.figures.strips import gaps_figure, worst_figure
from modescope.figures.style import PALETTE, REAL_GREY, class_colours, panel, png, sheet, strip

__all__ = [
    "PALETTE",
    "REAL_GREY",
    "channels_figure",
    "class_colours",
    "coverage_figure",
    "curve_figure",
    "density_figure",
    "gaps_figure",
    "inversion_figure",
    "map_figure",
    "panel",
    "png",
    "reach_figure",
    "sheet",
    "smoothed",
    "strip",
    "worst_figure",
]
