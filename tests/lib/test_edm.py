"""The network against the published architecture: names, shapes, and numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from modescope.edm import IMAGENET64, Block, EDMPrecond, karras_sigmas
from modescope.taps import capture, hold

DATA = Path(__file__).parents[1] / "data"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def published():
    """A small network of the published architecture with its inputs and expected outputs."""
    with safe_open(DATA / "edm_parity_small.safetensors", "pt") as file:
        tensors, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    config = {
        k: v for k, v in json.loads(metadata["config"]).items() if k not in ("use_fp16", "model_type", "augment_dim")
    }
    network = EDMPrecond(**{**config, "sigma_max": float(config["sigma_max"])}).eval().requires_grad_(False)
    state = {k.removeprefix("state_dict."): v.float() for k, v in tensors.items() if k.startswith("state_dict.")}
    network.load_state_dict(state, strict=True)
    return network, tensors, (metadata["encoder_bottleneck"], metadata["midblock"])


def inputs(tensors):
    return tensors["input.x"], tensors["input.sigma"], tensors["input.class_labels"]


def test_denoised_image_and_both_layers_equal_the_published_networks(published):
    network, tensors, layers = published
    with capture(network, layers) as acts:
        denoised = network(*inputs(tensors))
    assert list(acts) == list(layers)
    for value, name in zip((denoised, *acts.values()), ("denoised", "encoder_bottleneck", "midblock"), strict=True):
        assert (value - tensors[f"expected.{name}"]).abs().max() < TOLERANCE


@pytest.mark.parametrize(("masked", "held"), [("both", (0, 1)), ("bottleneck", (0,)), ("midblock", (1,))])
def test_holding_the_first_samples_activations_gives_the_published_masked_output(published, masked, held):
    network, tensors, layers = published
    names = ("encoder_bottleneck", "midblock")
    values = {layers[i]: tensors[f"expected.{names[i]}"][:1] for i in held}
    with hold(network, values):
        denoised = network(*inputs(tensors))
    assert (denoised - tensors[f"expected.denoised.mask_{masked}"]).abs().max() < TOLERANCE


def test_bfloat16_stays_within_two_percent_of_the_published_output(published):
    network, tensors, _ = published
    half = EDMPrecond(**config_of(network)).eval()
    half.load_state_dict(network.state_dict())
    with torch.no_grad():
        denoised = half.to(torch.bfloat16)(*inputs(tensors))
    expected = tensors["expected.denoised"]
    assert denoised.dtype == torch.float32
    assert (denoised - expected).norm() / expected.norm() < 0.02


def config_of(network):
    return {
        "img_resolution": network.img_resolution,
        "img_channels": network.img_channels,
        "label_dim": network.label_dim,
        "model_channels": 32,
        "channel_mult": (1, 4),
        "num_blocks": 1,
        "attn_resolutions": (8,),
    }


def test_imagenet64_network_has_exactly_the_published_names_and_shapes():
    expected = json.loads((DATA / "edm_imagenet64_state_dict.json").read_text())
    with torch.device("meta"):
        network = EDMPrecond(**IMAGENET64)
    assert {name: list(value.shape) for name, value in network.state_dict().items()} == expected["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == expected["num_parameters"] == 295_899_267


def test_preconditioning_returns_the_input_as_noise_vanishes_and_is_linear_in_the_network_output(published):
    network, tensors, _ = published
    x, sigma, rows = inputs(tensors)
    tiny = torch.full_like(sigma, 1e-4)
    assert torch.allclose(network(x, tiny, rows), x, atol=1e-3)
    fresh = EDMPrecond(**config_of(network)).eval()
    with torch.no_grad():
        fresh.model.out_conv.bias.zero_()  # its weight starts at zero, so F = 0 and D = c_skip x
        expected = x * (0.25 / (sigma**2 + 0.25))[:, None, None, None]
        assert torch.allclose(fresh(x, sigma, rows), expected, atol=1e-6)


def test_soft_labels_are_ordinary_inputs(published):
    network, tensors, _ = published
    x, sigma, _ = inputs(tensors)
    classes = network.label_dim
    uniform, zero = torch.full((5, classes), 1 / classes), torch.zeros(5, classes)
    blend = 0.3 * torch.eye(classes)[:5] + 0.7 * torch.eye(classes)[1:6]
    outputs = [network(x, sigma, rows) for rows in (uniform, zero, blend, torch.eye(classes)[:5])]
    assert all(torch.isfinite(y).all() for y in outputs)
    assert all(not torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_karras_sigmas_run_from_max_to_min_as_in_equation_5():
    sigmas = karras_sigmas(3, sigma_min=1.0, sigma_max=16.0, rho=2.0)
    assert sigmas.tolist() == pytest.approx([16.0, 6.25, 1.0])  # square roots 4, 2.5, 1
    assert len(karras_sigmas(1)) == 1
    with pytest.raises(ValueError, match="steps 0 must be at least 1"):
        karras_sigmas(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": torch.zeros(2)}, r"sigma holds 0; .*give sigma > 0"),
        ({"sigma": torch.ones(3)}, r"sigma has shape \(3,\); give one value per image, \(2,\)"),
        ({"x": torch.zeros(2, 3, 16, 16)}, r"takes \(N, 1, 8, 8\)"),
        ({"class_labels": None}, "class_labels is missing; this network takes rows of 10 values"),
        ({"class_labels": torch.zeros(2, 9)}, r"takes \(2, 10\)"),
    ],
)
def test_wrong_inputs_say_what_the_network_takes(change, message):
    network = small()
    given = {"x": torch.zeros(2, 1, 8, 8), "sigma": torch.ones(2), "class_labels": torch.zeros(2, 10), **change}
    with pytest.raises(ValueError, match=message):
        network(**given)


def small():
    return EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=10, model_channels=32, channel_mult=(1, 2), num_blocks=1
    ).eval()


def test_impossible_configurations_are_refused():
    with pytest.raises(ValueError, match="img_resolution 10 cannot be halved 2 times"):
        EDMPrecond(img_resolution=10, img_channels=1, model_channels=32, channel_mult=(1, 1, 1))
    with pytest.raises(ValueError, match="multiples of 32"):
        EDMPrecond(img_resolution=8, img_channels=1, model_channels=33, channel_mult=(1,))


def test_label_dropout_acts_only_in_training():
    torch.manual_seed(0)
    config = {"img_resolution": 8, "img_channels": 1, "label_dim": 4, "model_channels": 32, "channel_mult": (1,)}
    network = EDMPrecond(**config, num_blocks=1, label_dropout=1.0)
    c_noise, rows = torch.zeros(3), torch.eye(4)[:3]
    with torch.no_grad():
        dropped = network.train().model.embed(c_noise, rows)
        kept = network.eval().model.embed(c_noise, rows)
        none = network.model.embed(c_noise, torch.zeros(3, 4))
    assert torch.equal(dropped, none)
    assert not torch.equal(kept, none)


def test_fresh_networks_start_with_zero_residuals_and_unit_label_rows():
    torch.manual_seed(0)
    network = small()
    assert network.model.out_conv.weight.abs().max() == 0
    assert all(block.conv1.weight.abs().max() == 0 for block in list(network.model.enc.values())[1:])
    assert network.model.map_label.weight.std().item() == pytest.approx(1.0, abs=0.1)
    fan_in = 32 * 9
    bound = math.sqrt(1 / 3) * math.sqrt(3 / fan_in)
    assert network.model.enc["8x8_block0"].conv0.weight.abs().max() <= bound


def test_fused_attention_is_the_same_attention():
    torch.manual_seed(0)
    block = Block(128, 128, emb=8, attention=True).requires_grad_(False)
    torch.nn.init.normal_(block.qkv.weight, std=0.2)
    x = torch.randn(3, 128, 4, 4)
    plain = block._attend(x)
    block.fused = True
    assert torch.allclose(block._attend(x), plain, atol=1e-5)
    assert not Block.fused
