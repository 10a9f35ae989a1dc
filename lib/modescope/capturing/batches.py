"""Batches from pixels or a sampler to values on the CPU: one, or all of a range of rows, read ahead of the network."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as IteratorOf
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from modescope import components, seeds
from modescope.capturing.lens import Lens, SamplerStep
from modescope.capturing.look import RECONSTRUCTION, Look, capture_noise
from modescope.components import Components
from modescope.generators import Generator

AHEAD = 2  # batches read while the network runs
NOISE_THREADS = 4  # beside a GPU: one draws 64x64 noise for about 4,000 images a second, fewer than a GPU takes


def capture_batch(
    network: Generator,
    pixels: UInt8[np.ndarray, "N C H W"],
    ids: Sequence[str],
    labels: np.ndarray,
    look: Look,
    *,
    reconstruct: bool = False,
) -> dict[str, Tensor]:
    """One batch of images => {name: (N, C, H, W) float32, CPU} of what the look keeps, in execution order.

    Names are those of the layers, `layer@sigma` where the look has several noise levels (all layers of the first level,
    then of the next), or `pca`. The pass ends after the last layer wanted. With `reconstruct`, the pass of the first level
    runs to its end and "x0" holds the denoised images, uint8.
    """
    return _looked(Lens(network, look), _inputs(network, pixels, ids, labels, look), reconstruct=reconstruct)()


def sampling_batch(
    generator: Generator, steps: Callable[[Generator], Iterator[SamplerStep]], look: Look
) -> dict[str, Tensor]:
    """Activations of one batch while `steps(generator)` samples it => as `capture_batch`, and the samples as "x0", uint8.

    `steps` samples with the generator that it is given, which is in the look's precision. Of each step the last pass is
    the one recorded. Raises ValueError where the nearest step's noise level is more than a factor 1.5 from the look's.
    """
    return _landing(Lens(generator, look).sampling(steps))()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """One batch on its way to the network; in pinned memory where a GPU waits for it."""

    pixels: UInt8[np.ndarray, "N C H W"]
    noise: Tensor | None
    labels: np.ndarray


def _inputs(network: Generator, pixels: np.ndarray, ids: Sequence[str], labels: np.ndarray, look: Look) -> _Inputs:
    beside_gpu, noise = network.device.type == "cuda", None
    if look.protocol == "noised":
        threads = NOISE_THREADS if beside_gpu else 1
        noise = capture_noise(ids, network.latent_shape, root=look.root, threads=threads)
    if beside_gpu:
        pinned = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True).numpy()
        pinned[...] = pixels
        pixels, noise = pinned, None if noise is None else noise.pin_memory()
    return _Inputs(pixels=pixels, noise=noise, labels=labels)


def _looked(lens: Lens, inputs: _Inputs, *, reconstruct: bool) -> Callable[[], dict[str, Tensor]]:
    """Start a batch; the call that is returned waits for its values on the CPU."""
    network = lens.network
    noise = None if inputs.noise is None else inputs.noise.to(network.device, non_blocking=True)
    values = lens.images(network.encode(inputs.pixels), noise, network.rows(inputs.labels), reconstruct=reconstruct)
    return _landing(values)


def _landing(values: Mapping[str, Tensor]) -> Callable[[], dict[str, Tensor]]:
    """Start copying to the CPU; the call that is returned waits for it. From a GPU the copy overlaps what comes next."""
    away = [value for value in values.values() if value.device.type == "cuda"]
    if not away:
        here = {name: value.cpu().contiguous() for name, value in values.items()}
        return lambda: here
    host = {name: torch.empty(v.shape, dtype=v.dtype, pin_memory=True) for name, v in values.items()}
    for name, value in values.items():
        host[name].copy_(value, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(away[0].device))

    def wait() -> dict[str, Tensor]:
        arrived.synchronize()
        return host

    return wait


def _spans(start: int, stop: int, rows: int, batch_size: int) -> range:
    """Starts of the batches of rows [start, stop) out of `rows`."""
    if not 0 <= start <= stop <= rows or start % batch_size:
        raise ValueError(
            f"rows {start} to {stop} of {rows} with batch_size {batch_size}: a range lies inside the rows and starts at a "
            f"multiple of batch_size, such as {start // batch_size * batch_size}: batches are fixed by index"
        )
    return range(start, stop, batch_size)


def _padded(begin: int, stop: int, batch_size: int) -> np.ndarray:
    """Rows of the batch at `begin`, repeated to full width where the range ends inside it."""
    return np.resize(np.arange(begin, min(begin + batch_size, stop)), batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """Sized iterable over rows [start, stop) of a source: of each batch what the look keeps, {name: (n, ...)} on the CPU.

    Batch boundaries depend on the row index alone (`start` lies on one) and a last batch is padded to full width, so that
    a row's bits depend neither on how many rows there are nor on who computes which. `read` and the noise run in one
    background thread, at most `AHEAD` batches ahead of the network; it ends with the iteration, also when that stops early.
    """

    network: Generator
    read: Callable[[np.ndarray], np.ndarray]
    ids: Sequence[str]
    labels: np.ndarray
    look: Look
    batch_size: int
    start: int = 0
    stop: int | None = None
    reconstruct: bool = False

    def __post_init__(self) -> None:
        if self.look.protocol == "sampling":
            raise ValueError("protocol 'sampling' takes no images; use SamplingCaptures")
        self._spans()

    def __len__(self) -> int:
        return len(self._spans())

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        spans = self._spans()
        lens = Lens(self.network, self.look)
        landing: tuple[int, Callable[[], dict[str, Tensor]]] | None = None
        with closing(_ahead(self._inputs, spans)) as batches:
            for begin, inputs in zip(spans, batches, strict=True):
                started = _looked(lens, inputs, reconstruct=self.reconstruct)
                if landing is not None:  # handed on while a GPU is at the next batch
                    yield _trimmed(*landing)
                landing = (min(self.batch_size, spans.stop - begin), started)
        if landing is not None:
            yield _trimmed(*landing)

    def subset(self, count: int) -> Captures:
        """A seeded choice of `count` rows (all, where there are fewer), in the order of the rows and kept in full."""
        spans = self._spans()
        total = spans.stop - spans.start
        chosen = seeds.stream(self.look.root, "basis").choice(total, min(count, total), replace=False)
        rows = np.sort(chosen) + spans.start
        return Captures(
            network=self.network,
            read=lambda picked: self.read(rows[picked]),
            ids=[self.ids[row] for row in rows.tolist()],
            labels=self.labels[rows],
            look=self.look.full(),
            batch_size=self.batch_size,
        )

    def _spans(self) -> range:
        rows = len(self.ids)
        return _spans(self.start, rows if self.stop is None else self.stop, rows, self.batch_size)

    def _inputs(self, begin: int) -> _Inputs:
        rows = _padded(begin, self._spans().stop, self.batch_size)
        ids = [self.ids[row] for row in rows.tolist()]
        return _inputs(self.network, self.read(rows), ids, self.labels[rows], self.look)


def _trimmed(rows: int, arrived: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: value[:rows] for name, value in arrived().items()}


def _ahead(make: Callable[[int], _Inputs], keys: Iterable[int]) -> IteratorOf[_Inputs, None, None]:
    """`make(key)` for each key in order, up to `AHEAD` of them ahead of the caller, in one background thread."""
    waiting: deque[Future[_Inputs]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="modescope-read")
    try:
        for key in keys:
            waiting.append(pool.submit(make, key))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingCaptures:
    """Sized iterable over samples [start, stop): as `Captures`, of activations while a generator samples.

    `steps(generator, rows)` samples the given rows (indices, repeated where the last batch is padded).
    """

    generator: Generator
    steps: Callable[[Generator, np.ndarray], Iterator[SamplerStep]]
    look: Look
    batch_size: int
    stop: int
    start: int = 0

    def __post_init__(self) -> None:
        self._spans()

    def __len__(self) -> int:
        return len(self._spans())

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        lens = Lens(self.generator, self.look)
        for begin in self._spans():
            rows = _padded(begin, self.stop, self.batch_size)
            values = lens.sampling(partial(self._steps, rows))
            yield _trimmed(min(self.batch_size, self.stop - begin), _landing(values))

    def _steps(self, rows: np.ndarray, generator: Generator) -> Iterator[SamplerStep]:
        return self.steps(generator, rows)

    def _spans(self) -> range:
        return _spans(self.start, self.stop, self.stop, self.batch_size)


def fit_basis(
    batches: Iterable[Mapping[str, Tensor]], rows: int, n: int, *, dtype: str = "float16", folder: Path | None = None
) -> Components:
    """Batches kept in full, `rows` rows together (see `Captures.subset`) => the first `n` components of their features.

    The rows wait in a temporary file in `folder` (the system's own where None), so that memory does not grow with them.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        features: np.ndarray | None = None
        done = 0
        for batch in batches:
            block = flatten(batch)
            if features is None:
                features = np.memmap(file, np.dtype(dtype), "w+", shape=(rows, block.shape[1]))
            if done + len(block) > rows:
                raise ValueError(f"rows is {rows}, but the batches hold more; give the number of rows of all batches")
            features[done : done + len(block)] = block
            done += len(block)
        if features is None or done < rows:
            raise ValueError(f"rows is {rows}, but the batches hold {done}; give the number of rows of all batches")
        return components.fit(features, n)


def flatten(values: Mapping[str, Tensor | np.ndarray]) -> Float[np.ndarray, "N D"]:
    """Layers in their order, each flattened C, H, W, side by side: the feature rows of a view."""
    layers = [value for name, value in values.items() if name != RECONSTRUCTION]
    return np.concatenate([np.asarray(value).reshape(len(value), -1) for value in layers], axis=1)
