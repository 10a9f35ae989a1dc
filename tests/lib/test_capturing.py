"""Captures: what a look asks for, the protocol, what is kept, and what a row depends on."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from modescope import components, sampling, seeds
from modescope.capturing import (
    Captures,
    Look,
    SamplingCaptures,
    capture_batch,
    capture_noise,
    fit_basis,
    flatten,
    network_input,
    sampling_batch,
)
from modescope.edm import EDMPrecond
from modescope.generators import Generator, edm_layers, encode_images
from modescope.taps import LayerError

LAYERS = ("midblock", "encoder_bottleneck")
LOOK = Look(layers=LAYERS, sigmas=(0.4,))


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


def captures(generator, images, look=LOOK, batch_size=4, rows=11, read=None, **span):
    pixels, ids, labels = images
    return Captures(
        network=generator,
        read=read or (lambda rows: pixels[rows]),
        ids=ids[:rows],
        labels=labels[:rows],
        look=look,
        batch_size=batch_size,
        **span,
    )


def joined(batches):
    parts = list(batches)
    assert len(parts) == len(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def plain_pass(generator, x, sigma, labels):
    """Activations and output of an ordinary forward pass, read by torch's own hooks."""
    seen = {}
    modules = {"encoder_bottleneck": generator.network.model.enc["4x4_block0"]}
    modules["midblock"] = generator.network.model.dec["4x4_in0"]
    handles = [m.register_forward_hook(lambda _, a, y, name=n: seen.update({name: y})) for n, m in modules.items()]
    x0 = generator.network(x, torch.full((len(x),), sigma), torch.eye(4)[labels])
    for handle in handles:
        handle.remove()
    return seen, x0


def test_the_noise_of_a_sample_depends_on_the_seed_and_its_id_alone():
    noise = capture_noise(["real/1", "real/2"], (1, 4, 4), root=0)
    again = capture_noise(["real/2", "fake/a/1"], (1, 4, 4), root=0)
    assert torch.equal(noise[1], again[0])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, capture_noise(["real/1", "real/2"], (1, 4, 4), root=1))
    many = [f"real/{i}" for i in range(11)]
    assert torch.equal(capture_noise(many, (1, 4, 4), root=0, threads=3), capture_noise(many, (1, 4, 4), root=0))


def test_input_is_the_image_plus_sigma_times_the_noise_or_the_image_times_sigma():
    x, noise = torch.full((1, 1, 1, 2), 3.0), torch.tensor([[[[1.0, -2.0]]]])
    assert network_input(x, noise, protocol="noised", sigma=0.5).tolist() == [[[[3.5, 2.0]]]]
    assert network_input(x, None, protocol="scaled", sigma=80.0).tolist() == [[[[240.0, 240.0]]]]


def test_one_level_kept_in_full_has_the_bits_of_a_plain_forward_pass(generator, images):
    pixels, ids, labels = images
    acts = capture_batch(generator, pixels, ids, labels, LOOK)
    noised = encode_images(pixels) + 0.4 * torch.from_numpy(seeds.normal(0, "capture", ids, (1, 8, 8)))
    seen, _ = plain_pass(generator, noised, 0.4, labels)
    assert list(acts) == ["encoder_bottleneck", "midblock"]  # execution order
    assert all(torch.equal(acts[name], seen[name]) for name in LAYERS)
    assert flatten(acts).shape == (11, 2 * 64 * 16)
    assert np.array_equal(flatten(acts)[:, 1024:], acts["midblock"].reshape(11, -1).numpy())


def test_a_rows_bits_do_not_depend_on_how_many_rows_there_are_or_who_computes_which(generator, images):
    whole = joined(captures(generator, images))
    assert whole["midblock"].shape == (11, 64, 4, 4)
    for start, stop in ((0, 6), (4, 8), (4, 11), (8, 11), (8, 9)):
        part = joined(captures(generator, images, start=start, stop=stop))
        assert all(torch.equal(whole[name][start:stop], part[name]) for name in LAYERS)
    assert all(torch.equal(whole[n][:6], v) for n, v in joined(captures(generator, images, rows=6)).items())


def test_batch_sizes_agree_within_rounding(generator, images):
    one, two = joined(captures(generator, images)), joined(captures(generator, images, batch_size=11))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in LAYERS)


def test_an_empty_range_has_no_batches(generator, images):
    assert list(captures(generator, images, start=8, stop=8)) == []


