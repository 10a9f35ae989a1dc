"""Exact Euclidean neighbours: the k nearest within a set, and balls around one set counted against another."""

from modescope.neighbours.balls import Balls, count_balls
from modescope.neighbours.points import Features, as_points
from modescope.neighbours.search import Nearest, nearest

__all__ = ["Balls", "Features", "Nearest", "as_points", "count_balls", "nearest"]
