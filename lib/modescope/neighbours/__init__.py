"""Exact Euclidean neighbours: the k nearest within or between sets, balls around one set counted against another."""

from modescope.neighbours.balls import Balls, count_balls
from modescope.neighbours.both import Both, visit_both
from modescope.neighbours.bounds import Cloud, Table, chunk_within, clouds
from modescope.neighbours.journal import Journal
from modescope.neighbours.points import Features, as_points
from modescope.neighbours.ratios import depths
from modescope.neighbours.search import Nearest, nearest, nearest_between

__all__ = [
    "Balls",
    "Both",
    "Cloud",
    "Features",
    "Journal",
    "Nearest",
    "Table",
    "as_points",
    "chunk_within",
    "clouds",
    "count_balls",
    "depths",
    "nearest",
    "nearest_between",
    "visit_both",
]
