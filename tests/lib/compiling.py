"""A small network compiled by the backend of torch.compile that is named, against the plain one: differences as JSON."""

from __future__ import annotations

import json
import sys
from functools import partial

import torch

from modescope.edm import EDMPrecond
from modescope.generators import Generator, edm_layers
from modescope.taps import capture, hold

LAYERS = ("encoder_block_0", "encoder_bottleneck", "midblock")  # few: tracing takes about a second for each


def made() -> Generator:
    torch.manual_seed(0)
    network = EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=4, model_channels=32, channel_mult=(1, 2), num_blocks=1
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Generator(
        family="edm",
        network=network.eval().requires_grad_(False),
        config={},
        layers={name: path for name, path in edm_layers(network).items() if name in LAYERS},
        checkpoint_hash="",
        latent_shape=(1, 8, 8),
        num_classes=4,
    )


def results(generator: Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The image, its slope, and the image under a held layer inside a compiled one."""
    rng = torch.Generator().manual_seed(1)
    x, sigma, rows = torch.randn(4, 1, 8, 8, generator=rng), torch.full((4,), 2.0), torch.eye(4)
    free = x.clone().requires_grad_(True)
    image = generator.denoise(free, sigma, rows)
    image.square().sum().backward()
    inner = f"{generator.layers['midblock']}.conv1"
    with torch.no_grad(), capture(generator.network, [inner]) as acts:
        generator.denoise(x, sigma, rows)
    with torch.no_grad(), hold(generator.network, {inner: acts[inner][:1]}):
        held = generator.denoise(x, sigma, rows)
    return image.detach(), free.grad, held


def main() -> None:
    generator = made()
    ready = generator.prepared("float32", compile=True, compiler=partial(torch.compile, backend=sys.argv[1]))
    apart = [((a - b).norm() / a.norm()).item() for a, b in zip(results(generator), results(ready), strict=True)]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    layers = len(generator.layers)
    found = dict(zip(("values", "slopes", "held"), apart, strict=True))
    sys.stdout.write(json.dumps({**found, "graphs": graphs, "layers": layers}))


if __name__ == "__main__":
    main()
