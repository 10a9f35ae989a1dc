"""Mask values from picked samples, generation under a mask, and what a mask controls."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modescope import masking, store
from modescope.edm import EDMPrecond
from modescope.files import DamagedFileError
from modescope.generators import Generator, edm_layers
from modescope.records import Mask

BOTTLENECK = "model.enc.4x4_block0"
CONV = "model.enc.8x8_conv"


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    config = dict(img_resolution=8, img_channels=1, label_dim=3, model_channels=32, channel_mult=[1, 2])
    network = EDMPrecond(**config, num_blocks=1, attn_resolutions=[4])
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    network.eval().requires_grad_(False)
    return Generator(
        family="edm",
        network=network,
        config=config,
        layers=edm_layers(network),
        checkpoint_hash="0",
        latent_shape=(1, 8, 8),
        num_classes=3,
    )


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def mask_of(value: torch.Tensor, sigma: float = 80.0, path: str = BOTTLENECK) -> Mask:
    return masking.mean_mask({path: value}, [f"fake/g/{i}" for i in range(len(value))], source="recorded", sigma=sigma)


def test_a_mask_is_the_weighted_mean_of_its_samples() -> None:
    values = {"a": np.array([[[[1.0]]], [[[5.0]]]], np.float32)}
    plain = masking.mean_mask(values, ["x", "y"], source="recorded", sigma=80.0)
    weighted = masking.mean_mask(values, ["x", "y"], source="recorded", sigma=80.0, weights=[3, 1])
    assert (plain.values["a"].item(), weighted.values["a"].item()) == (3.0, 2.0)
    assert (plain.weights, weighted.weights) == ((0.5, 0.5), (0.75, 0.25))
    assert plain.values["a"].shape == (1, 1, 1, 1)


def test_a_mask_names_each_sample_once() -> None:
    with pytest.raises(ValueError, match="repeated ids"):
        masking.mean_mask({"a": np.zeros((2, 1, 1, 1))}, ["x", "x"], source="recorded", sigma=80.0)


def test_a_mask_holds_at_least_one_layer() -> None:
    with pytest.raises(ValueError, match="holds no layer"):
        masking.mean_mask({}, ["x"], source="recorded", sigma=80.0)


def test_repeated_ids_add_up_their_shares() -> None:
    assert masking.shares(["b", "a", "b", "c"]) == (("b", "a", "c"), (0.5, 0.25, 0.25))
    with pytest.raises(ValueError, match="pick a neighbour"):
        masking.shares([])


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 5), st.integers(1, 12), st.integers(0, 999))
def test_nearest_rows_equal_brute_force_whatever_the_blocks(m: int, n: int, d: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, rows = rng.integers(-2, 3, (m, d)).astype(np.float32), rng.integers(-2, 3, (n, d)).astype(np.float32)
    k = 1 + seed % n
    found = masking.nearest_rows(queries, (rows[i : i + size] for i in range(0, n, size)), k)
    distances = ((queries[:, None].astype(np.float64) - rows[None]) ** 2).sum(2)
    np.testing.assert_array_equal(found, np.argsort(distances, axis=1, kind="stable")[:, :k])


def test_nearest_rows_of_too_few_rows_are_refused() -> None:
    rows = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="k is 4, there are 3 rows"):
        masking.nearest_rows(rows[:1], [rows], 4)
    with pytest.raises(ValueError, match="k is 0"):
        masking.nearest_rows(rows[:1], [rows], 0)


def test_fresh_noise_is_a_function_of_its_seed_and_standard_normal() -> None:
    first, again, other = (masking.fresh_noise(seed, (3, 64, 64)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(first.mean()) < 0.05
    assert abs(first.std() - 1) < 0.05


def test_holding_what_the_network_computes_anyway_changes_nothing(generator: Generator) -> None:
    labels = np.array([1])
    pixels, values = masking.record(generator, noise(1), labels, [BOTTLENECK])
    made = masking.generate(generator, noise(1), labels, mask_of(values[BOTTLENECK]))
    np.testing.assert_array_equal(made.pixels, pixels)
    np.testing.assert_array_equal(made.pixels, masking.generate(generator, noise(1), labels, None).pixels)


def test_the_held_value_goes_on_and_the_computed_one_is_kept_beside_it(generator: Generator) -> None:
    labels = np.array([0, 1, 2])
    free, values = masking.record(generator, noise(3), labels, [BOTTLENECK])
    mask = mask_of(values[BOTTLENECK][:1] + 1)
    made = masking.generate(generator, noise(3), labels, mask)
    np.testing.assert_array_equal(made.held[BOTTLENECK], mask.values[BOTTLENECK].expand(3, -1, -1, -1).numpy())
    np.testing.assert_array_equal(made.computed[BOTTLENECK], values[BOTTLENECK].numpy())
    assert (made.pixels != free).any()


def test_strength_blends_between_free_and_held(generator: Generator) -> None:
    labels, other = np.array([0]), masking.record(generator, noise(1, seed=1), np.array([0]), [CONV])[1][CONV]
    mask = mask_of(other, path=CONV)
    free = masking.generate(generator, noise(1), labels, None).pixels
    np.testing.assert_array_equal(masking.generate(generator, noise(1), labels, mask, strength=0.0).pixels, free)
    half = masking.generate(generator, noise(1), labels, mask, strength=0.5)
    np.testing.assert_allclose(half.held[CONV], (half.computed[CONV] + other.numpy()) / 2, rtol=1e-5, atol=1e-4)


def test_a_mask_of_another_noise_level_is_refused(generator: Generator) -> None:
    value = torch.zeros(1, 64, 4, 4)
    with pytest.raises(ValueError, match=r"recorded at sigma 0\.4 .* makes its step at sigma 80"):
        masking.generate(generator, noise(1), np.array([0]), mask_of(value, sigma=0.4))


def test_scaled_values_are_what_the_network_computes_on_the_scaled_image(generator: Generator) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    labels = np.array([0, 1])
    values = masking.scaled_values(generator, pixels, labels, [CONV])
    x = (torch.from_numpy(pixels).float() / 127.5 - 1) * 80.0
    c_in = 1 / (0.5**2 + 80.0**2) ** 0.5
    expected = generator.network.get_submodule(CONV)(c_in * x)
    torch.testing.assert_close(values[CONV], expected)


def test_control_and_diversity_of_a_case_by_hand() -> None:
    aims = np.zeros((1, 2))
    free = np.array([[[3.0, 4.0], [3.0, -4.0]]])  # both at 5 from the aim, 8 apart
    masked = np.array([[[1.0, 0.0], [0.0, 0.0]]])  # at 1 and 0: median 0.5; 1 apart
    control = masking.measure_control(aims, masked, free, agreement=0.9)
    assert (control.control, control.diversity, control.agreement) == (0.1, 0.125, 0.9)


def test_a_mask_that_does_nothing_scores_one() -> None:
    free = np.random.default_rng(0).normal(size=(4, 3, 5))
    control = masking.measure_control(np.zeros((4, 5)), free, free, agreement=1.0)
    assert (control.control, control.diversity) == (1.0, 1.0)


def test_spread_is_the_mean_distance_between_pairs_of_seeds() -> None:
    features = np.array([[[0.0], [1.0], [3.0]], [[0.0], [0.0], [0.0]]])
    assert masking.spread(features) == pytest.approx((1 + 3 + 2) / 6)


class TestKeeping:
    """`store.write_made` and what reads it back."""

    record: ClassVar = {"recipe": {"seed": 1, "layers": ["a"]}, "landed": [0.5, 1.0]}
    arrays: ClassVar = {
        "image": np.arange(4, dtype=np.uint8).reshape(1, 2, 2),
        "held/a": np.ones((1, 2, 2), np.float32),
    }

    def test_a_made_image_comes_back_with_its_record(self, tmp_path) -> None:
        name = store.write_made(tmp_path, self.record, self.arrays)
        record, arrays = store.read_made(tmp_path, name)
        assert name == f"made/{store.config_hash(self.record['recipe'])}"
        assert (record["id"], record["recipe"], record["landed"]) == (name, self.record["recipe"], [0.5, 1.0])
        for key, value in self.arrays.items():
            np.testing.assert_array_equal(arrays[key], value)

    def test_the_same_recipe_replaces_itself_and_another_stands_beside_it(self, tmp_path) -> None:
        first = store.write_made(tmp_path, self.record, self.arrays)
        again = store.write_made(tmp_path, self.record, self.arrays)
        other = store.write_made(tmp_path, {**self.record, "recipe": {"seed": 2}}, self.arrays)
        assert first == again
        assert set(store.list_made(tmp_path)) == {first, other}

    def test_a_folder_that_is_not_there_holds_nothing(self, tmp_path) -> None:
        assert store.list_made(tmp_path / "none") == ()

    def test_without_its_record_an_image_does_not_count(self, tmp_path) -> None:
        name = store.write_made(tmp_path, self.record, self.arrays)
        (tmp_path / f"{name.removeprefix('made/')}.json").unlink()
        assert store.list_made(tmp_path) == ()
        with pytest.raises(DamagedFileError, match="is missing"):
            store.read_made(tmp_path, name)

    def test_arrays_of_another_record_are_refused(self, tmp_path) -> None:
        name = store.write_made(tmp_path, self.record, self.arrays)
        other = store.write_made(tmp_path, {**self.record, "recipe": {}}, {"image": np.zeros((1, 2, 2), np.uint8)})
        paths = [tmp_path / f"{n.removeprefix('made/')}.safetensors" for n in (name, other)]
        paths[0].write_bytes(paths[1].read_bytes())
        with pytest.raises(DamagedFileError, match="is not what its record describes"):
            store.read_made(tmp_path, name)
