"""Inversion against closed forms: what a generator can make comes back, what it cannot keeps its distance."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from torch import nn

from modescope import inversion, masking, sampling
from modescope.edm import EDMPrecond
from modescope.generators import Generator, edm_layers, load_generator
from modescope.inversion import Descent, Inversions, descent

SPREAD = 0.5
FINE = Descent(steps=200, prior=0.0, enough=1e-5)


class Linear(nn.Module):
    """A one-step generator with a closed form: x0 = basis @ z + what the class adds."""

    def __init__(self, basis, offsets):
        super().__init__()
        self.basis, self.offsets = nn.Parameter(basis, requires_grad=False), offsets

    def forward(self, x, sigma, rows):
        z = (x / sigma[:, None, None, None]).flatten(1)
        return (z @ self.basis.T + rows @ self.offsets).view_as(x)


class Flat(nn.Module):
    """x0 = max(z, -0.1): no slope where z is below."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x, sigma, rows):
        return (x / sigma[:, None, None, None]).clamp(min=-0.1)


def generator_of(network, classes=3):
    return Generator(
        family="edm",
        network=network,
        config={},
        layers={},
        checkpoint_hash="0",
        latent_shape=(1, 2, 3),
        num_classes=classes,
    )


@pytest.fixture
def generator():
    """Makes two of six directions, around a place of its own for each class."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(6, 6, generator=rng))[0]
    basis = 0.3 * directions[:, :2] @ torch.eye(2, 6)
    return generator_of(Linear(basis, 0.4 * torch.randn(3, 6, generator=rng)))


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 2, 3), dtype=np.uint8)


def ids(count):
    return [f"real/{i}" for i in range(count)]


def inverted(generator, pixels, asked, **how):
    how = {"how": FINE, "root": 0, **how}
    return inversion.joined(
        list(Inversions(generator=generator, pixels=pixels, ids=ids(len(pixels)), asked=asked, **how))
    )


def test_the_error_left_is_the_distance_to_what_the_generator_can_make(generator):
    """Least squares: the part of the image outside the two directions."""
    pixels, labels = images(8), np.arange(8) % 3
    found = inverted(generator, pixels, labels)
    apart = generator.encode(pixels).flatten(1) - generator.network.offsets[labels]
    directions = torch.linalg.qr(generator.network.basis[:, :2])[0]
    expected = (apart - apart @ directions @ directions.T).square().mean(1)
    np.testing.assert_allclose(found.error, expected.numpy(), rtol=2e-3, atol=1e-5)
    assert found.error.max() > 0.05


def test_the_generators_own_images_come_back(generator):
    noise, labels = sampling.latents(3, np.arange(6), (1, 2, 3)), np.arange(6) % 3
    own = generator.decode(generator.denoise(noise * 80, torch.full((6,), 80.0), generator.rows(labels)))
    inside = (own > 0).all((1, 2, 3)) & (own < 255).all((1, 2, 3))  # clipped ones are none of its own
    found = inverted(generator, own, labels)
    assert inside.sum() >= 3
    assert found.error[inside].max() < 1e-4
    assert np.abs(found.made[inside].astype(int) - own[inside]).max() <= 2
    again = generator.denoise(torch.from_numpy(found.noise) * 80, torch.full((6,), 80.0), generator.rows(labels))
    np.testing.assert_array_equal(generator.decode(again), found.made)


def test_a_result_depends_on_neither_batches_nor_company(generator):
    pixels, labels = images(5), np.arange(5) % 3
    together = inverted(generator, pixels, labels)
    assert len(Inversions(generator=generator, pixels=pixels, ids=ids(5), asked=labels, root=0, batch_size=2)) == 3
    apart = inverted(generator, pixels, labels, batch_size=2)
    np.testing.assert_allclose(apart.noise, together.noise, atol=1e-4)
    rows = inverted(generator, pixels, generator.rows(labels))
    np.testing.assert_array_equal(rows.noise, together.noise)
    other = inverted(generator, pixels, labels, root=1)
    assert not np.allclose(other.noise, together.noise)


def test_poor_images_get_another_start_and_keep_the_better_one():
    """Sample 0 of root 0 is below the bend in some pixels: no slope leads out. A start above it gets there."""
    generator = generator_of(Flat(), classes=0)
    noise = sampling.latents(0, np.arange(400), (1, 2, 3)).flatten(1)
    below, above = int((noise < -0.1).all(1).nonzero()[0]), int((noise > 0).all(1).nonzero()[0])
    pixels = np.full((2, 1, 2, 3), 200, np.uint8)
    found = inverted(generator, pixels, None, starts=np.array([[below, above], [above, below]]))
    assert found.starts.tolist() == [1, 0]
    assert found.error.max() < 1e-4
    alone = inverted(generator, pixels, None, starts=np.array([[below], [above]]))
    assert alone.error[0] > 0.1
    assert alone.error[1] < 1e-4
    own = inverted(generator, pixels, None, restarts=6)
    assert own.error.max() <= inverted(generator, pixels, None, restarts=0).error.max()


def test_what_a_linear_generator_makes_is_expected_exactly(generator):
    """Its own samples tell the two directions of the noise that it looks at; noise moved along them makes the image."""
    noise, labels = sampling.latents(0, np.arange(60), (1, 2, 3)), np.arange(60) % 3
    sigma = torch.full((60,), 80.0)
    made = generator.denoise(noise * 80, sigma, generator.rows(labels))
    move = inversion.expected(made, noise, labels).move(made[:20].roll(3, 0), made[:20])
    same = labels[:20] == np.roll(labels[:20], 3)
    moved = generator.denoise((noise[:20] + move) * 80, sigma[:20], generator.rows(labels[:20]))
    before, after = ((made[:20].roll(3, 0) - there).square().flatten(1).mean(1)[same] for there in (made[:20], moved))
    assert same.sum() > 10
    assert (after < 0.02 * before).all()


def test_the_regression_of_noise_on_images_is_that_of_scikit_learn():
    rng = torch.Generator().manual_seed(0)
    made, noise = torch.randn(40, 1, 2, 3, generator=rng), torch.randn(40, 1, 2, 3, generator=rng)
    labels = np.repeat([3, 9], 20)
    x, z = (
        torch.cat([part - part.mean(0) for part in values.flatten(1).double().split(20)]).numpy()
        for values in (made, noise)
    )
    reference = Ridge(alpha=0.1 * (x**2).sum() / 6, fit_intercept=False).fit(x, z)
    there = torch.zeros_like(made)
    move = inversion.expected(made, noise, labels).move(made, there)
    np.testing.assert_allclose(
        move.flatten(1), reference.predict(made.flatten(1).double().numpy()), rtol=1e-4, atol=1e-6
    )


def test_a_search_begins_where_its_start_was_moved_to(generator):
    pixels, labels = images(4), np.arange(4) % 3
    starts, moves = np.arange(4)[:, None], torch.randn(4, 1, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    once = replace(FINE, steps=1)
    found = inverted(generator, pixels, labels, starts=starts, moves=moves, how=once, batch_size=3)
    expected = sampling.latents(0, np.arange(4), (1, 2, 3)) + moves[:, 0]
    np.testing.assert_array_equal(found.noise, expected.numpy())


def test_the_prior_keeps_noise_typical(generator):
    far = np.zeros((4, 1, 2, 3), np.uint8)
    labels = np.zeros(4, np.int64)
    free, held = (inverted(generator, far, labels, how=replace(FINE, prior=prior)) for prior in (0.0, 30.0))
    sizes = [inversion.atypical(torch.from_numpy(found.noise)).mean().item() for found in (free, held)]
    assert sizes[1] < 0.01 < sizes[0]


def test_the_class_is_found_when_it_is_asked_for(generator):
    offsets = generator.network.offsets
    pixels = generator.decode(offsets.view(3, 1, 2, 3))
    found = inverted(generator, pixels, None, find_weights=True)
    assert found.weights.argmax(1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-5)
    assert found.error.max() < 1e-3
    given = inverted(generator, pixels, np.array([1, 1, 1]), how=replace(FINE, steps=1), find_weights=True)
    np.testing.assert_allclose(given.weights, [[1 / 30, 0.9 + 1 / 30, 1 / 30]] * 3, rtol=1e-4)
    with pytest.raises(ValueError, match="find_weights asks for class weights, and this network has no classes"):
        inverted(generator_of(Flat(), classes=0), pixels, None, find_weights=True)


def test_settings_that_do_not_fit_are_errors(generator):
    for wrong in ({"steps": 0}, {"patience": 0}, {"memory": 0}, {"prior": -1.0}, {"enough": -1.0}):
        with pytest.raises(ValueError, match="are no descent; give the first three from 1, the others from 0"):
            Descent(**wrong)
    with pytest.raises(ValueError, match="there are 2 images and 3 ids"):
        Inversions(generator=generator, pixels=images(2), ids=ids(3), asked=None, root=0)
    with pytest.raises(ValueError, match=r"starts have shape \(3,\); give \(2, S\) indices"):
        Inversions(generator=generator, pixels=images(2), ids=ids(2), asked=None, root=0, starts=np.arange(3))
    with pytest.raises(ValueError, match="parts is empty"):
        inversion.joined([])


def test_the_committed_generator_makes_digits_and_nothing_else():
    generator = load_generator("data/checkpoints/dmd2.safetensors", device="cpu")
    digits = load_digits()
    real = np.floor(digits.images[:4] * 255 / 16).astype(np.uint8)[:, None]
    labels = digits.target[:4].astype(np.int64)
    own = masking.generate(generator, sampling.latents(9, np.arange(4), (1, 8, 8)), labels, None).pixels
    sets = {"real": real, "own": own, **inversion.other_images(real, 0)}
    found = inverted(
        generator,
        np.concatenate(list(sets.values())),
        np.tile(labels, len(sets)),
        how=Descent(steps=30),
        restarts=0,
    )
    errors = dict(zip(sets, found.error.reshape(len(sets), -1), strict=True))
    for made in ("own", "real"):
        for other in ("shuffled", "negative", "noise"):
            assert errors[made].max() < 0.02 < 0.1 < errors[other].min()
    sizes = (found.noise.reshape(len(sets), -1) ** 2).reshape(len(sets), 4, -1).mean(2)
    assert np.abs(sizes[:2] - 1).max() < 0.2


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 999))
def test_nearest_samples_equal_brute_force(n, m, seed):
    rng = np.random.default_rng(seed)
    pixels, made = images(n, seed), images(m, seed + 1)
    k, labels, made_labels = 1 + seed % m, rng.integers(0, 2, n), rng.integers(0, 2, m)
    apart = np.linalg.norm(pixels.reshape(n, 1, -1).astype(float) - made.reshape(1, m, -1), axis=2)
    found = inversion.nearest_samples(pixels, made, k, block=2)
    np.testing.assert_allclose(np.take_along_axis(apart, found, 1), np.sort(apart, 1)[:, :k], rtol=1e-5)
    within = apart + 1e6 * (labels[:, None] != made_labels)
    found = inversion.nearest_samples(pixels, made, k, labels=labels, made_labels=made_labels, block=2)
    np.testing.assert_allclose(np.take_along_axis(within, found, 1), np.sort(within, 1)[:, :k], rtol=1e-5)


def test_more_starts_than_samples_are_refused():
    with pytest.raises(ValueError, match="k is 3, there are 2 generated images to start from"):
        inversion.nearest_samples(images(1), images(2), 3)


def test_images_of_another_kind_keep_what_their_name_says():
    pixels = images(5)
    other = inversion.other_images(pixels, 0)
    assert set(other) == {"shuffled", "negative", "noise"}
    np.testing.assert_array_equal(np.sort(other["shuffled"].reshape(5, -1)), np.sort(pixels.reshape(5, -1)))
    assert (other["shuffled"] != pixels).any()
    np.testing.assert_array_equal(other["negative"].astype(int) + pixels, 255)
    np.testing.assert_array_equal(inversion.other_images(pixels, 0)["noise"], other["noise"])


def test_separation_is_the_share_of_pairs_in_the_right_order():
    own, other = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    pairs = [(a < b) + 0.5 * (a == b) for a in own for b in other]
    assert inversion.separation(own, other) == pytest.approx(np.mean(pairs))
    assert inversion.separation(own, own + 10) == 1.0
    assert inversion.separation(own + 10, own) == 0.0


def bowls(aims, scales=(1.0, 1.0)):
    """For each row its own quadratic valley; the by-product is twice the unknowns."""

    def objective(x, rows):
        value = ((x - aims[rows]).square() * torch.tensor(scales)).sum(1)
        return value, value, 2 * x

    return objective


def test_descent_goes_to_the_minimum_of_each_row_and_keeps_the_best_met():
    aims = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    met = inversion.descend(bowls(aims, (1.0, 30.0)), torch.zeros(2, 2), Descent(steps=60, enough=1e-8))
    torch.testing.assert_close(met.unknowns, aims, atol=1e-3, rtol=0)
    torch.testing.assert_close(met.product, 2 * met.unknowns)
    torch.testing.assert_close(met.value, met.error)
    assert met.error.max() < 1e-5


def test_in_a_quadratic_valley_the_search_agrees_with_a_published_one():
    """scipy's L-BFGS, the same number of evaluations: neither does much better on a valley of condition 1000."""
    scales = tuple(np.geomspace(0.01, 10.0, 12).tolist())
    aims = 0.3 * torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    met = inversion.descend(bowls(aims, scales), torch.zeros(5, 12), Descent(steps=40, enough=0.0, patience=40))
    for row, aim in enumerate(aims.double().numpy()):
        reference = minimize(
            lambda x, aim=aim: ((np.array(scales) * (x - aim) ** 2).sum(), 2 * np.array(scales) * (x - aim)),
            np.zeros(12),
            jac=True,
            method="L-BFGS-B",
            options={"maxcor": 10, "maxfun": 20, "ftol": 0, "gtol": 0},
        )
        assert met.value[row] <= reference.fun + 1e-9