@pytest.mark.parametrize(("start", "stop"), [(2, 8), (8, 4), (0, 12), (-4, 4)])
def test_a_range_off_the_batches_or_the_rows_is_refused(generator, images, start, stop):
    with pytest.raises(ValueError, match=f"rows {start} to {stop} of 11 with batch_size 4: a range lies inside"):
        captures(generator, images, start=start, stop=stop)


def test_several_levels_are_single_ones_side_by_side_under_the_same_noise(generator, images):
    several = joined(captures(generator, images, replace(LOOK, sigmas=(0.4, 20.0))))
    assert list(several) == ["encoder_bottleneck@0.4", "midblock@0.4", "encoder_bottleneck@20", "midblock@20"]
    for sigma in (0.4, 20.0):
        single = joined(captures(generator, images, replace(LOOK, sigmas=(sigma,))))
        assert all(torch.equal(several[f"{name}@{sigma:g}"], single[name]) for name in LAYERS)


def test_means_are_those_over_space(generator, images):
    full = joined(captures(generator, images))
    mean = joined(captures(generator, images, replace(LOOK, keep="mean")))
    assert mean["midblock"].shape == (11, 64, 1, 1)
    assert all(torch.allclose(mean[n], full[n].mean((2, 3), keepdim=True), atol=1e-6) for n in LAYERS)


def on(basis, rows):
    """Scores, and the length of what they leave out, in float64."""
    standard = (rows.astype(np.float64) - basis.mean) * basis.inverse_scale
    scores = standard @ basis.axes.T.astype(np.float64)
    left_out = np.sqrt(np.maximum((standard**2).sum(1) - (scores**2).sum(1), 0))
    return np.hstack([scores, left_out[:, None]])


@pytest.mark.parametrize("sigmas", [(0.4,), (0.4, 2.0)])
def test_scores_on_a_basis_are_those_of_the_full_rows(generator, images, sigmas):
    look = replace(LOOK, sigmas=sigmas)
    rows = flatten(joined(captures(generator, images, look)))
    basis = components.fit(rows, 5)
    kept = joined(captures(generator, images, replace(look, keep="pca", basis=basis)))
    assert list(kept) == ["pca"]
    assert kept["pca"].shape == (11, 6, 1, 1)
    assert np.allclose(on(basis, rows)[:, :-1], basis.project(rows), atol=1e-4)
    expected = on(basis, rows)
    assert np.abs(flatten(kept) - expected).max() < 1e-4 * np.abs(expected).max()


