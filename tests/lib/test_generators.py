"""Checkpoints: what loads, what is inferred, what is refused, and that nothing inside a file runs."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from modescope import files
from modescope.edm import IMAGENET64, EDMPrecond
from modescope.generators import (
    CheckpointError,
    decode_images,
    encode_images,
    infer_edm_config,
    load_generator,
)

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


class Evil:
    """Unpickling this would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("ending", ["bin", "pt", "pth"])
def test_a_malicious_checkpoint_is_refused_and_nothing_runs(tmp_path, ending):
    target = tmp_path / "harm"
    path = tmp_path / f"evil.{ending}"
    torch.save({"weight": torch.zeros(1), "evil": Evil(target)}, path)
    with pytest.raises(CheckpointError, match="is refused"):
        load_generator(path)
    path.write_bytes(pickle.dumps(Evil(target)))
    with pytest.raises(CheckpointError, match="is refused"):
        load_generator(path)
    assert not target.exists()


def test_the_committed_checkpoints_carry_their_provenance():
    for name in ("teacher", "dmd2-early", "dmd2"):
        with safe_open(f"data/checkpoints/{name}.safetensors", "np") as file:
            made = json.loads(file.metadata()["provenance"])
        assert len(made["git_commit"]) == 40
        assert made["steps"] > 0
        assert made["seconds"] > 0
        assert set(made["code_sha256"]) >= {"lib/modescope/training.py", "lib/modescope/edm.py", "stages/train.py"}
        assert made["params"]["distillation"]["generator_every"] == 5
