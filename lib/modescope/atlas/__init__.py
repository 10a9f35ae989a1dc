"""What a map of up to 1.4 million points needs to be drawn and asked: index, level of detail, images, lines, names."""

from modescope.atlas.clouds import Cloud
from modescope.atlas.colours import DIFFERENCE, rgb, rgba
from modescope.atlas.densities import (
    Densities,
    bandwidth,
    contours,
    densities,
    density,
    difference,
    difference_image,
    mass_levels,
)
from modescope.atlas.frames import Box, Frame
from modescope.atlas.naming import Labels, label_places
from modescope.atlas.outlines import outlines
from modescope.atlas.rasters import count, raster
from modescope.atlas.scales import Scale
from modescope.atlas.thumbnails import thumbnails

__all__ = [
    "DIFFERENCE",
    "Box",
    "Cloud",
    "Densities",
    "Frame",
    "Labels",
    "Scale",
    "bandwidth",
    "contours",
    "count",
    "densities",
    "density",
    "difference",
    "difference_image",
    "label_places",
    "mass_levels",
    "outlines",
    "raster",
    "rgb",
    "rgba",
    "thumbnails",
]