def test_rows_that_are_done_or_go_nowhere_leave_and_the_others_stay_what_they_are():
    """Row 0 begins at its aim, row 1 has no way down, row 2 has work to do."""
    aims, seen = torch.tensor([[0.0, 0.0], [9.0, 9.0], [1.0, -2.0]]), []

    def objective(x, rows):
        seen.append(rows.tolist())
        value, error, product = bowls(aims, (1.0, 30.0))(x, rows)
        stuck = rows == 1
        return torch.where(stuck, value.detach() * 0 + 5 + 0 * value, value), torch.where(stuck, 5.0, error), product

    how = Descent(steps=60, enough=1e-6, patience=4)
    met = inversion.descend(objective, torch.zeros(3, 2), how)
    assert seen[0] == [0, 1, 2]
    assert seen[1] == [1, 2]
    assert seen[-1] == [2]
    assert met.evaluations[:2].tolist() == [1, 5]
    assert met.error[1] == 5.0
    assert met.error[2] <= 1e-6
    alone = inversion.descend(bowls(aims[2:], (1.0, 30.0)), torch.zeros(1, 2), how)
    torch.testing.assert_close(alone.unknowns[0], met.unknowns[2])
    assert int(alone.evaluations) == int(met.evaluations[2])
    together = inversion.descend(bowls(aims), torch.zeros(3, 2), replace(how, steps=7), leave=False)
    assert together.evaluations.tolist() == [7, 7, 7]


