"""What is measured: a generator, samples of it, real ones where there are any, and the feature space of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from sklearn.svm import SVC
from torch import Tensor, nn

from modescope import components, masking, sampling, seeds, selection
from modescope.capturing import Look, capture_batch, capture_noise, flatten
from modescope.components import Components
from modescope.control.layers import BOTTLENECK, MIDBLOCK
from modescope.edm import EDMPrecond
from modescope.generators import Generator, edm_layers
from modescope.inversion import features_of
from modescope.making import Opened
from modescope.store import Activations, Images

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"imagenet64": {"img_resolution": 64, "img_channels": 3, "label_dim": 1000}}
)
"""Published networks by name, as arguments of `EDMPrecond`."""
SIGMA = 0.4  # of a generator's own activations, where no view is given; the noise level of the default view
JUDGED = 2000  # real images that the judge of classes learns from, at most
Judge = Callable[[UInt8[np.ndarray, "N C H W"], np.ndarray], np.ndarray]
"""Images and the classes asked for => 1 where they agree, 0 where not, nan where nobody can tell: (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Samples among which neighbours are looked for: standardised features, class labels, pixels of given rows."""

    features: Float[np.ndarray, "N D"]
    labels: Int64[np.ndarray, " N"]
    pixels: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A one-step generator, its samples `indices` (of root seed `root`) as `made`, perhaps `real` ones, and their view:
    a network, a look, and the scale that standardises.
    """

    generator: Generator
    root: int
    network: Generator
    look: Look
    scale: Components
    made: Side
    indices: Int64[np.ndarray, " N"]
    real: Side | None
    judge: Judge

    def features(
        self, pixels: UInt8[np.ndarray, "N C H W"], ids: Sequence[str], labels: np.ndarray
    ) -> Float[np.ndarray, "N D"]:
        """Standardised features of new images; the capture noise of each is that of its id."""
        return self.scale.project(flatten(capture_batch(self.network, pixels, ids, labels, self.look)))

    @property
    def steers(self) -> bool:
        """Whether slopes can be followed through the features: whole activations, at one noise level."""
        return self.look.protocol == "noised" and self.look.keep == "full" and len(self.look.sigmas) == 1

    def steering(self, ids: Sequence[str], labels: np.ndarray) -> Callable[[Tensor], Tensor]:
        """As `features`, from images in the network's space and differentiable."""
        if not self.steers:
            raise ValueError(
                "sources guided and aimed follow slopes through the features, and this view has none to follow; use one "
                "with protocol noised, keep full and one sigma, or leave these sources out"
            )
        return features_of(
            self.network,
            list(self.network.module_paths(self.look.layers).values()),
            sigma=self.look.sigmas[0],
            noise=capture_noise(ids, self.network.latent_shape, root=self.look.root),
            rows=self.network.rows(labels),
            mean=self.scale.mean,
            inverse_scale=self.scale.inverse_scale,
        )


def of_project(opened: Opened, name: str, view: str, most: int) -> Subject:
    """A generator of params.yaml and what the pipeline made with it: at most `most` samples of each side, a seeded choice."""
    how = opened.params.generator(name)
    if how.sampler != "one-step":
        raise ValueError(
            f"generator {name!r} is sampled by {how.sampler}; a mask is measured in the single step of a one-step "
            "generator: name one"
        )
    root = opened.params.seed
    real, made = (opened.activations(view, source) for source in ("real", name))
    scale = components.fit(real.matrix, None, standardise=not real.standardised)
    sides = {}
    for source, side in (("real", real), (name, made)):
        rows = selection.spread(len(side), most, root)
        sides[source] = _side(side, opened.images(source), rows, scale)
    return Subject(
        generator=opened.generator(name),
        root=root,
        network=opened.network(view),
        look=opened.look(view),
        scale=scale,
        made=sides[name],
        indices=selection.spread(len(made), most, root),
        real=sides["real"],
        judge=_learned(opened.images("real"), root),
    )


def _side(activations: Activations, images: Images, rows: np.ndarray, scale: Components) -> Side:
    return Side(
        features=scale.project(activations.matrix[rows]),
        labels=images.labels[rows],
        pixels=lambda picked: images.read(rows[picked]),
    )


def _learned(images: Images, seed: int) -> Judge:
    """A support vector machine on pixels: features of a network that is told the class know it."""
    rows = selection.spread(len(images), JUDGED, seed)
    known = SVC().fit(_flat(images.read(rows)), images.labels[rows])
    return lambda pixels, labels: (known.predict(_flat(pixels)) == labels).astype(np.float64)


def _flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)


def spans(count: int, size: int = 8) -> list[slice]:
    """`count` samples in batches."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def of_checkpoint(
    generator: Generator, batches: Iterable[slice], root: int, *, view: tuple[Generator, Look] | None = None
) -> Subject:
    """A generator alone, with samples of its own (`spans`), classes in turn. Without a view the feature space is the
    generator's own activations, bottleneck and midblock, of images with noise.
    """
    network, look = view or (generator, Look(layers=(BOTTLENECK, MIDBLOCK), sigmas=(SIGMA,), root=root))
    pixels, features = [], []
    for batch in batches:
        indices = np.arange(batch.start, batch.stop)
        labels, noise = _asked(generator, indices), sampling.latents(root, indices, generator.latent_shape)
        pixels.append(masking.generate(generator, noise, labels, None).pixels)
        ids = [f"fake/{index}" for index in indices.tolist()]
        features.append(flatten(capture_batch(network, pixels[-1], ids, labels, look)))
    everything, kept = np.concatenate(features), np.concatenate(pixels)
    scale, indices = components.fit(everything, None), np.arange(len(kept))
    return Subject(
        generator=generator,
        root=root,
        network=network,
        look=look,
        scale=scale,
        made=Side(
            features=scale.project(everything), labels=_asked(generator, indices), pixels=lambda rows: kept[rows]
        ),
        indices=indices,
        real=None,
        judge=lambda images, asked: np.full(len(images), np.nan),
    )


def _asked(generator: Generator, indices: np.ndarray) -> Int64[np.ndarray, " N"]:
    return sampling.balanced_labels(indices, generator.num_classes)


def random_generator(architecture: str, seed: int, device: str) -> Generator:
    """A published architecture with random weights: as large as the real one, and nothing to download."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is unknown; use one of {', '.join(ARCHITECTURES)}")
    config = ARCHITECTURES[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.stream(seed, "weights").integers(2**62)))
        network = EDMPrecond(**config)
        for weight in network.parameters():
            if weight.ndim > 1 and not weight.any():  # layers that start as nothing would leave nothing to measure
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    network.eval().requires_grad_(False).to(device)
    return Generator(
        family="edm",
        network=network,
        config=config,
        layers=edm_layers(network),
        checkpoint_hash=f"random {architecture} {seed}",
        latent_shape=(network.img_channels, network.img_resolution, network.img_resolution),
        num_classes=network.label_dim,
    )
