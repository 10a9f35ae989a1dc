"""Mask values from picked samples, generation under a mask, and what a mask controls."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modescope import masking, sampling, store
from modescope.edm import EDMPrecond
from modescope.files import DamagedFileError
from modescope.generators import Generator, edm_layers
from modescope.records import Mask
from modescope.taps import capture

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


@settings(max_examples=50)
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


def test_weights_of_a_mask_must_sum_to_something() -> None:
    for wrong in ([1.0], [1.0, -1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match=r"give one finite weight per id \(2\), with a sum above 0"):
            masking.mean_mask({"a": np.zeros((2, 1, 1, 1))}, ["x", "y"], source="recorded", sigma=80.0, weights=wrong)


def both(sigma: float = 80.0) -> tuple[Mask, Mask]:
    values = {"a": np.array([[[[1.0, 2.0]]], [[[5.0, 6.0]]]], np.float32)}
    first = masking.mean_mask({"a": values["a"][:1]}, ["x"], source="recorded", sigma=80.0)
    return first, masking.mean_mask(values, ["x", "y"], source="nearest", sigma=sigma)


def test_interpolation_goes_from_one_mask_to_the_other() -> None:
    first, second = both()  # at (1, 2) and at (3, 4)
    between = masking.interpolated(first, second, 0.25)
    np.testing.assert_array_equal(between.values["a"], [[[[1.5, 2.5]]]])
    assert (between.ids, between.weights, between.source) == (("x", "y"), (0.875, 0.125), "mixed")
    for share, end in ((0.0, first), (1.0, second)):
        assert torch.equal(masking.interpolated(first, second, share).values["a"], end.values["a"])
    with pytest.raises(ValueError, match=r"share 1.5 is outside \[0, 1\]"):
        masking.interpolated(first, second, 1.5)


def test_a_difference_is_added_and_never_held() -> None:
    first, second = both()
    apart = masking.difference(second, first)
    np.testing.assert_array_equal(apart.values["a"], [[[[2.0, 2.0]]]])
    assert (apart.ids, apart.weights) == (("x", "y"), (-0.5, 0.5))
    with pytest.raises(ValueError, match=r"a difference is added \(`add=True`\), not held"):
        masking.Hold(mask=apart)


def test_masks_of_other_layers_or_steps_do_not_combine() -> None:
    first, second = both(sigma=8.0)
    for combine in (masking.difference, lambda one, two: masking.interpolated(one, two, 0.5)):
        with pytest.raises(ValueError, match="hold a at sigma 80 and a at sigma 8; combine masks of the same layers"):
            combine(first, second)


def test_steering_adds_its_strength_times_the_difference(generator: Generator) -> None:
    labels = np.array([0, 1])
    value = torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(3))
    mask = mask_of(value)
    free = masking.generate(generator, noise(2), labels, None).pixels
    still = masking.generate(generator, noise(2), labels, masking.Hold(mask=mask, strength=0.0, add=True))
    np.testing.assert_array_equal(still.pixels, free)
    for strength in (-1.0, 3.0):
        made = masking.generate(generator, noise(2), labels, masking.Hold(mask=mask, strength=strength, add=True))
        expected = made.computed[BOTTLENECK] + strength * value.numpy()
        np.testing.assert_allclose(made.held[BOTTLENECK], expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"strength 3.0 is outside \[0, 1\]"):
        masking.generate(generator, noise(2), labels, masking.Hold(mask=mask, strength=3.0))


def test_a_part_of_a_layer_is_held_and_the_rest_computed_bit_for_bit(generator: Generator) -> None:
    value = torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(3))
    where = masking.region((64, 4, 4), channels=range(10), rows=(1, 3), columns=(0, 2))
    assert where.sum() == 10 * 2 * 2
    how = masking.Hold(mask=mask_of(value), where={BOTTLENECK: where})
    made = masking.generate(generator, noise(2), np.array([0, 1]), how)
    inside = np.broadcast_to(where.bool().numpy(), made.held[BOTTLENECK].shape)
    full = value.expand(2, -1, -1, -1).numpy()
    np.testing.assert_array_equal(made.held[BOTTLENECK][inside], full[inside])
    np.testing.assert_array_equal(made.held[BOTTLENECK][~inside], made.computed[BOTTLENECK][~inside])
    whole = masking.Hold(mask=mask_of(value), where={BOTTLENECK: torch.ones(1, 64, 4, 4)})
    np.testing.assert_array_equal(
        masking.generate(generator, noise(2), np.array([0, 1]), whole).pixels,
        masking.generate(generator, noise(2), np.array([0, 1]), mask_of(value)).pixels,
    )


def test_parts_outside_the_layer_are_errors(generator: Generator) -> None:
    with pytest.raises(ValueError, match=r"rows \(2, 5\) are no window of 0..4"):
        masking.region((8, 4, 4), rows=(2, 5))
    with pytest.raises(ValueError, match=r"columns \(2, 2\) are no window of 0..4"):
        masking.region((8, 4, 4), columns=(2, 2))
    for wrong in ([8], [-1], []):
        with pytest.raises(ValueError, match=r"are not all in 0..7; give at least one channel"):
            masking.region((8, 4, 4), channels=wrong)
    for wrong in (
        {BOTTLENECK: torch.ones(1, 8, 4, 4)},
        {BOTTLENECK: torch.full((1, 64, 4, 4), 2.0)},
        {CONV: torch.ones(1)},
    ):
        how = masking.Hold(mask=mask_of(torch.zeros(1, 64, 4, 4)), where=wrong)
        with pytest.raises(ValueError, match=r"give values in \[0, 1\] in the shape of the value that is held"):
            masking.generate(generator, noise(1), np.array([0]), how)


def few(steps: int = 3):
    return sampling.sampler("few-step", steps=steps)


RENOISE = sampling.renoising(0, range(2), (1, 8, 8))


def test_holding_what_every_step_computes_changes_no_step(generator: Generator) -> None:
    labels, one = np.array([0, 1]), np.array([0])
    renoise = sampling.renoising(0, range(1), (1, 8, 8))
    pixels, recorded = masking.record_steps(generator, few(), noise(1), one, [BOTTLENECK, CONV], renoise)
    assert [step.sigma for step in recorded] == sampling.few_step_sigmas(3)
    masks = masking.step_masks(recorded, ["fake/g/0"], source="recorded")
    steps = masking.generate_steps(generator, few(), noise(1), one, masks, renoise)
    np.testing.assert_array_equal(generator.decode(steps[-1].x0), pixels)
    free = masking.generate_steps(generator, few(), noise(2), labels, [], RENOISE)
    plain = list(few()(generator.denoise, noise(2), generator.rows(labels), RENOISE))
    assert all(torch.equal(a.x0, b.x0) for a, b in zip(free, plain, strict=True))


def test_a_mask_acts_in_its_own_step_and_the_first_k_in_theirs(generator: Generator) -> None:
    labels = np.array([0, 1])
    _, recorded = masking.record_steps(generator, few(), noise(2, seed=5), labels, [BOTTLENECK], RENOISE)
    masks = masking.step_masks(recorded, ["fake/g/0", "fake/g/1"], source="recorded")
    free = masking.generate_steps(generator, few(), noise(2), labels, [], RENOISE)
    second = masking.generate_steps(generator, few(), noise(2), labels, masks[1:2], RENOISE)
    assert torch.equal(second[0].x0, free[0].x0)
    assert not torch.equal(second[1].x0, free[1].x0)
    seen = []
    with capture(generator.network, [BOTTLENECK], value="held") as held:
        for how in (masks[:2], masks):
            denoise = masking.masked(generator, [masking.Hold(mask=mask) for mask in how])
            for step in few()(denoise, noise(2), generator.rows(labels), RENOISE):
                wanted = recorded[step.index].values[BOTTLENECK].mean(0, keepdim=True).expand(2, -1, -1, -1)
                seen.append(torch.allclose(held[BOTTLENECK], wanted))
    assert seen == [True, True, False, True, True, True]


def test_a_mask_without_a_step_of_its_level_is_an_error(generator: Generator) -> None:
    value = torch.zeros(1, 64, 4, 4)
    with pytest.raises(ValueError, match=r"recorded at sigma 0\.4 and the steps of this sampler are at sigma 80, "):
        masking.generate_steps(generator, few(), noise(2), np.array([0, 1]), [mask_of(value, sigma=0.4)], RENOISE)
    with pytest.raises(ValueError, match="the sampler made no step"):
        masking.record_steps(generator, lambda *_: iter(()), noise(1), np.array([0]), [CONV])


def test_heuns_own_passes_are_the_ones_recorded(generator: Generator) -> None:
    steps = sampling.sampler("heun", steps=2)
    _, recorded = masking.record_steps(generator, steps, noise(1), np.array([0]), [CONV])
    made = list(steps(generator.denoise, noise(1), generator.rows(np.array([0]))))
    for step, values in zip(made, recorded, strict=True):
        with capture(generator.network, [CONV], stop=True) as acts:
            generator.denoise(step.noised, torch.full((1,), step.sigma), generator.rows(np.array([0])))
        assert torch.equal(acts[CONV], values.values[CONV])


def test_condition_rows_stand_for_labels(generator: Generator) -> None:
    rows = generator.rows(np.array([1, 2]))
    np.testing.assert_array_equal(
        masking.generate(generator, noise(2), rows, None).pixels,
        masking.generate(generator, noise(2), np.array([1, 2]), None).pixels,
    )


def test_variations_are_the_noise_of_their_seeds() -> None:
    together = masking.variations([3, 1], (1, 8, 8))
    assert torch.equal(together[1:], masking.fresh_noise(1, (1, 8, 8)))
    assert masking.variations([], (1, 8, 8)).shape == (0, 1, 8, 8)


def test_recomputed_values_are_those_of_the_pipelines_batches_bit_for_bit(generator: Generator) -> None:
    stored = {
        start: masking.record(
            generator,
            sampling.latents(7, np.arange(start, start + 4), (1, 8, 8)),
            sampling.balanced_labels(np.arange(start, start + 4), 3),
            [BOTTLENECK],
        )[1][BOTTLENECK]
        for start in (0, 4)
    }
    found = masking.recomputed(generator, np.array([6, 1, 4]), None, 7, [BOTTLENECK], batch_size=4)[BOTTLENECK]
    assert torch.equal(found, torch.stack([stored[4][2], stored[0][1], stored[4][0]]))
    alone = masking.recomputed(generator, np.array([6]), None, 7, [BOTTLENECK])[BOTTLENECK]
    torch.testing.assert_close(alone[0], stored[4][2])
    other = masking.recomputed(generator, np.array([6]), np.array([1]), 7, [BOTTLENECK], batch_size=4)[BOTTLENECK]
    assert not torch.allclose(other[0], stored[4][2])  # sample 6 has class 0
    for wrong in ([], [2, -1]):
        with pytest.raises(ValueError, match=r"indices are \[.*\]; name at least one sample, numbered from 0"):
            masking.recomputed(generator, np.array(wrong, int), None, 7, [BOTTLENECK], batch_size=4)


def test_the_nearest_generated_samples_stand_in_for_real_images(generator: Generator) -> None:
    features, labels = np.arange(8, dtype=np.float32)[:, None], np.array([1, 1, 1, 1, 1, 0, 1, 1])
    indices, values = masking.nearest_values(
        generator,
        np.array([[5.2], [0.4]], np.float32),
        iter([features[:3], features[3:]]),
        labels,
        7,
        [BOTTLENECK],
        batch_size=4,
    )
    assert indices.tolist() == [5, 0]
    expected = masking.recomputed(generator, indices, np.array([0, 1]), 7, [BOTTLENECK], batch_size=4)[BOTTLENECK]
    assert torch.equal(values[BOTTLENECK], expected)


def test_scaled_values_are_what_the_network_computes_on_the_scaled_image(generator: Generator) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    labels = np.array([0, 1])
    values = masking.scaled_values(generator, pixels, labels, [CONV])
    x = (torch.from_numpy(pixels).float() / 127.5 - 1) * 80.0
    c_in = 1 / (0.5**2 + 80.0**2) ** 0.5
    expected = generator.network.get_submodule(CONV)(c_in * x)
    torch.testing.assert_close(values[CONV], expected)


def results_of(aims: np.ndarray, features: np.ndarray, agrees: float = 1.0) -> masking.Results:
    return masking.results_of(aims, features, np.full(features.shape[:2], agrees))


def test_control_and_diversity_of_a_case_by_hand() -> None:
    aims = np.zeros((1, 2))
    free = results_of(aims, np.array([[[3.0, 4.0], [3.0, -4.0]]]))  # both at 5 from the aim, 8 apart
    masked = results_of(aims, np.array([[[1.0, 0.0], [0.0, 0.0]]]), 0.9)  # at 1 and 0: median 0.5; 1 apart
    control = masking.measure_control(masked, free)
    assert (control.control, control.diversity, control.agreement) == (0.1, 0.125, 0.9)


def test_a_mask_that_does_nothing_scores_one() -> None:
    free = results_of(np.zeros((4, 5)), np.random.default_rng(0).normal(size=(4, 3, 5)))
    control = masking.measure_control(free, free)
    assert (control.control, control.diversity) == (1.0, 1.0)


def test_one_seed_says_nothing_about_diversity() -> None:
    alone = results_of(np.zeros((4, 5)), np.ones((4, 1, 5)))
    assert np.isnan(masking.measure_control(alone, alone).diversity)


def test_results_of_one_aim_are_compared_pair_by_pair() -> None:
    features = np.array([[[0.0], [1.0], [3.0]], [[0.0], [0.0], [0.0]]])
    found = results_of(np.array([[1.0], [2.0]]), features)
    assert found.apart.tolist() == [[1, 3, 2], [0, 0, 0]]
    assert found.distance.tolist() == [[1, 0, 2], [2, 2, 2]]


def test_results_for_some_aims_and_for_others_join() -> None:
    rng = np.random.default_rng(0)
    aims, features = rng.normal(size=(5, 3)), rng.normal(size=(5, 2, 3))
    parts = masking.joined([results_of(aims[:2], features[:2]), results_of(aims[2:], features[2:])])
    whole = results_of(aims, features)
    for name in ("distance", "apart", "agrees"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


class TestVarianceShares:
    """Of a full factorial, against effects that are known because they were put in."""

    def test_additive_effects_keep_their_shares(self) -> None:
        first, second = np.array([-3.0, 3.0]), np.array([-1.0, 0.0, 1.0])  # mean squares 9 and 2/3
        cells = 7 + first[:, None] + second[None]
        shares = masking.variance_shares(cells[..., None], ["mask", "seed"])
        assert shares == pytest.approx({"mask": 27 / 29, "seed": 2 / 29, "mask x seed": 0.0})

    def test_what_two_factors_do_only_together_is_their_interaction(self) -> None:
        product = np.array([[1.0, -1.0], [-1.0, 1.0]])
        shares = masking.variance_shares(product[..., None], ["mask", "seed"])
        assert shares == pytest.approx({"mask": 0.0, "seed": 0.0, "mask x seed": 1.0})

    def test_features_count_by_their_own_variance(self) -> None:
        one, other = np.array([1.0, -1.0]), np.array([2.0, -2.0])
        cells = np.stack(np.broadcast_arrays(one[:, None], other[None]), axis=-1)
        assert masking.variance_shares(cells, ["mask", "seed"])["mask"] == pytest.approx(0.2)

    @settings(max_examples=30)
    @given(st.lists(st.integers(1, 4), min_size=3, max_size=3), st.integers(1, 3), st.integers(0, 999))
    def test_shares_add_up_and_equal_plain_sums_of_squares(self, sizes: list[int], d: int, seed: int) -> None:
        features = 5 + np.random.default_rng(seed).normal(size=(*sizes, d))
        shares = masking.variance_shares(features, ["a", "b", "c"])
        total = np.square(features - features.mean(axis=(0, 1, 2))).sum()
        if max(sizes) == 1:
            assert np.isnan(list(shares.values())).all()
            return
        assert sum(shares.values()) == pytest.approx(1)
        for axis, name in enumerate("abc"):
            means = features.mean(axis=tuple({0, 1, 2} - {axis}))
            between = np.square(means - means.mean(axis=0)).sum() * np.prod(sizes) / sizes[axis]
            assert shares[name] == pytest.approx(between / total, abs=1e-9)
        pairs = features.mean(axis=2)
        both = np.square(pairs - pairs.mean(axis=(0, 1))).sum() * sizes[2] / total
        assert shares["a x b"] == pytest.approx(both - shares["a"] - shares["b"], abs=1e-9)

    def test_an_axis_without_a_name_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="features have 3 axes; give one for each of mask and a last one"):
            masking.variance_shares(np.zeros((2, 2, 1)), ["mask"])


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
