"""What a mask controls, for any checkpoint: `python -m modescope.control dmd2`, or a path in place of the name.

`subjects` says what is measured (a generator, samples with features, perhaps real ones), `layers` which layers are held,
`sources` obtains their values, `measuring` makes both tables.

Aims are the centres of a sample's nearest neighbours in feature space; held is the mean of the neighbours' values, by name of
the source, under new seeds. control and diversity: see `masking.Control`. The second table says whose the variance of the
results is: the mask's, the class's, the seed's, or what they do together.
"""

from modescope.control.layers import layer_sets, named_sets, shapes_of
from modescope.control.measuring import Controls, Variances, control_table, variance_table
from modescope.control.sources import SOURCES, default_sources
from modescope.control.subjects import Side, Subject, of_checkpoint, of_project, random_generator, spans

__all__ = [
    "SOURCES",
    "Controls",
    "Side",
    "Subject",
    "Variances",
    "control_table",
    "default_sources",
    "layer_sets",
    "named_sets",
    "of_checkpoint",
    "of_project",
    "random_generator",
    "shapes_of",
    "spans",
    "variance_table",
]
