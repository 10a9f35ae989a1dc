"""Feature networks of clean images: what they are given, what is kept of them, which files are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from modescope import extractors, generators
from modescope.capturing import Look, capture_batch, flatten
from modescope.extractors import Preprocessing, ScriptError
from modescope.generators import load_generator
from tests.lib.scripts import exported

CLEAN = Look(layers=("features",), sigmas=(), protocol="clean")
IDS, LABELS = [f"real/{i}" for i in range(6)], np.zeros(6, np.int64)


def images(channels=1, side=8):
    return np.random.default_rng(0).integers(0, 256, (6, channels, side, side), dtype=np.uint8)


class Net(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 5, 3)

    def forward(self, x):
        return F.relu(self.conv(x)).mean((2, 3))


class Pair(Net):
    def forward(self, x):
        return self.conv(x), x


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval().requires_grad_(False)


def looked(generator, pixels, look=CLEAN):
    return capture_batch(generator, pixels, IDS, LABELS, look)


def test_the_features_of_pixels_are_the_pixels():
    generator = load_generator("data/real", "pixels", device="cpu")
    found = looked(generator, images())
    assert list(found) == ["features"]
    assert np.allclose((found["features"].numpy() + 1) * 127.5, images(), atol=1e-4)
    assert generator.checkpoint_hash == generators.identity("anywhere", "pixels") == "pixels-1"


@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 8, 8)])
def test_a_torchscript_network_gives_the_features_of_the_network_that_was_exported(tmp_path, net, example):
    path = exported(tmp_path / "net.pt", net, example)
    generator = load_generator(path, "torchscript", {"low": 0.0, "high": 255.0}, "cpu")
    found = looked(generator, images(3))["features"]
    assert found.shape == (6, 5, 1, 1)
    assert torch.allclose(found[:, :, 0, 0], net(torch.from_numpy(images(3)).float()), rtol=1e-4, atol=1e-2)
    assert generators.identity(path, "torchscript") == generator.checkpoint_hash


def test_images_are_mapped_resized_repeated_and_normalised_in_this_order(tmp_path, net):
    how = {"resolution": 16, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    generator = load_generator(exported(tmp_path / "net.pt", net), "torchscript", how, "cpu")
    x = torch.from_numpy(images()).float() / 255
    x = F.interpolate(x, (16, 16), mode="bilinear").expand(-1, 3, -1, -1)
    expected = net(
        (x - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    )
    assert torch.allclose(looked(generator, images())["features"][:, :, 0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(("resize", "kernel"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
@pytest.mark.parametrize("side", [4, 19])
def test_resizing_is_antialiased_as_that_of_pillow(resize, kernel, side):
    how = Preprocessing(resolution=side, resize=resize, high=255.0, mean=(0.0,), std=(1.0,))
    pixels = images(side=12)
    found = extractors.Scripted(nn.Identity(), how).prepared(torch.from_numpy(pixels) / 127.5 - 1)
    floats = [Image.fromarray(each[0].astype(np.float32)) for each in pixels]  # on integers Pillow rounds twice
    pillow = np.stack([np.asarray(each.resize((side, side), kernel)) for each in floats]).clip(0, 255)
    assert np.abs(found[:, 0].numpy() - pillow).max() < 1e-3


def test_colour_stays_colour_and_grey_stays_grey_where_the_network_is_grey(tmp_path):
    torch.manual_seed(0)
    grey = exported(tmp_path / "grey.pt", Net(1).eval())
    generator = load_generator(grey, "torchscript", {"mean": (0.5,), "std": (0.5,)}, "cpu")
    assert looked(generator, images())["features"].shape == (6, 5, 1, 1)
    with pytest.raises(ScriptError, match="images have 3 channels, the preprocessing is for 1"):
        looked(generator, images(3))


def test_values_are_kept_as_those_of_any_layer(tmp_path):
    torch.manual_seed(0)
    generator = load_generator(exported(tmp_path / "pair.pt", Pair().eval()), "torchscript", None, "cpu")
    full = looked(generator, images())["features"]  # the first of two outputs
    assert full.shape == (6, 5, 6, 6)
    mean = looked(generator, images(), Look(layers=("features",), sigmas=(), protocol="clean", keep="mean"))
    assert np.allclose(flatten(mean), full.mean((2, 3)).numpy(), atol=1e-6)


def test_the_first_batch_has_the_bits_of_every_later_one(tmp_path, net):
    generator = load_generator(exported(tmp_path / "net.pt", net), "torchscript", None, "cpu")
    first, *later = (looked(generator, images())["features"] for _ in range(4))
    assert all(torch.equal(first, each) for each in later)


def test_extractors_are_differentiable_and_stay_in_float32(tmp_path, net):
    generator = load_generator(exported(tmp_path / "net.pt", net), "torchscript", None, "cpu")
    assert generator.prepared("bfloat16", compile=True, channels_last=True) is generator
    assert generators.settled_precision("bfloat16", "torchscript") == "float32"
    assert generators.settled_precision("tf32", "pixels") == "tf32"
    assert generators.settled_precision("bfloat16", "edm") == "bfloat16"
    x = torch.zeros(1, 3, 8, 8, requires_grad=True)
    generator.network.features(x).sum().backward()
    assert x.grad.abs().max() > 0


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": x}


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten()


def test_outputs_that_are_no_features_say_what_is_wanted(tmp_path):
    for network, found in ((Dictionary(), "dict"), (Flat(), r"\(1152,\)")):
        generator = load_generator(exported(tmp_path / "odd.pt", network), "torchscript", None, "cpu")
        with pytest.raises(ScriptError, match=f"network gives {found}; export one whose first output is a tensor"):
            looked(generator, images())


def test_images_that_a_network_does_not_take_say_which_parameters_to_set(tmp_path):
    generator = load_generator(exported(tmp_path / "wide.pt", Net(4)), "torchscript", None, "cpu")
    with pytest.raises(
        ScriptError, match=r"does not take images of shape \(6, 3, 8, 8\) \(.*4.*\); set the preprocessing"
    ):
        looked(generator, images())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": "lanczos"}, "resize 'lanczos' is unknown; use one of bilinear, bicubic"),
        ({"low": 1.0}, "low 1 and high 1 are no range"),
        ({"mean": (0.0, 0.0)}, r"mean \(0.0, 0.0\) and std None do not go together; give each 1 or 3 values"),
        ({"mean": (0.0,), "std": (1.0, 1.0, 1.0)}, "do not go together"),
    ],
)
def test_impossible_preprocessing_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**change)


def test_protocols_and_families_that_do_not_go_together_are_refused(tmp_path):
    pixels = load_generator("data/real", "pixels", device="cpu")
    with pytest.raises(ValueError, match="protocol is 'noised' and the network of family 'pixels'; feature networks"):
        looked(pixels, images(), Look(layers=("features",), sigmas=(0.4,)))
    teacher = load_generator("data/checkpoints/teacher.safetensors", device="cpu")
    with pytest.raises(ValueError, match="protocol is 'clean' and the network of family 'edm'"):
        looked(teacher, images(), Look(layers=("midblock",), sigmas=(), protocol="clean"))
    with pytest.raises(ValueError, match="layer 'midblock' is not in this network; its layers: features"):
        looked(pixels, images(), Look(layers=("midblock",), sigmas=(), protocol="clean"))


def test_what_is_no_torchscript_file_says_so(tmp_path):
    with pytest.raises(ScriptError, match=r"none.pt does not exist; check `views`"):
        load_generator(tmp_path / "none.pt", "torchscript", None, "cpu")
    with pytest.raises(ScriptError, match=r"none.pt does not exist"):
        generators.identity(tmp_path / "none.pt", "torchscript")
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ScriptError, match="weights.pt is no TorchScript file"):
        load_generator(path, "torchscript", None, "cpu")
    path.write_bytes(b"nothing")
    with pytest.raises(ScriptError, match="weights.pt is no TorchScript file"):
        load_generator(path, "torchscript", None, "cpu")
