"""Speed and memory of the metrics, beside the PyPI package `prdc` and beside the bare matrix products.

`python -m benchmarks.metrics_speed` compares CPU seconds of one thread: the sides take turns, the best of the rounds
counts; time and memory are those beyond loading the code, which is told apart. `--large` scores 50,000 real against
50,000 generated samples of 768 dimensions on all cores (`--only` one of its two parts, in a process of its own: the peak
is a process's, with the interpreter and the features), `--classes` 1,000 classes of 1,300 real and 50 generated
samples each within itself, `--held-out` the calibration by held-out real samples at 1,797 x 2,560. `--huge-estimate` tells
what 1,281,167 real against 50,000 generated samples would take.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from modescope import metrics, seeds
from modescope.neighbours import Journal

Result = TypeVar("Result")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def best_cpu_seconds(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """Least CPU seconds of each side, the sides taking turns."""
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for index, side in enumerate(sides):
            start = time.process_time()
            side()
            best[index] = min(best[index], time.process_time() - start)
    return best


def extra_mb(side: Callable[[], object]) -> float:
    before = peak_mb()
    side()
    return peak_mb() - before


def gaussian(purpose: str, shape: tuple[int, int]) -> np.ndarray:
    return seeds.stream(0, purpose).standard_normal(shape, dtype=np.float32)


def load_compiled() -> None:
    """The code that sets of such numbers are searched by; small blocks take little memory themselves."""
    extra = extra_mb(lambda: metrics.prdc(gaussian("warm-up", (3000, 8)), gaussian("warm", (3000, 8)), chunk=128))
    print(f"loading numba and the compiled search, once a process: {extra:.0f} MB")


def beside(samples: int, width: int, rounds: int, with_reference: bool) -> None:
    """One thread: our four scores, the three products that they need, and the reference package."""
    real, fake = (gaussian(name, (samples, width)) for name in ("real", "fake"))
    x, y = torch.from_numpy(real), torch.from_numpy(fake)
    buffer = torch.zeros(samples, samples)  # the products' own memory counts as before

    def products() -> None:
        for a, b in ((x, x), (y, y), (x, y)):
            torch.mm(a, b.T, out=buffer)

    def ours() -> metrics.Prdc:
        return metrics.prdc(real, fake)

    def theirs() -> object:
        import prdc as reference  # its scikit-learn would count in the memory of the other parts

        with contextlib.redirect_stdout(io.StringIO()):  # it prints the counts
            return reference.compute_prdc(real, fake, nearest_k=5)

    print(f"N = M = {samples}, D = {width}, CPU seconds of {torch.get_num_threads()} thread(s)")
    extra = extra_mb(ours)
    own, plain = best_cpu_seconds(rounds, ours, products)
    print(f"  modescope       {own:8.3f} s   at most {extra:4.0f} MB more than before")
    print(f"  three products  {plain:8.3f} s   modescope / products = {own / plain:.2f}")
    if with_reference:
        again, other = best_cpu_seconds(max(2, rounds // 2), ours, theirs)
        print(f"  prdc            {other:8.3f} s   prdc / modescope = {other / again:.2f}   (modescope {again:.3f} s)")


def measured(name: str, work: Callable[[], Result]) -> Result:
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"  {name:42} {wall:7.1f} s wall, {cpu:7.1f} s CPU, peak {peak_mb():6.0f} MB", flush=True)
    return result


def large(samples: int, width: int, only: str | None) -> None:
    print(f"N = M = {samples}, D = {width}, {torch.get_num_threads()} thread(s)")
    start = peak_mb()
    real, fake = (gaussian(name, (samples, width)) for name in ("real", "fake"))
    print(
        f"  interpreter {start:.0f} MB, with the features {peak_mb():.0f} MB; {metrics.estimate(samples, samples, width)}"
    )
    with tqdm(total=metrics.pairs(samples, samples), unit="pair", unit_scale=True, leave=False) as bar:
        journal = Journal(report=bar.update)
        if only != "compare":
            scored = measured(
                "precision, recall, density, coverage, clipped",
                lambda: metrics.sweep(real, fake, (5,), journal=journal),
            )
            print(f"    {scored[5].prdc()} {scored[5].clipped()}")
        bar.reset()
        if only != "prdc":
            measured(
                "all comparisons, gaps included", lambda: metrics.gaps(metrics.compare(real, fake, journal=journal))
            )


def held_out(samples: int, width: int) -> None:
    real, fake = (gaussian(name, (samples, width)) for name in ("real", "fake"))
    print(f"N = M = {samples}, D = {width}, {torch.get_num_threads()} thread(s)")
    measured("all comparisons, gaps included", lambda: metrics.gaps(metrics.compare(real, fake)))
    measured("Frechet distance", lambda: metrics.frechet_distance(real, fake))
    measured("kernel distance", lambda: metrics.kernel_distance(real, fake))
    held = measured("four splits of held-out real samples", lambda: metrics.held_out(real, fake, seed=0))
    print(held.table().round(4).to_string(index=False))


def classes(count: int, real_each: int, fake_each: int, width: int, workers: int) -> None:
    print(
        f"{count} classes of {real_each} real and {fake_each} generated samples, D = {width}, "
        f"{workers} worker(s) of one thread"
    )
    real, fake = gaussian("real", (count * real_each, width)), gaussian("fake", (count * fake_each, width))
    labels = [np.repeat(np.arange(count), each) for each in (real_each, fake_each)]
    torch.set_num_threads(1)
    measured("values of every class", lambda: metrics.class_scores(real, fake, *labels, workers=workers).table())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, help="real and generated samples (default: 5000, 50000 when --large)")
    parser.add_argument("--dims", type=int, nargs="+", help="widths (default: 256 2048, otherwise 768)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: 1, otherwise torch's own choice")
    parser.add_argument("--with-reference", type=int, default=256, help="largest width at which `prdc` is timed too")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--classes", type=int, nargs="?", const=1000, help="how many (1000)")
    parser.add_argument("--only", choices=("prdc", "compare"), help="of --large")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--huge-estimate", action="store_true")
    options = parser.parse_args(arguments)
    alone = not (options.large or options.classes or options.held_out or options.huge_estimate)
    if options.threads or alone:
        torch.set_num_threads(options.threads or 1)
    if options.large:
        large(options.samples or 50_000, (options.dims or [768])[0], options.only)
    if options.held_out:
        held_out(options.samples or 1797, (options.dims or [2560])[0])
    if options.huge_estimate:
        real, fake, width = 1_281_167, options.samples or 50_000, (options.dims or [768])[0]
        print(f"{real} real, {fake} generated, D = {width}: {metrics.estimate(real, fake, width)}")
    if options.classes:
        classes(options.classes, 1300, 50, (options.dims or [768])[0], options.threads or os.cpu_count() or 1)
    if alone:
        load_compiled()
    for width in (options.dims or [256, 2048]) if alone else []:
        beside(options.samples or 5000, width, options.rounds, width <= options.with_reference)


if __name__ == "__main__":
    main()
