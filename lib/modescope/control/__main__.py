"""`python -m modescope.control <generator>`: what a mask controls, and whose the variance of its results is.

<generator>: a name of params.yaml, or a checkpoint. Writes metrics/mask_control.<generator>.csv and
metrics/mask_variance.<generator>.csv.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from modescope import control, files, params, runtime
from modescope.generators import Generator, load_generator
from modescope.making import Opened


def subject_of(options: argparse.Namespace, chosen: params.Params) -> tuple[str, control.Subject]:
    """What the arguments name => its name in file names, and what is measured."""
    opened = Opened(Path(), chosen)
    if options.generator in chosen.generators:
        view = options.view or next(iter(chosen.views))
        return options.generator, control.of_project(opened, options.generator, view, options.samples)
    name, generator = _alone(options, chosen, opened.machine)
    view = (opened.network(options.view), opened.look(options.view)) if options.view else None
    batches = tqdm(control.spans(options.samples), desc="samples", unit="batch", dynamic_ncols=True)
    return name, control.of_checkpoint(generator, batches, chosen.seed, view=view)


def _alone(options: argparse.Namespace, chosen: params.Params, machine: runtime.Runtime) -> tuple[str, Generator]:
    """A generator that params.yaml does not know."""
    runtime.keep_memory()
    if options.random_weights:
        made = control.random_generator(options.random_weights, chosen.seed, machine.device)
        return f"random-{options.random_weights}", made
    path = Path(options.generator or "")
    if options.generator is None or not path.exists():
        raise ValueError(
            f"{options.generator!r} is neither a generator of params.yaml ({', '.join(chosen.generators)}) nor a checkpoint "
            "that exists; give one of these, or --random-weights"
        )
    return path.stem, load_generator(path, device=machine.device)


def measured(subject: control.Subject, options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """Both tables by the name of their file."""
    shapes = control.shapes_of(subject.generator)
    sets = control.named_sets(options.sets, shapes) if options.sets else control.layer_sets(shapes)
    sources = options.sources or control.default_sources(subject)
    levels = min(options.levels, max(options.aims // 2, 2))
    parts = control.Controls(
        subject=subject, shapes=shapes, sets=sets, sources=sources, aims=options.aims, seeds=options.seeds, k=options.k
    )
    cells = control.Variances(subject=subject, sets=sets, levels=levels, k=options.k)
    return {
        "mask_control": control.control_table(tqdm(parts, desc="control", unit="part", dynamic_ncols=True), sets),
        "mask_variance": control.variance_table(tqdm(cells, desc="variance", unit="mask", dynamic_ncols=True), sets),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modescope.control", description=__doc__)
    parser.add_argument("generator", nargs="?", help="a generator of params.yaml, or the path of a checkpoint")
    parser.add_argument("--view", help="of params.yaml; default: the first, for a checkpoint its own activations")
    parser.add_argument("--aims", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--k", type=int, default=5, help="neighbours of an aim (default: 5)")
    parser.add_argument(
        "--samples", type=int, default=2000, help="among which neighbours are looked for (default: 2000)"
    )
    parser.add_argument(
        "--levels", type=int, default=8, help="masks, classes and seeds of the variance, at most half the aims"
    )
    parser.add_argument("--sets", nargs="+", help="layers held together, such as encoder_bottleneck,midblock")
    parser.add_argument("--sources", nargs="+", help=f"of {', '.join(control.SOURCES)}")
    parser.add_argument("--random-weights", metavar="NAME", help="in place of a generator: imagenet64, untrained")
    parser.add_argument("--out", type=Path, default=Path("metrics"), help="folder of the tables (default: metrics)")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        name, subject = subject_of(options, params.load())
        tables = measured(subject, options)
    except ValueError as error:
        sys.stderr.write(f"control: {error}\n")
        return 1
    for kind, table in tables.items():
        files.write_table(options.out / f"{kind}.{name}.csv", table)
        shown = table.drop(columns="layers").to_string(index=False, na_rep="", float_format="%.2f")
        sys.stdout.write(f"{shown}\n\n")
    sys.stdout.write(f"{time.perf_counter() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
