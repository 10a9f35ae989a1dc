"""What the pipeline will cost with the present params.yaml, before anything is computed: `python -m modescope.plan`.

Of each step that evaluates networks: images, work, bytes on disk, memory, time. Fitting and scoring come after these and
are not in it.
"""

from __future__ import annotations

from modescope.plan.costs import Cost, table
from modescope.plan.counting import Evaluation, Pass, count_pass, evaluations
from modescope.plan.timing import computation, measure
from modescope.plan.works import Work, cost_of, prepare_cost, works

__all__ = [
    "Cost",
    "Evaluation",
    "Pass",
    "Work",
    "computation",
    "cost_of",
    "count_pass",
    "evaluations",
    "measure",
    "prepare_cost",
    "table",
    "works",
]
