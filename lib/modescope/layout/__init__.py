"""UMAP as functions over exact neighbours: lay rows out, place new rows between them, and umap-learn's own inverse.

McInnes, Healy, Melville 2018, "UMAP: Uniform Manifold Approximation and Projection", arXiv:1802.03426. What differs
from umap-learn: neighbours are exact and come in from outside, the start is the principal components, and a new row's
place depends on that row alone. The descent is the same, without umap-learn's half minute of compiling.
"""

from modescope.layout.arranging import Layout, arrange, arrange_together, place, superposed
from modescope.layout.graph import memberships, widths
from modescope.layout.inverse import umap_inverse
from modescope.layout.search import check_metric, comparable, nearest

__all__ = [
    "Layout",
    "arrange",
    "arrange_together",
    "check_metric",
    "comparable",
    "memberships",
    "nearest",
    "place",
    "superposed",
    "umap_inverse",
    "widths",
]
