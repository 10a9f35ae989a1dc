"""Which layers are held together, from the structure of a generator alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from modescope import masking
from modescope.generators import Generator

BOTTLENECK, MIDBLOCK, ENCODER = "encoder_bottleneck", "midblock", "encoder_"
Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(generator: Generator) -> dict[str, tuple[int, ...]]:
    """Layers of the encoder and the midblock in execution order => shape (C, H, W) of each, from one pass."""
    paths = generator.module_paths([n for n in generator.layers if n.startswith(ENCODER) or n == MIDBLOCK])
    values = masking.record(
        generator, torch.zeros(1, *generator.latent_shape), np.zeros(1, np.int64), list(paths.values())
    )[1]
    return {name: tuple(values[path].shape[1:]) for name, path in paths.items()}


def layer_sets(shapes: Shapes) -> dict[str, tuple[str, ...]]:
    """The bottleneck; with the midblock; the encoder up to each resolution, from the lowest to all of it. => name: layers.

    What holds the same layers as a set before it is left out.
    """
    encoder = [name for name in shapes if name.startswith(ENCODER)]
    sets = {"bottleneck": (BOTTLENECK,), "bottleneck + midblock": (BOTTLENECK, MIDBLOCK)}
    for side in sorted({shapes[name][-1] for name in encoder}):
        chosen = tuple(name for name in encoder if shapes[name][-1] <= side)
        name = "every encoder layer" if len(chosen) == len(encoder) else f"encoder up to {side}x{side}"
        if chosen not in sets.values():
            sets[name] = chosen
    return sets


def named_sets(asked: Sequence[str], shapes: Shapes) -> dict[str, tuple[str, ...]]:
    """`a,b` `c` => sets of layers {"a + b": (a, b), "c": (c,)}, or the name of a set of `layer_sets` => that one."""
    known, chosen = layer_sets(shapes), {}
    for word in asked:
        layers = known.get(word) or tuple(part.strip() for part in word.split(","))
        for layer in layers:
            if layer not in shapes:
                raise ValueError(
                    f"set {word!r} names {layer!r}, which is no layer that a mask holds here; name a set "
                    f"({', '.join(known)}), or layers with commas between them: {', '.join(shapes)}"
                )
        chosen[word if word in known else " + ".join(layers)] = tuple(name for name in shapes if name in layers)
    return chosen
