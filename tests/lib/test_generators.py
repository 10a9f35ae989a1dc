"""Checkpoints: what loads, what is inferred, what is refused, and that nothing inside a file runs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from modescope import files
from modescope.capturing import Look, capture_batch
from modescope.edm import IMAGENET64, EDMPrecond
from modescope.generators import (
    CheckpointError,
    Generator,
    decode_images,
    edm_layers,
    encode_images,
    infer_edm_config,
    load_generator,
)
from modescope.taps import capture, hold

CONFIG = {
    "img_resolution": 8,
    "img_channels": 1,
    "label_dim": 10,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "channel_mult_emb": 4,
    "num_blocks": 1,
    "attn_resolutions": [4],
}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return EDMPrecond(**CONFIG).state_dict()


def save(path, state, **metadata):
    files.write_tensors(path, {k: v.numpy() for k, v in state.items()}, metadata)
    return path


def test_every_uint8_image_survives_encoding_and_decoding():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    encoded = encode_images(pixels)
    assert encoded.min() == -1
    assert encoded.max() == 1
    assert np.abs(decode_images(encoded).astype(int) - pixels).max() <= 1  # the published samplers truncate
    assert decode_images(torch.tensor([[[[-3.0, 3.0, 0.0]]]])).ravel().tolist() == [0, 255, 127]


@pytest.mark.parametrize("ending", ["safetensors", "bin", "pt", "pth"])
def test_every_flat_checkpoint_loads_with_its_inferred_config(tmp_path, state, ending):
    path = tmp_path / f"pytorch_model.{ending}"
    if ending == "safetensors":
        save(path, state)
    else:
        torch.save(dict(state), path)
    generator = load_generator(path, device="cpu")
    assert generator.config == CONFIG
    assert generator.latent_shape == (1, 8, 8)
    assert generator.num_classes == 10
    assert not generator.network.training
    assert all(torch.equal(a, b) for a, b in zip(generator.network.state_dict().values(), state.values(), strict=True))


def test_the_published_networks_config_is_inferred_from_names_and_shapes():
    with torch.device("meta"):
        state = EDMPrecond(**IMAGENET64).state_dict()
    inferred = infer_edm_config(state)
    asked = {k: list(v) if isinstance(v, tuple) else v for k, v in IMAGENET64.items() if k in inferred}
    assert inferred == asked


def test_layers_have_friendly_names_in_execution_order(tmp_path, state):
    generator = load_generator(save(tmp_path / "g.safetensors", state), device="cpu")
    assert list(generator.layers) == [
        *(f"encoder_block_{i}" for i in range(3)),
        "encoder_bottleneck",
        "midblock",
        *(f"decoder_block_{i}" for i in range(1, 7)),
    ]
    chosen = generator.module_paths(["midblock", "encoder_bottleneck"])
    assert list(chosen.values()) == ["model.enc.4x4_block0", "model.dec.4x4_in0"]
    assert generator.module_paths(["model.enc.8x8_conv"]) == {"model.enc.8x8_conv": "model.enc.8x8_conv"}
    with pytest.raises(ValueError, match="layer 'encoder_block_9' is not in this network; its layers: encoder_block_0"):
        generator.module_paths(["encoder_block_9"])


def test_condition_rows_are_one_hot_and_classes_are_checked(tmp_path, state):
    generator = load_generator(save(tmp_path / "g.safetensors", state), device="cpu")
    assert torch.equal(generator.rows(np.array([3, 0])), torch.eye(10)[[3, 0]])
    with pytest.raises(ValueError, match=r"class label 10 is outside 0..9"):
        generator.rows(np.array([1, 10]))


def test_weights_over_classes_become_rows_of_the_network(tmp_path, state):
    generator = load_generator(save(tmp_path / "g.safetensors", state), device="cpu")
    weights = np.full((2, 10), 0.1, np.float32)
    assert torch.equal(generator.blended(weights), torch.full((2, 10), 0.1))
    with pytest.raises(ValueError, match=r"weights have shape \(2, 9\); this network takes \(N, 10\)"):
        generator.blended(weights[:, 1:])


def test_guidance_needs_a_network_trained_with_label_dropout(tmp_path, state):
    path = save(tmp_path / "g.safetensors", state)
    with pytest.raises(ValueError, match="no unconditional row: it was not trained with label dropout"):
        load_generator(path, device="cpu").unconditional()
    generator = load_generator(path, config={"label_dropout": 0.1}, device="cpu")
    assert generator.config == {**CONFIG, "label_dropout": 0.1}  # what is given goes over what is inferred
    assert torch.equal(generator.unconditional(), torch.zeros(1, 10))


def test_what_no_name_or_shape_tells_is_said(tmp_path, state, caplog):
    path = save(tmp_path / "g.safetensors", state, config=json.dumps({"sigma_data": 0.25}))
    with caplog.at_level("INFO"):
        generator = load_generator(path, device="cpu", sigma_max=40.0)
    assert "g.safetensors does not tell sigma_min, sigma_max, dropout, label_dropout" in caplog.text
    assert (generator.network.sigma_data, generator.sigma_max) == (0.25, 40.0)


def test_networks_of_another_kind_are_named(state):
    with pytest.raises(CheckpointError, match=r"DDPM\+\+ or NCSN\+\+ network"):
        infer_edm_config({**state, "model.dec.8x8_aux_norm.weight": torch.zeros(1)})
    kept = {name: value for name, value in state.items() if "_block" not in name}
    with pytest.raises(CheckpointError, match="no 'model.enc.8x8_block0' is in it"):
        infer_edm_config(kept)


def test_a_checkpoint_of_another_shape_lists_the_first_names_of_each_kind(tmp_path, state):
    wrong = {k: v for k, v in state.items() if "out_norm" not in k}
    wrong["extra.weight"] = torch.zeros(1)
    wrong["model.out_conv.bias"] = torch.zeros(3)
    path = save(tmp_path / "wrong.safetensors", wrong, config=json.dumps(CONFIG))
    message = (
        r"wrong.safetensors does not fit the network. 2 missing: model.out_norm.weight, model.out_norm.bias; "
        r"1 unexpected: extra.weight; 1 misshapen: model.out_conv.bias \(3,\) instead of \(1,\)"
    )
    with pytest.raises(CheckpointError, match=message):
        load_generator(path)
    wide = {**CONFIG, "model_channels": 64}
    with pytest.raises(CheckpointError, match=r"\d+ misshapen: .*, \.\.\.\. Give the `config`"):
        load_generator(save(tmp_path / "g.safetensors", state), config=wide)


def test_what_is_no_checkpoint_says_so(tmp_path, state):
    with pytest.raises(CheckpointError, match="none.safetensors does not exist; check `generators` in params.yaml"):
        load_generator(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="this is no EDM / DMD2 state dict"):
        load_generator(save(tmp_path / "other.safetensors", {"layer.weight": torch.zeros(2)}))
    torch.save({"model": dict(state)}, tmp_path / "nested.pt")
    with pytest.raises(CheckpointError, match="is no flat dictionary of tensors"):
        load_generator(tmp_path / "nested.pt")
    (tmp_path / "g.onnx").touch()
    with pytest.raises(CheckpointError, match="unknown ending; use .safetensors"):
        load_generator(tmp_path / "g.onnx")
    with pytest.raises(ValueError, match="family 'gan' is unknown"):
        load_generator(tmp_path / "g.onnx", family="gan")
    path = save(tmp_path / "g.safetensors", state)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(files.DamagedFileError, match="g.safetensors cannot be read"):
        load_generator(path)


def test_the_committed_checkpoints_carry_their_provenance():
    for name in ("teacher", "dmd2-early", "dmd2"):
        with safe_open(f"data/checkpoints/{name}.safetensors", "np") as file:
            made = json.loads(file.metadata()["provenance"])
        assert len(made["git_commit"]) == 40
        assert made["steps"] > 0
        assert made["seconds"] > 0
        assert set(made["code_sha256"]) >= {"lib/modescope/training.py", "lib/modescope/edm.py", "stages/train.py"}
        assert made["params"]["distillation"]["generator_every"] == 5


LAYERS = ("encoder_bottleneck", "midblock")


def frozen(forward):
    """Stands in for a compiler, which takes seconds for each layer: what it gives knows no hooks set later, as its would."""
    module = getattr(forward, "__self__", None)
    if module is None:
        return forward
    return copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()}).forward


@pytest.fixture(scope="module")
def published():
    """A small network of the published architecture, its inputs, and what the published code makes of them."""
    with safe_open("tests/data/edm_parity_small.safetensors", "pt") as file:
        tensors, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    config = json.loads(metadata["config"])
    config = {k: v for k, v in config.items() if k not in ("use_fp16", "model_type", "augment_dim", "sigma_max")}
    network = EDMPrecond(**config).eval().requires_grad_(False)
    network.load_state_dict(
        {k.removeprefix("state_dict."): v.float() for k, v in tensors.items() if k.startswith("state_dict.")}
    )
    generator = Generator(
        family="edm",
        network=network,
        config=config,
        layers=edm_layers(network),
        checkpoint_hash="",
        latent_shape=(3, 16, 16),
        num_classes=7,
    )
    inputs = [tensors[f"input.{name}"] for name in ("x", "sigma", "class_labels")]
    expected = {name: tensors[f"expected.{name}"] for name in ("denoised", *LAYERS)}
    return generator, inputs, expected


def passed(generator, inputs):
    """What a pass gives: the image and both layers."""
    paths = generator.module_paths(LAYERS)
    with torch.no_grad(), capture(generator.network, paths.values()) as acts:
        denoised = generator.denoise(*inputs)
    return {"denoised": denoised, **{name: acts[path] for name, path in paths.items()}}


def apart(found, expected):
    """Largest relative error, in the Euclidean norm over a layer."""
    return max(((found[n].float() - expected[n]).norm() / expected[n].norm()).item() for n in expected)


@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 0.0156), ("float16", 0.0016)])
def test_half_precision_is_finite_and_as_near_to_the_published_values_as_its_digits(published, precision, error):
    """Measured over inputs at sigma 0.01 to 80: 0.0104 and 0.00107; half as much again is allowed."""
    generator, inputs, expected = published
    found = passed(generator.prepared(precision), inputs)
    assert found["denoised"].dtype == torch.float32  # the preconditioning around the network
    assert all(torch.isfinite(value).all() for value in found.values())
    assert error / 15 < apart(found, expected) < error


def test_float16_does_not_overflow_where_queries_and_keys_are_large(published):
    generator, inputs, _ = published
    loud = generator.prepared("float16")
    for block in loud.network.modules():
        if hasattr(block, "qkv"):
            block.qkv.weight.mul_(3000)
    assert torch.isfinite(passed(loud, inputs)["denoised"]).all()


@pytest.mark.parametrize(
    "options", [{"channels_last": True}, {"compile": True}, {"channels_last": True, "compile": True}]
)
def test_compiled_and_channels_last_networks_agree_to_rounding_and_leave_the_loaded_one_as_it_was(published, options):
    generator, inputs, expected = published
    bits = generator.network.state_dict()["model.enc.16x16_conv.weight"].clone()
    ready = generator.prepared("float32", **options, compiler=frozen)
    found = passed(ready, inputs)
    assert apart(found, expected) < 1e-5
    last = found["midblock"].is_contiguous(memory_format=torch.channels_last)
    assert last is ("channels_last" in options)
    weight = generator.network.model.enc["16x16_conv"].weight
    assert torch.equal(weight, bits)
    assert weight.is_contiguous()
    shares = ready.network.model.enc["16x16_conv"].weight is weight
    assert shares is ("channels_last" not in options)


def test_layers_are_captured_held_and_stopped_at_in_a_compiled_network(published):
    generator, inputs, expected = published
    ready = generator.prepared("float32", channels_last=True, compile=True, compiler=frozen)
    path = ready.layers["midblock"]
    value = expected["midblock"][:1]
    outputs = []
    for each in (generator, ready):
        with torch.no_grad(), hold(each.network, {path: value}):
            outputs.append(each.denoise(*inputs))
    assert torch.allclose(*outputs, atol=1e-5)
    assert not torch.allclose(outputs[0], expected["denoised"], atol=1e-3)  # the mask does something
    seen = []
    handle = ready.network.model.out_norm.register_forward_hook(lambda *_: seen.append("end"))
    with torch.no_grad(), capture(ready.network, [path], stop=True) as acts:
        ready.denoise(*inputs)
    handle.remove()
    assert not seen
    assert torch.allclose(acts[path], expected["midblock"], atol=1e-5)


def test_a_layer_inside_a_compiled_one_is_captured_and_held_all_the_same(published):
    generator, inputs, expected = published
    ready = generator.prepared("float32", compile=True, compiler=frozen)
    passed(ready, inputs)  # compiled without any tap
    inner = f"{ready.layers['midblock']}.conv1"
    outputs = []
    for each in (generator, ready):
        with torch.no_grad(), capture(each.network, [inner]) as acts:
            each.denoise(*inputs)
        with torch.no_grad(), hold(each.network, {inner: torch.zeros_like(acts[inner])}):
            outputs.append((acts[inner], each.denoise(*inputs)))
    for plain, compiled in zip(*outputs, strict=True):
        assert torch.allclose(plain, compiled, atol=1e-5)
    assert not torch.allclose(outputs[0][1], expected["denoised"], atol=1e-3)


def test_a_compiled_network_gives_values_and_gradients_of_the_plain_one():
    """In a process of its own: torch's tracer does not see through the checks of shapes that the tests add."""
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "compiling.py", "eager"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["graphs"] >= found["layers"] == 3
    assert found["values"] < 1e-5
    assert found["slopes"] < 1e-4
    assert found["held"] < 1e-5


