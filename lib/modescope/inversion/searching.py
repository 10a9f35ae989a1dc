"""Noise, and on request class weights, from which a one-step generator makes given images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from modescope import seeds
from modescope.generators import Generator
from modescope.inversion.descent import Descent, atypical, descend
from modescope.sampling import latents, levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Inversion:
    """What was found for each image: `noise` float32 (N, C, H, W), the remaining `error`, and the image made of it.

    error: mean squared difference to the image asked for, in [-1, 1], before rounding to uint8. `weights`: the class
    weights found, (N, L), where they were asked for. `starts`: which of its starts was the best one.
    """

    noise: Float32[np.ndarray, "N C H W"]
    error: Float64[np.ndarray, " N"]
    made: UInt8[np.ndarray, "N c h w"]
    starts: np.ndarray
    weights: Float32[np.ndarray, "N L"] | None = None


def joined(parts: Sequence[Inversion]) -> Inversion:
    """Inversions of consecutive batches => one."""
    if not parts:
        raise ValueError("parts is empty; join at least one batch")
    weights = [part.weights for part in parts if part.weights is not None]
    return Inversion(
        noise=np.concatenate([part.noise for part in parts]),
        error=np.concatenate([part.error for part in parts]),
        made=np.concatenate([part.made for part in parts]),
        starts=np.concatenate([part.starts for part in parts]),
        weights=np.concatenate(weights) if weights else None,
    )


def nearest_samples(
    pixels: UInt8[np.ndarray, "N C H W"],
    made: UInt8[np.ndarray, "M C H W"],
    k: int,
    *,
    labels: np.ndarray | None = None,
    made_labels: np.ndarray | None = None,
    block: int = 256,
) -> np.ndarray:
    """The k generated images nearest to each image in pixels, nearest first: indices (N, k), whose noise is a good start.

    With both labels given, of the image's own class: the label goes into the generator beside the noise. Classes with
    fewer than k samples are filled up from the others.
    """
    if not 1 <= k <= len(made):
        raise ValueError(
            f"k is {k}, there are {len(made)} generated images to start from; give a number from 1 to that"
        )
    among = torch.from_numpy(made.reshape(len(made), -1).astype(np.float32))
    found = []
    for start in range(0, len(pixels), block):
        part = slice(start, start + block)
        distance = torch.cdist(torch.from_numpy(pixels[part].reshape(len(pixels[part]), -1).astype(np.float32)), among)
        if labels is not None and made_labels is not None:
            other = np.asarray(labels)[part, None] != np.asarray(made_labels)[None]
            distance += torch.from_numpy(other) * 1e6  # above any distance of uint8 images of a few megapixels
        found.append(distance.topk(k, largest=False).indices.numpy())
    return np.concatenate(found) if found else np.empty((0, k), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inversions:
    """Sized iterable: one `Inversion` per batch of images; `joined` puts them together.

    `asked`: class labels (N,), or condition rows as a tensor, or None for an unconditional network. `starts`: indices (N, S)
    of the generator's own samples whose noise (root seed, index) each image starts from, one after the other while its
    error is above `how.enough`; None: `restarts` + 1 starts from the stream of (root, id). `moves`: added to that noise,
    (N, S, C, H, W), see `starting.Expected`. `find_weights`: look for the
    class weights as well, from mostly the label (or all classes alike); for networks whose rows are such weights.
    """

    generator: Generator
    pixels: np.ndarray
    ids: Sequence[str]
    asked: np.ndarray | Tensor | None
    root: int
    how: Descent = field(default_factory=Descent)
    starts: np.ndarray | None = None
    moves: Tensor | None = None
    restarts: int = 1
    find_weights: bool = False
    batch_size: int = 128

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.ids):
            raise ValueError(f"there are {len(self.pixels)} images and {len(self.ids)} ids; give one id per image")
        if self.starts is not None and (self.starts.ndim != 2 or len(self.starts) != len(self.pixels)):
            raise ValueError(f"starts have shape {self.starts.shape}; give ({len(self.pixels)}, S) indices of samples")

    def __len__(self) -> int:
        return -(-len(self.pixels) // self.batch_size)

    def __iter__(self) -> Iterator[Inversion]:
        for start in range(0, len(self.pixels), self.batch_size):
            yield self._batch(np.arange(start, min(start + self.batch_size, len(self.pixels))))

    def _batch(self, rows: np.ndarray) -> Inversion:
        """Every start for those rows that the starts before it left above `enough`."""
        noise, weights, x0, error = self._search(rows, 0)
        number = np.zeros(len(rows), np.int64)
        for attempt in range(1, self.restarts + 1 if self.starts is None else self.starts.shape[1]):
            poor = torch.nonzero(error > self.how.enough).flatten()
            if not len(poor):
                break
            again = self._search(rows[poor.numpy()], attempt)
            better = again[3] < error[poor]
            number[poor[better].numpy()] = attempt
            for kept, new in zip((noise, weights, x0, error), again, strict=True):
                if kept is not None and new is not None:
                    kept[poor[better]] = new[better]
        return Inversion(
            noise=noise.numpy(),
            error=error.double().numpy(),
            made=self.generator.decode(x0),
            starts=number,
            weights=None if weights is None else weights.numpy(),
        )

    def _search(self, rows: np.ndarray, attempt: int) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """One descent => noise, class weights, images in the network's space and their errors, on the CPU."""
        generator, shape = self.generator, self.generator.latent_shape
        aim, given = generator.encode(self.pixels[rows]), self._given(rows)
        size = math.prod(shape)
        logits = self._logits(given, len(rows)) if self.find_weights else aim.new_empty(len(rows), 0)

        def objective(unknown: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            noise = unknown[:, :size].unflatten(1, shape)
            condition = unknown[:, size:].softmax(1) if self.find_weights else None if given is None else given[which]
            x0 = generator.denoise(noise * generator.sigma_max, levels(noise, generator.sigma_max), condition)
            error = (x0 - aim[which]).square().flatten(1).mean(1)
            return error + self.how.prior * atypical(noise), error, x0

        begin = torch.cat([self._start(rows, attempt).to(aim).flatten(1), logits], dim=1)
        met = descend(objective, begin, self.how)
        weights = met.unknowns[:, size:].softmax(1).cpu() if self.find_weights else None
        return met.unknowns[:, :size].unflatten(1, shape).cpu(), weights, met.product.cpu(), met.error.cpu()

    def _start(self, rows: np.ndarray, attempt: int) -> Float[Tensor, "N C H W"]:
        shape = self.generator.latent_shape
        if self.starts is not None:
            noise = latents(self.root, self.starts[rows, attempt], shape)
            return noise if self.moves is None else noise + self.moves[torch.from_numpy(rows), attempt]
        return torch.from_numpy(seeds.normal(self.root, f"invert/{attempt}", [self.ids[i] for i in rows], shape))

    def _given(self, rows: np.ndarray) -> Tensor | None:
        if self.asked is None or isinstance(self.asked, Tensor):
            return None if self.asked is None else self.asked[torch.from_numpy(rows)].to(self.generator.device)
        return self.generator.rows(np.asarray(self.asked)[rows])

    def _logits(self, given: Tensor | None, count: int) -> Tensor:
        classes = self.generator.num_classes
        if not classes:
            raise ValueError("find_weights asks for class weights, and this network has no classes; leave it out")
        if given is None:
            return torch.zeros(count, classes, device=self.generator.device)
        return (0.9 * given + 0.1 / classes).log()