def test_what_lies_outside_the_basis_shows_and_distances_are_never_overstated(generator, images):
    """A basis sees only what the rows that it was fitted on span; noise images lie far outside, and stay far."""
    _, ids, labels = images
    noise = np.random.default_rng(1).integers(0, 256, images[0].shape, np.uint8)
    pixels = (120 + noise[::-1] // 32).astype(np.uint8)  # nearly plain grey
    basis = components.fit(flatten(capture_batch(generator, pixels, ids, labels, replace(LOOK, sigmas=(0.01,)))), 4)
    look = replace(LOOK, sigmas=(0.01,), keep="pca", basis=basis)
    inside, outside = (flatten(capture_batch(generator, p, ids, labels, look)) for p in (pixels, noise))
    assert outside[:, -1].min() > inside[:, -1].max()
    full = flatten(capture_batch(generator, noise, ids, labels, look.full()))
    standard = (full - basis.mean) * basis.inverse_scale
    true, kept = (np.linalg.norm(values[:1] - values[1:], axis=1) for values in (standard, outside))
    assert (kept <= true * (1 + 1e-4)).all()


def test_means_far_from_zero_do_not_cancel_in_scores(generator, images):
    rows = flatten(joined(captures(generator, images))) + np.float32(0)
    basis = components.fit(rows, 3)
    far = replace_mean(basis, basis.mean + 300)
    kept = joined(captures(generator, images, replace(LOOK, keep="pca", basis=far)))
    expected = on(far, rows)
    assert np.abs(flatten(kept) - expected).max() < 1e-4 * np.abs(expected).max()


def replace_mean(basis, mean):
    return components.Components(mean=mean, inverse_scale=basis.inverse_scale, axes=basis.axes, variance=basis.variance)


def test_a_basis_of_other_layers_is_refused(generator, images):
    pixels, ids, labels = images
    basis = components.fit(np.random.default_rng(0).standard_normal((9, 1024)).astype(np.float32), 2)
    with pytest.raises(ValueError, match="basis has 1024 columns, the layers of this look have 2048 values"):
        capture_batch(generator, pixels, ids, labels, replace(LOOK, keep="pca", basis=basis))


def test_reconstructions_are_the_denoised_images_of_the_first_level(generator, images):
    pixels, ids, labels = images
    several = replace(LOOK, sigmas=(2.0, 0.4))
    acts = capture_batch(generator, pixels, ids, labels, several, reconstruct=True)
    noised = encode_images(pixels) + 2.0 * capture_noise(ids, (1, 8, 8), root=0)
    _, x0 = plain_pass(generator, noised, 2.0, labels)
    assert acts["x0"].dtype == torch.uint8
    assert np.array_equal(acts["x0"].numpy(), generator.decode(x0))
    without = capture_batch(generator, pixels, ids, labels, several)
    assert list(acts) == [*without, "x0"]
    assert np.array_equal(flatten(acts), flatten(without))
    batches = joined(captures(generator, images, several, batch_size=11, reconstruct=True))
    assert torch.equal(batches["x0"], acts["x0"])


def test_any_module_is_a_layer_and_what_has_no_image_shape_gets_one_or_is_refused(generator, images):
    pixels, ids, labels = images
    inner = ("midblock", "model.dec.4x4_in0.conv1", "model.map_layer1")
    acts = capture_batch(generator, pixels, ids, labels, replace(LOOK, layers=inner))
    assert list(acts) == ["model.map_layer1", "model.dec.4x4_in0.conv1", "midblock"]
    assert acts["model.map_layer1"].shape == (11, 128, 1, 1)
    with pytest.raises(ValueError, match=r"layer 'midblok' is not in this network; .*; nearest: 'midblock'"):
        capture_batch(generator, pixels, ids, labels, replace(LOOK, layers=("midblok",)))
    with pytest.raises(LayerError, match="'model.enc' never ran"):
        capture_batch(generator, pixels, ids, labels, replace(LOOK, layers=("model.enc",)))
    flat = replace(generator, network=torch.nn.Sequential(torch.nn.Flatten(2)), num_classes=0, layers={"flat": "0"})
    with pytest.raises(ValueError, match=r"layer 'flat' gives \(11, 1, 64\); capture layers that give"):
        capture_batch(OneArgument(flat), pixels, ids, labels, replace(LOOK, layers=("flat",)))


def OneArgument(generator):
    """The same generator with a network that takes the image alone."""

    class Only(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = generator.network
            self.scale = torch.nn.Parameter(torch.ones(()), requires_grad=False)

        def forward(self, x, sigma, rows):
            return self.inner(x * self.scale)

    return replace(generator, network=Only(), layers={"flat": "inner.0"})


def test_bfloat16_comes_near_and_tf32_on_a_cpu_is_float32(generator, images):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    exact = joined(captures(generator, images))
    rounded = joined(captures(generator, images, replace(LOOK, precision="bfloat16")))
    tf32 = joined(captures(generator, images, replace(LOOK, precision="tf32")))
    for name in LAYERS:
        error = (rounded[name] - exact[name]).abs().max() / exact[name].abs().max()
        assert 1e-5 < error < 0.05
        assert rounded[name].dtype == torch.float32
        assert torch.equal(tf32[name], exact[name])
    assert next(generator.network.parameters()).dtype == torch.float32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_winograd_agrees_to_float32_rounding_and_leaves_the_network_as_it_was(generator, images):
    assert generator.cast("float32") is generator
    fast = generator.cast("winograd")
    assert fast.cast("winograd") is fast
    assert fast.network.model.map_layer0.weight is generator.network.model.map_layer0.weight
    assert sum(type(module).__name__ == "WinogradConv" for module in fast.network.modules()) > 10
    exact = joined(captures(generator, images))
    near = joined(captures(generator, images, replace(LOOK, precision="winograd")))
    for name in LAYERS:
        assert not torch.equal(near[name], exact[name])
        assert (near[name] - exact[name]).abs().max() < 1e-5 * exact[name].abs().max()
    assert all(torch.equal(exact[name], value) for name, value in joined(captures(generator, images)).items())
    with pytest.raises(ValueError, match="precision 'float32' cannot be had of a network cast to winograd"):
        fast.cast("float32")
    with pytest.raises(ValueError, match="precision 'winograd' cannot be had of a network cast to bfloat16"):
        generator.cast("bfloat16").cast("winograd")


def test_reading_runs_ahead_in_one_other_thread_and_in_order(generator, images):
    calls = []

    def read(rows):
        calls.append((threading.get_ident(), rows.tolist()))
        return images[0][rows]

    list(captures(generator, images, read=read))
    assert {thread for thread, _ in calls} != {threading.get_ident()}
    assert len({thread for thread, _ in calls}) == 1
    assert [rows for _, rows in calls] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 8]]


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("modescope-read")]


