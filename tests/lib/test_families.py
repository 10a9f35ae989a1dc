"""A family that the library has never heard of: text to image, in the latent space of an autoencoder, on discrete timesteps.

It is defined here alone and goes through capture, masks, samplers, inversion, guidance and the map as any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modescope import generators, inversion, masking, sampling
from modescope.capturing import Captures, Look, capture_batch, flatten, sampling_batch
from modescope.generators import Family, Generator, load_generator
from modescope.inversion import Descent, Inversions
from modescope.projection import Reducer

PROMPTS, TOKENS, WIDTH = 4, 3, 6
LAYERS = {"down": "net.down", "middle": "net.middle", "up": "net.up"}
SIGMAS = torch.exp(torch.linspace(-3, 3, 100))  # noise level of each timestep


class Autoencoder(nn.Module):
    """Grey images (1, H, W) in [-1, 1] <=> latents (4, H / 2, W / 2): the four pixels of each square, mixed."""

    def __init__(self):
        super().__init__()
        mix = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(7)))[0]
        self.mix = nn.Parameter(mix, requires_grad=False)

    def encode(self, images):
        return torch.einsum("dc,nchw->ndhw", self.mix, F.pixel_unshuffle(images, 2))

    def decode(self, latents):
        return F.pixel_shuffle(torch.einsum("dc,ndhw->nchw", self.mix, latents), 2)


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Embedding(len(SIGMAS), 8)
        self.text = nn.Linear(WIDTH, 8)
        self.down, self.middle = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x, timestep, text):
        given = self.time(timestep) + self.text(text.softmax(1) * text).sum(1)
        h = F.silu(self.down(x) + given[:, :, None, None])
        return self.up(F.silu(self.middle(h)))


class Denoiser(nn.Module):
    """Looks the timestep up and scales its input: a network of a discrete schedule in the coordinates of the interface."""

    def __init__(self):
        super().__init__()
        self.net = Body()

    def forward(self, x, sigma, text):
        timestep = (sigma[:, None] - SIGMAS).abs().argmin(1)
        scale = (1 / (sigma**2 + 1)).sqrt()[:, None, None, None]
        dtype = self.net.text.weight.dtype
        return (x * scale**2 + self.net((x * scale).to(dtype), timestep, text.to(dtype))).to(x.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToImage(Generator):
    prompts: Tensor
    autoencoder: Autoencoder

    def rows(self, labels):
        return self.prompts[torch.from_numpy(labels)]

    def blended(self, weights):
        return torch.einsum("np,pte->nte", torch.from_numpy(weights), self.prompts)

    def unconditional(self):
        return torch.zeros(1, TOKENS, WIDTH)

    def encode(self, pixels):
        return self.autoencoder.encode(generators.encode_images(pixels))

    def decode(self, x0):
        return generators.decode_images(self.autoencoder.decode(x0))


def load(path, config, device, sigma_max):
    torch.manual_seed(0)
    return TextToImage(
        family="text",
        network=Denoiser().eval().requires_grad_(False).to(device),
        config=config,
        layers=LAYERS,
        checkpoint_hash="0",
        latent_shape=(4, 4, 4),
        num_classes=PROMPTS,
        sigma_max=10.0,
        prompts=torch.randn(PROMPTS, TOKENS, WIDTH),
        autoencoder=Autoencoder(),
    )


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.setitem(generators.FAMILIES, "text", Family(load=load, identity=lambda path: "0"))
    return load_generator("anywhere", "text", device="cpu")


def images(count=12):
    return np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def noise(count):
    return sampling.latents(0, np.arange(count), (4, 4, 4))


LABELS = np.arange(12) % PROMPTS
IDS = [f"real/{i}" for i in range(12)]


def test_an_unknown_family_names_the_known_ones(generator):
    with pytest.raises(
        ValueError, match="family 'gan' is unknown; known families: 'edm', 'pixels', 'torchscript', 'text'"
    ):
        load_generator("anywhere", "gan")
    assert generators.identity("anywhere", "text") == "0"
    assert generators.settled_precision("bfloat16", "text") == "bfloat16"


def test_images_travel_through_the_latent_space(generator):
    assert np.abs(generator.decode(generator.encode(images())).astype(int) - images()).max() <= 1


def test_its_layers_are_captured_under_noise_of_the_latent_space_and_mapped(generator):
    look = Look(layers=("middle", "down"), sigmas=(0.4,))
    pixels = images(40)
    ids, labels = [f"real/{i}" for i in range(40)], np.arange(40) % PROMPTS
    captures = Captures(
        network=generator, read=lambda rows: pixels[rows], ids=ids, labels=labels, look=look, batch_size=8
    )
    features = np.concatenate([flatten(batch) for batch in captures])
    assert features.shape == (40, 2 * 8 * 16)
    once = capture_batch(generator, pixels[:8], ids[:8], labels[:8], look)
    assert list(once) == ["down", "middle"]
    assert np.allclose(flatten(once), features[:8], atol=1e-5)
    reducer = Reducer.fit(features, pca=5, n_neighbors=5)
    assert np.allclose(reducer.transform(features), reducer.embedding)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_it_is_cast_and_compiled_as_any_other(generator, precision):
    given = (images(), IDS, LABELS)
    plain = capture_batch(generator, *given, Look(layers=("middle",), sigmas=(0.4,)))["middle"]
    half = capture_batch(generator, *given, Look(layers=("middle",), sigmas=(0.4,), precision=precision))["middle"]
    assert 0 < (half - plain).norm() / plain.norm() < 0.02
    ready = generator.prepared("float32", compile=True, channels_last=True, compiler=lambda forward: forward)
    assert ready.autoencoder is generator.autoencoder
    assert torch.allclose(
        capture_batch(ready, *given, Look(layers=("middle",), sigmas=(0.4,)))["middle"], plain, atol=1e-6
    )


@pytest.mark.parametrize("name", sampling.SAMPLERS)
def test_every_sampler_samples_it_with_guidance_and_records_it(generator, name):
    steps = sampling.sampler(name, steps=3, sigma_max=10.0, noise="fixed")
    guided = sampling.guided(generator.denoise, generator.unconditional(), 2.0)
    assert generator.decode(sampling.last(steps(guided, noise(5), generator.rows(LABELS[:5])))).shape == (5, 1, 8, 8)
    look = Look(layers=("up",), sigmas=(10.0,), protocol="sampling")
    found = sampling_batch(generator, lambda g: steps(g.denoise, noise(5), g.rows(LABELS[:5])), look)
    assert found["up"].shape == (5, 4, 4, 4)
    assert found["x0"].shape == (5, 1, 8, 8)


def test_masks_are_recorded_held_and_computed_again(generator):
    paths = [LAYERS["middle"]]
    pixels, values = masking.record(generator, noise(6), LABELS[:6], paths)
    again = masking.recomputed(generator, np.array([4, 1]), LABELS[[4, 1]], 0, paths, batch_size=6)
    assert torch.allclose(again[paths[0]], values[paths[0]][[4, 1]], atol=1e-6)
    mask = masking.mean_mask(values, IDS[:6], source="recorded", sigma=10.0)
    made = masking.generate(generator, noise(6), generator.blended(np.full((6, PROMPTS), 0.25, np.float32)), mask)
    assert np.allclose(made.held[paths[0]], mask.values[paths[0]].numpy())
    assert not np.array_equal(made.pixels, pixels)
    free = masking.generate(generator, noise(6), LABELS[:6], None)
    assert np.array_equal(free.pixels, pixels)
    scaled = masking.scaled_values(generator, images()[:6], LABELS[:6], paths)
    assert scaled[paths[0]].shape == (6, 8, 4, 4)
    heun = sampling.sampler("heun", steps=3, sigma_max=10.0)
    held = masking.generate_steps(generator, heun, noise(6), LABELS[:6], [mask])
    assert len(held) == 3


def test_its_own_samples_are_inverted(generator):
    pixels, _ = masking.record(generator, noise(4), LABELS[:4], [LAYERS["up"]])
    found = inversion.joined(
        list(
            Inversions(
                generator=generator,
                pixels=pixels,
                ids=IDS[:4],
                asked=LABELS[:4],
                root=0,
                how=Descent(steps=30, enough=1e-9),
                starts=np.arange(1, 5)[:, None],
            )
        )
    )
    start = masking.generate(generator, noise(5)[1:], LABELS[:4], None).pixels
    begun = ((start.astype(float) - pixels) / 127.5).reshape(4, -1)
    assert found.noise.shape == (4, 4, 4, 4)
    assert found.made.shape == (4, 1, 8, 8)
    assert (found.error < 0.5 * (begun**2).mean(1)).all()
