"""Captures: the protocol, and what a row depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modescope.capturing import Captures, capture_batch, flatten, network_input
from modescope.edm import EDMPrecond
from modescope.generators import Generator, edm_layers, encode_images

LAYERS = ["midblock", "encoder_bottleneck"]


@pytest.fixture(scope="module")
def generator():
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
        layers=edm_layers(network),
        checkpoint_hash="",
        latent_shape=(1, 8, 8),
        num_classes=4,
    )


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (11, 1, 8, 8), dtype=np.uint8)
    return pixels, [f"real/{i}" for i in range(11)], np.arange(11) % 4


def captured(generator, images, batch_size=4, rows=11):
    pixels, ids, labels = images
    batches = Captures(
        generator=generator,
        read=lambda rows: pixels[rows],
        ids=ids[:rows],
        labels=labels[:rows],
        layers=LAYERS,
        protocol="noised",
        sigma=0.4,
        root=0,
        batch_size=batch_size,
    )
    parts = list(batches)
    assert len(parts) == len(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def test_input_is_the_image_plus_sigma_times_the_samples_own_noise():
    x = torch.zeros(2, 1, 4, 4)
    one = network_input(x, ["real/1", "real/2"], protocol="noised", sigma=0.4, root=0)
    other = network_input(x + 1, ["real/2", "fake/a/1"], protocol="noised", sigma=0.8, root=0)
    assert torch.allclose(one[1] / 0.4, (other[0] - 1) / 0.8, atol=1e-6)
    assert not torch.equal(one[0], one[1])
    assert torch.equal(network_input(x + 2, ["a", "b"], protocol="scaled", sigma=80.0, root=0), x + 160)


def test_a_rows_bits_do_not_depend_on_how_many_rows_there_are(generator, images):
    all_rows, few = captured(generator, images), captured(generator, images, rows=6)
    assert list(all_rows) == ["encoder_bottleneck", "midblock"]  # execution order
    assert all_rows["midblock"].shape == (11, 64, 4, 4)
    assert all(torch.equal(all_rows[name][:6], few[name]) for name in LAYERS)


def test_batch_sizes_agree_within_rounding(generator, images):
    one, two = captured(generator, images, 4), captured(generator, images, 11)
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in LAYERS)


def test_a_capture_equals_the_layer_of_a_plain_forward_pass(generator, images):
    pixels, ids, labels = images
    acts = capture_batch(generator, pixels, ids, labels, layers=LAYERS, protocol="scaled", sigma=2.0, root=0)
    seen = {}
    handle = generator.network.model.dec["4x4_in0"].register_forward_hook(lambda m, a, y: seen.update(y=y))
    generator.network(encode_images(pixels) * 2.0, torch.full((11,), 2.0), torch.eye(4)[labels])
    handle.remove()
    assert torch.allclose(acts["midblock"], seen["y"], atol=1e-5)
    assert flatten(acts).shape == (11, 2 * 64 * 16)
    assert np.array_equal(flatten(acts)[:, 1024:], acts["midblock"].reshape(11, -1).numpy())


def test_impossible_protocols_and_levels_are_errors():
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="protocol 'clean' is unknown; use one of noised, scaled"):
        network_input(x, ["a"], protocol="clean", sigma=1.0, root=0)
    with pytest.raises(ValueError, match=r"sigma 0.0 must be above 0"):
        network_input(x, ["a"], protocol="noised", sigma=0.0, root=0)