def test_every_layer_is_compiled_and_what_is_captured_is_stored_in_one_order(published):
    generator, _, _ = published
    calls = []

    def counting(forward):
        calls.append(forward)
        return forward

    ready = generator.prepared("float32", channels_last=True, compile=True, compiler=counting)
    assert len(calls) == len(generator.layers) + 1  # and a trial
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    given = (pixels, [f"real/{i}" for i in range(3)], np.arange(3), Look(layers=LAYERS, sigmas=(0.4,)))
    plain, found = (capture_batch(each, *given) for each in (generator, ready))
    for name in LAYERS:
        assert found[name].is_contiguous()
        assert torch.allclose(found[name], plain[name], atol=1e-4)


def test_without_a_compiler_the_remedy_is_named(published):
    def broken(forward):
        raise RuntimeError("no compiler found\nmore")

    with pytest.raises(
        ValueError, match=r"nothing can be compiled for cpu here \(no compiler found\); install a C\+\+"
    ):
        published[0].prepared("float32", compile=True, compiler=broken)


def test_layers_inside_each_other_are_compiled_once(published):
    generator, inputs, expected = published
    nested = replace(generator, layers={**generator.layers, "inner": f"{generator.layers['midblock']}.conv1"})
    ready = nested.prepared("float32", compile=True, compiler=frozen)
    assert apart(passed(ready, inputs), expected) < 1e-5
