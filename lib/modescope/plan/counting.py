"""What an evaluation of a network takes, counted on shapes alone: nothing is computed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from modescope import sampling
from modescope.extractors import Extractor, Preprocessing
from modescope.generators import Generator
from modescope.taps import capture


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One pass of a network over a batch, with `layers` captured; `stop`: it ends after the last of them."""

    checkpoint: str
    family: str
    precision: str
    batch: int
    layers: tuple[str, ...]
    stop: bool
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What an evaluation takes.

    `flops`: per image, two for a multiplication with its addition; `memory`: bytes alive at the peak of the batch, weights
    and inputs included, the working space of single operations not; `shapes`: one image's value of each layer.
    """

    flops: float
    memory: int
    shapes: Mapping[str, tuple[int, ...]]


class _Alive(TorchDispatchMode):
    """Bytes of the tensors that are alive, now and at the peak. A storage counts once, however many views it has."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()
        for tensor in tensors:
            self._count(tensor)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            weakref.finalize(storage, self._forget, key, size)
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result


class _Denoiser(nn.Module):
    """A generator's `denoise` as a module, so that its weights can be exchanged for a call."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.network, self.denoise = generator.network, generator.denoise

    def forward(self, x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        return self.denoise(x, sigma, rows)


@torch.no_grad()
def count_pass(generator: Generator, evaluation: Evaluation) -> Pass:
    """Run an evaluation on the meta device, which knows shapes and no values; of an extractor, on one blank image."""
    if isinstance(generator.network, Extractor):
        return _count_run(generator, evaluation)
    module, batch = _Denoiser(generator), evaluation.batch
    weights = {name: value.to("meta") for name, value in [*module.named_parameters(), *module.named_buffers()]}
    rows = generator.rows(np.zeros(batch, np.int64))
    x, sigma = torch.empty(batch, *generator.latent_shape, device="meta"), torch.empty(batch, device="meta")
    inputs = (x, sigma, None if rows is None else rows.to("meta"))
    paths = generator.module_paths(evaluation.layers)
    taps: AbstractContextManager[Mapping[str, Tensor]] = nullcontext({})
    if paths:
        taps = capture(generator.network, paths.values(), stop=evaluation.stop)
    held = [*weights.values(), *(value for value in inputs if value is not None)]
    with _Alive(held) as alive, FlopCounterMode(display=False) as counter, taps as acts:
        torch.func.functional_call(module, weights, inputs)
    shapes = {name: tuple(acts[path].shape[1:]) for name, path in paths.items()}
    return Pass(flops=counter.get_total_flops() / batch, memory=alive.peak, shapes=shapes)


def _count_run(generator: Generator, evaluation: Evaluation) -> Pass:
    """A program cannot be run on shapes: one image, whose memory counts for each of the batch."""
    network, paths = generator.network, generator.module_paths(evaluation.layers)
    x, level = torch.zeros(1, *generator.latent_shape, device=generator.device), torch.zeros(1, device=generator.device)
    weights = [*network.parameters(), *network.buffers()]
    with _Alive([*weights, x]) as alive, FlopCounterMode(display=False) as counter:
        resting = alive.now - x.nbytes
        with capture(network, paths.values(), stop=evaluation.stop) as acts:
            generator.denoise(x, level, None)
    shapes = {name: tuple(acts[path].shape[1:]) for name, path in paths.items()}
    shapes = {name: shape if len(shape) == 3 else (*shape, 1, 1) for name, shape in shapes.items()}
    memory = resting + evaluation.batch * (alive.peak - resting)
    return Pass(flops=counter.get_total_flops(), memory=memory, shapes=shapes)


def evaluations(sampler: str, steps: int) -> int:
    """How often a sampler calls the network for one batch."""
    calls = 0

    def denoise(x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        nonlocal calls
        calls += 1
        return x

    sampling.last(sampling.sampler(sampler, steps=steps)(denoise, torch.zeros(1, 1, 1, 1), None))
    return calls
