"""`python -m modescope.plan`: what the pipeline will cost with the present params.yaml; exit 1 where it does not fit."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from modescope import datasets, files, launching, params, plan, runtime
from modescope.extractors import Extractor, Preprocessing
from modescope.generators import Generator, load_generator
from modescope.plan import Evaluation

DATA = Path("data")
SPARE = 0.05
"""Share of the disk that a plan leaves free."""
BUDGET = 10.0
"""Seconds for all measurements together."""


def costs(chosen: params.Params, *, timed: bool) -> list[plan.Cost]:
    """What each step costs; `timed`: with the networks measured, on the device of the parameters."""
    real, asked = datasets.choose(chosen.real, chosen.seed), chosen.runtime
    options = asked.model_dump(include=set(runtime.OPTIONS))
    machine = launching.machine(asked.device, asked.threads, launch=asked.launch, address=asked.address, **options)
    works = list(plan.works(chosen, real, DATA, machine))
    device = asked.device if timed else "cpu"

    @lru_cache(maxsize=1)
    def loaded(checkpoint: str, family: str, precision: str, how: Preprocessing | None) -> Generator:
        found = load_generator(checkpoint, family, asdict(how) if how else None, device=device).cast(precision)
        side = real.source.resolution
        clean = isinstance(found.network, Extractor)
        return replace(found, latent_shape=(real.source.channels, side, side)) if clean else found

    def load(kind: Evaluation) -> Generator:
        return loaded(kind.checkpoint, kind.family, kind.precision, kind.preprocessing)

    kinds = list(dict.fromkeys(kind for work in works if work.images > work.done for _, kind in work.evaluations))
    seconds = {}
    for kind in tqdm(kinds, desc="measuring networks", unit="network", disable=not timed):
        if timed:
            compute = plan.computation(load(kind), kind)
            seconds[kind] = plan.measure(compute, batch=kind.batch, budget=BUDGET / len(kinds))
    found = [plan.prepare_cost(real, DATA)]
    for work in works:
        kind = work.evaluations[0][1]
        found.append(plan.cost_of(work, load(kind), seconds))
    return found


def report(found: Sequence[plan.Cost], where: str | None) -> str:
    """The table, and what its columns mean. `where`: what was measured on, None where nothing was."""
    needed = sum(cost.bytes_left for cost in found)
    notes = [
        f"Disk: {needed / 1e9:.2f} GB are still to be written to {DATA}; {files.free_bytes(DATA) / 1e9:.2f} GB are free.",
        "Memory is an estimate: weights and what one batch holds at the peak of a pass; it does not grow with the images.",
        f"Times are estimates: of the networks alone, in one process, from a few batches on {where}."
        if where
        else "Times were not measured.",
    ]
    return "\n".join([plan.table(found), "", *notes])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modescope.plan", description=__doc__)
    parser.add_argument(
        "--no-measure", action="store_true", help="count only; do not measure how fast the networks are"
    )
    options = parser.parse_args(arguments)
    try:
        chosen = params.load()
        found = costs(chosen, timed=not options.no_measure)
        where = None if options.no_measure else str(runtime.resolve_device(chosen.runtime.device))
        sys.stdout.write(report(found, where) + "\n")
        files.check_room(DATA, sum(cost.bytes_left for cost in found), "this plan", spare=SPARE)
    except (ValueError, OSError) as error:
        sys.stderr.write(
            textwrap.fill(f"plan: {error}", width=110, break_long_words=False, break_on_hyphens=False) + "\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
