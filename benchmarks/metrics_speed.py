"""Speed and memory of `metrics.prdc`, beside the PyPI package `prdc` and beside its three matrix products alone.

Run with `python benchmarks/metrics_speed.py`; both sides are timed in turns, and the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import time
from collections.abc import Callable

import numpy as np
import prdc as reference
import torch

from modescope import metrics, seeds


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _best(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """Best wall-clock seconds of each side, the sides taking turns."""
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for index, side in enumerate(sides):
            start = time.perf_counter()
            side()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def _extra_mb(side: Callable[[], object]) -> float:
    before = _peak_mb()
    side()
    return _peak_mb() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--with-reference", type=int, default=256, help="largest width at which `prdc` is timed too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    metrics.prdc(seeds.normal(0, "warm-up", range(64), (8,)), seeds.normal(1, "warm-up", range(64), (8,)))
    for width in options.dims:
        real, fake = (seeds.normal(0, name, range(options.samples), (width,)) for name in ("real", "fake"))
        x, y = torch.from_numpy(real), torch.from_numpy(fake)
        buffer = torch.empty(options.samples, options.samples)

        def products(x: torch.Tensor = x, y: torch.Tensor = y, buffer: torch.Tensor = buffer) -> None:
            for a, b in ((x, x), (y, y), (x, y)):
                torch.mm(a, b.T, out=buffer)

        def ours(real: np.ndarray = real, fake: np.ndarray = fake) -> metrics.Prdc:
            return metrics.prdc(real, fake)

        def theirs(real: np.ndarray = real, fake: np.ndarray = fake) -> object:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints the counts
                return reference.compute_prdc(real, fake, nearest_k=5)

        print(f"N = M = {options.samples}, D = {width}, {options.threads} thread(s)")
        buffer.fill_(0)  # the products' own memory counts as before
        extra = _extra_mb(ours)
        own, plain = _best(options.rounds, ours, products)
        print(f"  modescope       {own:8.3f} s   at most {extra:4.0f} MB more than before")
        print(f"  three products  {plain:8.3f} s   modescope / products = {own / plain:.2f}")
        if width <= options.with_reference:
            again, other = _best(max(2, options.rounds // 2), ours, theirs)
            print(
                f"  prdc            {other:8.3f} s   prdc / modescope = {other / again:.2f}   (modescope {again:.3f} s)"
            )


if __name__ == "__main__":
    main()