def test_many_rows_are_evaluated_a_part_at_a_time_with_the_same_result(monkeypatch):
    aims, seen = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)), []

    def objective(x, rows):
        seen.append(len(rows))
        return bowls(aims, (1.0, 30.0))(x, rows)

    how = Descent(steps=5, enough=0.0)
    whole = inversion.descend(objective, torch.zeros(7, 2), how)
    assert set(seen) == {7}
    monkeypatch.setattr(descent, "TOGETHER", 3)
    seen.clear()
    parts = inversion.descend(objective, torch.zeros(7, 2), how)
    assert seen[:3] == [3, 3, 1]
    torch.testing.assert_close(parts.unknowns, whole.unknowns)
    torch.testing.assert_close(parts.product, whole.product)
    seen.clear()
    inversion.descend(objective, torch.zeros(7, 2), how, leave=False)
    assert set(seen) == {7}


def test_rows_shared_by_two_threads_end_where_they_do_with_one():
    aims, before = torch.linspace(0.5, 3.0, 200).reshape(100, 2), torch.get_num_threads()
    how, seen, found = Descent(steps=9, enough=0.0), {}, []

    def objective(x, rows):
        seen.setdefault(threading.get_ident(), []).append(len(rows))
        return bowls(aims, (1.0, 30.0))(x, rows)

    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(inversion.descend(objective, torch.zeros(100, 2), how))
    torch.set_num_threads(before)
    assert seen.pop(threading.get_ident())[0] == 100
    assert {50} <= {size for sizes in seen.values() for size in sizes}
    torch.testing.assert_close(found[0].unknowns, found[1].unknowns)
    assert found[0].evaluations.tolist() == found[1].evaluations.tolist()