def test_the_reading_thread_ends_when_the_consumer_stops_early(generator, images):
    calls = []

    def read(rows):
        calls.append(rows)
        return images[0][rows % 11]

    many = (images[0], [f"real/{i}" for i in range(400)], np.zeros(400, np.int64))
    batches = iter(captures(generator, many, rows=400, read=read))
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    assert len(calls) < 10


def test_an_error_while_reading_surfaces_after_the_batches_before_it(generator, images):
    def read(rows):
        if rows[0] == 8:
            raise OSError("shard 3 is damaged")
        return images[0][rows]

    batches = iter(captures(generator, images, read=read))
    next(batches)
    with pytest.raises(OSError, match="shard 3 is damaged"):
        list(batches)
    assert not readers()


def test_an_error_in_the_network_ends_the_reading_thread(generator, images):
    wrong = (images[0], images[1], np.full(11, 7))
    with pytest.raises(ValueError, match=r"class label 7 is outside 0..3"):
        list(captures(generator, wrong))
    assert not readers()


def heun(generator, rows):
    noise = sampling.latents(3, rows, (1, 8, 8))
    labels = sampling.balanced_labels(rows, 4)
    return sampling.heun(generator.denoise, noise, generator.rows(labels), steps=6)


def one_step(generator, rows):
    noise = sampling.latents(3, rows, (1, 8, 8))
    return sampling.one_step(generator.denoise, noise, generator.rows(sampling.balanced_labels(rows, 4)))


def test_sampling_records_the_pass_of_the_step_nearest_to_sigma(generator):
    rows = np.arange(5)
    step = list(heun(generator, rows))[3]
    look = Look(layers=LAYERS, protocol="sampling", sigmas=(step.sigma * 1.2,))
    acts = sampling_batch(generator, lambda g: heun(g, rows), look)
    with torch.no_grad():
        seen, x0 = plain_pass(generator, step.noised, step.sigma, rows % 4)
    assert torch.equal(x0, step.x0)
    assert all(torch.equal(acts[name], seen[name]) for name in LAYERS)
    assert np.array_equal(acts["x0"].numpy(), generator.decode(sampling.last(heun(generator, rows))))


def test_sampling_in_one_step_records_its_only_pass_in_every_kept_form(generator):
    look = Look(layers=LAYERS, protocol="sampling", sigmas=(80.0,))
    batches = SamplingCaptures(generator=generator, steps=one_step, look=look, batch_size=4, stop=11)
    full = joined(batches)
    x = sampling.latents(3, np.arange(4, 8), (1, 8, 8)) * 80
    seen, _ = plain_pass(generator, x, 80.0, np.arange(4, 8) % 4)
    assert all(torch.equal(full[name][4:8], seen[name]) for name in LAYERS)
    part = joined(replace(batches, start=4, stop=6))
    assert all(torch.equal(full[name][4:6], part[name]) for name in [*LAYERS, "x0"])
    basis = components.fit(flatten(full), 3)
    kept = joined(replace(batches, look=replace(look, keep="pca", basis=basis)))
    assert np.allclose(flatten(kept), on(basis, flatten(full)), atol=1e-3)
    rounded = joined(replace(batches, look=replace(look, keep="mean", precision="bfloat16")))
    assert torch.allclose(rounded["midblock"], full["midblock"].mean((2, 3), keepdim=True), atol=0.3)


def test_a_level_far_from_every_step_is_refused_with_the_steps_levels(generator):
    rows = np.arange(2)
    look = Look(layers=LAYERS, protocol="sampling", sigmas=(30.0,))
    with pytest.raises(ValueError, match="sigma 30 is not near any step of this sampler; its steps: 80"):
        sampling_batch(generator, lambda g: one_step(g, rows), look)
    with pytest.raises(ValueError, match="the sampler made no step"):
        sampling_batch(generator, lambda g: iter(()), look)


