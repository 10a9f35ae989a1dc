"""The DVC stages, one file each: read, call, write. `python -m stages.<name> [matrix keys]`.

`run` is what they share: arguments, parameters, logging, and errors as one paragraph.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from tqdm import tqdm

from modescope import params

DATA = Path("data")
SHARDS = Path(os.environ.get("DVC_ROOT", ".")) / "data" / "shards"
"""Finished shards by configuration: one place for the checkout and for experiments that DVC runs in a copy of it."""
METRICS = Path("metrics")
PLOTS = Path("plots")
T = TypeVar("T")

gc.set_threshold(
    100_000, 20, 100
)  # what the imports of a stage make stays: looking through it took a tenth of their time


def run(stage: Callable[..., None], *keys: str) -> None:
    """Call `stage(params, *keys)` with the matrix keys of the command line; what goes wrong is one paragraph, exit 1."""
    name = stage.__module__.rpartition(".")[2] if stage.__module__ != "__main__" else Path(sys.argv[0]).stem
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s", stream=sys.stderr)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    given = sys.argv[1:]
    if len(given) != len(keys):
        sys.exit(f"usage: python -m stages.{name} {' '.join(keys)}".rstrip())
    try:
        stage(params.load(), *given)
    except (ValueError, OSError) as error:
        sys.exit(textwrap.fill(f"{name}: {error}", width=110, break_long_words=False, break_on_hyphens=False))


def rounded(value: Any) -> Any:
    """Numbers to six significant digits: a rerun on the same kind of machine must not dirty the metrics."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, pd.DataFrame):
        return value.apply(lambda column: column.map(rounded) if column.dtype.kind == "f" else column)
    return float(f"{value:.6g}") if isinstance(value, float) else value


def progress(iterable: Iterable[T], what: str, unit: str, **options: Any) -> Iterator[T]:
    """A progress bar with rate and time left around a sized iterable."""
    yield from tqdm(iterable, desc=what, unit=unit, dynamic_ncols=True, **options)