def test_the_summary_counts_what_is_made_and_ranks_only_what_is_not():
    errors = {"real": np.array([0.005, 0.01, 0.5, 0.02]), "noise": np.array([0.4, 0.6])}
    told = inversion.summary(errors, 0.01)
    assert told["real"]["made"] == 0.5
    assert told["real"]["median"] == pytest.approx(0.015)
    assert "separation" not in told["real"]
    assert told["noise"]["separation"] == pytest.approx(7 / 8)
    first, second = inversion.told_lines(told, 0.01)
    assert first.startswith("real: error <= 0.01 for 50.0% of 4 images, median 0.0150")
    assert second.endswith("told from real ones in 87.5% of pairs")
    table = pd.DataFrame(
        {
            "sample_id": ids(4),
            "class_id": [0, 1, 1, 0],
            "class_name": ["a", "b", "b", "a"],
            "error": errors["real"],
            "start": 0,
        }
    )
    hard = inversion.hardest(table, 0.01)
    assert list(hard.columns) == ["rank", "sample_id", "class_id", "class_name", "error"]
    assert hard["sample_id"].tolist() == ["real/2", "real/3"]
    assert hard["rank"].tolist() == [1, 2]
    assert inversion.hardest(table, 0.01, most=1)["sample_id"].tolist() == ["real/2"]
    assert inversion.hardest(table, 1.0).empty
    shares = inversion.by_class(table, 0.01, ["a", "b", "c"])
    assert shares["class_name"].tolist() == ["b", "a"]
    assert shares["made"].tolist() == [0.5, 0.5]
    assert shares["largest"].tolist() == [0.5, 0.02]


