"""How long an evaluation of a network takes here: a few batches, within a budget of seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from modescope import sampling
from modescope.capturing import Look, capture_batch
from modescope.extractors import Extractor
from modescope.generators import Generator
from modescope.plan.counting import Evaluation
from modescope.runtime import arithmetic

AGAIN = 2
"""How often the largest batch is measured once more."""


def measure(
    compute: Callable[[int], object], *, batch: int, budget: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds per image of `compute(n)`, which makes n images and returns when they are made.

    Batches of 1, 2, 4, ... images up to `batch`, that one three times, as long as the next is expected to end within
    `budget` seconds; what counts is the best of the largest size. One image is made beforehand, since first calls set
    up; where that alone takes the budget, it is all there is.
    """
    began = clock()
    compute(1)
    if clock() - began > budget:
        return clock() - began
    sizes = [*(2**i for i in range(math.ceil(math.log2(batch)))), *[batch] * (1 + AGAIN)]
    began, largest, best = clock(), 0, math.inf
    for size in sizes:
        start = clock()
        if largest and start - began + size * best > budget:
            break
        try:
            compute(size)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"a batch of {size} images does not fit the memory of the device ({largest} did); lower batch_size "
                f"(of generate or capture), which is {batch}"
            ) from error
        each = (clock() - start) / size
        best = min(each, best) if size == largest else each
        largest = size
    return best


def computation(generator: Generator, evaluation: Evaluation) -> Callable[[int], object]:
    """`compute(n)` for `measure`: an evaluation of n blank images, as the pipeline does it."""
    return _captured(generator, evaluation) if evaluation.stop else _made(generator, evaluation)


def _captured(generator: Generator, evaluation: Evaluation) -> Callable[[int], object]:
    clean = isinstance(generator.network, Extractor)
    look = Look(
        layers=evaluation.layers,
        sigmas=() if clean else (1.0,),
        protocol="clean" if clean else "noised",
        precision=evaluation.precision,
    )
    blank = generator.decode(torch.zeros(1, *generator.latent_shape, device=generator.device))

    def compute(count: int) -> object:
        ids = [f"plan/{i}" for i in range(count)]
        return capture_batch(generator, np.repeat(blank, count, axis=0), ids, np.zeros(count, np.int64), look)

    return compute


def _made(generator: Generator, evaluation: Evaluation) -> Callable[[int], object]:
    def compute(count: int) -> object:
        noise = sampling.latents(0, np.arange(count), generator.latent_shape).to(generator.device)
        rows = generator.rows(np.zeros(count, np.int64))
        with arithmetic(evaluation.precision):
            steps = sampling.one_step(generator.denoise, noise, rows, sigma_max=generator.sigma_max)
            return generator.decode(sampling.last(steps))

    return compute