def test_images_and_sampling_are_not_mixed_up(generator, images):
    pixels, ids, labels = images
    look = replace(LOOK, protocol="sampling")
    with pytest.raises(ValueError, match="protocol 'sampling' takes no images; use SamplingCaptures"):
        captures(generator, images, look)
    with pytest.raises(ValueError, match="protocol 'sampling' takes no images; use 'noised' or 'scaled'"):
        capture_batch(generator, pixels, ids, labels, look)
    with pytest.raises(ValueError, match="protocol is 'noised'; activations of sampling are of protocol 'sampling'"):
        sampling_batch(generator, lambda g: iter(()), LOOK)
    with pytest.raises(ValueError, match=r"noise has shape None; 'noised' takes one value per value of x"):
        network_input(torch.zeros(1, 1, 2, 2), None, protocol="noised", sigma=1.0)


def test_a_basis_is_fitted_on_a_seeded_subset_kept_in_full(generator, images, tmp_path):
    look = replace(LOOK, sigmas=(0.4, 2.0))
    part = captures(generator, images, look).subset(8)
    assert part.ids == captures(generator, images, look).subset(8).ids
    assert part.ids == sorted(part.ids, key=images[1].index)
    assert len(set(part.ids)) == 8
    assert part.ids != captures(generator, images, replace(look, root=1)).subset(8).ids
    whole = joined(captures(generator, images, look))
    chosen = [images[1].index(name) for name in part.ids]
    rows = flatten({name: value[chosen] for name, value in whole.items()})
    fitted = fit_basis(part, 8, 4, dtype="float32", folder=tmp_path)
    expected = components.fit(rows, 4)
    np.testing.assert_allclose(fitted.variance, expected.variance, rtol=1e-3)
    np.testing.assert_allclose(np.abs(np.sum(fitted.axes * expected.axes, axis=1)), 1, atol=1e-3)
    half = fit_basis(part, 8, 4)
    np.testing.assert_allclose(half.variance, expected.variance, rtol=2e-2)
    assert not list(tmp_path.iterdir())
    assert len(captures(generator, images, look).subset(50).ids) == 11


@pytest.mark.parametrize(("rows", "held"), [(7, "more"), (9, "8")])
def test_a_basis_needs_the_number_of_rows_of_all_batches(generator, images, rows, held):
    with pytest.raises(ValueError, match=f"rows is {rows}, but the batches hold {held}"):
        fit_basis(captures(generator, images).subset(8), rows, 2)


BASIS = components.fit(np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32), 2)
CENTRED = components.fit(np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ()}, r"layers are \(\); name at least one layer"),
        ({"layers": ("midblock", "midblock")}, "name at least one layer, and each once"),
        ({"sigmas": ()}, r"sigmas are \(\); give at least one noise level"),
        ({"sigmas": (0.4, 0.40000001)}, "give at least one noise level, and each once"),
        ({"sigmas": (0.0,)}, "sigma 0.0 must be above 0"),
        ({"sigmas": (float("nan"),)}, "sigma nan must be above 0"),
        ({"protocol": "blurred"}, "protocol 'blurred' is unknown; use one of noised, scaled, sampling, clean"),
        (
            {"protocol": "clean"},
            r"sigmas are \(0.4,\); protocol 'clean' looks at images without noise: give none, \(\)",
        ),
        ({"protocol": "sampling", "sigmas": (1.0, 2.0)}, "protocol 'sampling' records one step"),
        ({"keep": "max"}, "keep 'max' is unknown; use one of full, mean, pca"),
        ({"keep": "pca"}, "keep is 'pca' and basis has no axes; give the basis to project on"),
        ({"keep": "pca", "basis": CENTRED}, "keep is 'pca' and basis has no axes; give the basis to project on"),
        ({"basis": BASIS}, "keep is 'full' and basis is given; only 'pca' projects on one"),
        ({"basis": CENTRED}, "keep is 'full' and basis is given"),
        ({"precision": "float8"}, "precision 'float8' is unknown; use one of float32, winograd, tf32, bfloat16"),
    ],
)
def test_an_impossible_look_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        replace(LOOK, **change)


def test_impossible_inputs_are_errors():
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="protocol 'sampling' takes no images"):
        network_input(x, x, protocol="sampling", sigma=1.0)
    with pytest.raises(ValueError, match=r"sigma 0.0 must be above 0"):
        network_input(x, x, protocol="noised", sigma=0.0)