def test_guiding_reaches_features_that_the_generator_can_have(generator):
    projection = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
    rows = generator.rows(np.array([0, 1, 2]))
    wanted = 0.5 * sampling.latents(5, np.arange(3), (1, 2, 3))
    image = generator.denoise(wanted * 80, torch.full((3,), 80.0), rows).clamp(-1, 1)
    aims = image.flatten(1) @ projection
    noise = sampling.latents(6, np.arange(3), (1, 2, 3))
    found = inversion.guide(generator, lambda x: x.flatten(1) @ projection, aims, noise, rows, FINE)
    assert found.distance.max() < 0.02
    unguided = inversion.guide(generator, lambda x: x.flatten(1) @ projection, aims, noise, rows, Descent(steps=1))
    assert unguided.distance.max() > 0.1


def test_features_to_guide_by_are_the_standardised_activations():
    torch.manual_seed(0)
    network = EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=3, model_channels=32, channel_mult=[1, 2], num_blocks=1
    )
    network.eval().requires_grad_(False)
    view = replace(generator_of(network), layers=edm_layers(network), latent_shape=(1, 8, 8))
    noise, rows = sampling.latents(0, np.arange(2), (1, 8, 8)), view.rows(np.array([0, 2]))
    x0 = sampling.latents(1, np.arange(2), (1, 8, 8)).requires_grad_(True)
    path = "model.enc.8x8_conv"
    mean, scale = np.full(32 * 64, 0.25), np.full(32 * 64, 2.0)
    features = inversion.features_of(view, [path], sigma=0.4, noise=noise, rows=rows, mean=mean, inverse_scale=scale)(
        x0
    )
    c_in = 1 / (0.5**2 + 0.4**2) ** 0.5
    expected = network.get_submodule(path)(c_in * (x0 + 0.4 * noise)).flatten(1)
    torch.testing.assert_close(features, 2 * (expected - 0.25))
    assert torch.autograd.grad(features.sum(), x0)[0].abs().max() > 0


def gaussian(x, sigma, rows):
    s = sigma[:, None, None, None].double()
    return (x * SPREAD**2 / (SPREAD**2 + s**2)).to(x)


@pytest.mark.parametrize("sampler", ["heun", "euler"])
def test_a_sampler_run_backwards_finds_the_noise_it_began_with(sampler):
    noise = torch.randn(4, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    forwards = sampling.sampler(sampler, steps=12)
    image = sampling.last(forwards(gaussian, noise, None))
    found = inversion.reverse(gaussian, image, None, sampler=sampler, steps=12, tolerance=1e-12, iterations=200)
    torch.testing.assert_close(found.noise, noise, atol=1e-6, rtol=1e-6)
    assert found.gap.max() <= 1e-12
    assert found.error.max() < 1e-16


def test_backwards_noise_nears_the_closed_form_as_steps_grow():
    image = torch.full((1, 1, 2, 3), 0.3, dtype=torch.float64)
    exact = image * np.sqrt(SPREAD**2 + 80.0**2) / (80.0 * SPREAD)
    off = [
        (inversion.reverse(gaussian, image, None, steps=steps, sigma_min=1e-4).noise - exact).abs().max().item()
        for steps in (40, 80)
    ]
    assert off[1] < 5e-3
    assert off[1] < off[0] / 3


def test_an_iteration_that_does_not_settle_says_so():
    image = torch.ones(1, 1, 2, 3)
    found = inversion.reverse(lambda x, sigma, rows: -20 * x, image, None, steps=3, iterations=3)
    assert found.gap.max() > 1
    assert found.error.max() > 1
    with pytest.raises(ValueError, match="sampler 'few-step' cannot be run backwards; use 'heun' or 'euler'"):
        inversion.reverse(gaussian, image, None, sampler="few-step")
