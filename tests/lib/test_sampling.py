"""Samplers against a closed form, and what a sample depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modescope import sampling
from modescope.edm import karras_sigmas

SPREAD = 0.5


def gaussian(x, sigma, rows):
    """The exact denoiser of data N(0, SPREAD^2): E[x0 | x]."""
    s = sigma[:, None, None, None].double()
    return (x * SPREAD**2 / (SPREAD**2 + s**2)).to(x)


def exact(noise, sigma_max=80.0):
    """The probability flow carries sigma_max * z to the same quantile of the data."""
    return noise * sigma_max * SPREAD / np.sqrt(SPREAD**2 + sigma_max**2)


def error(steps):
    noise = torch.randn(16, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = sampling.last(sampling.heun(gaussian, noise, None, steps=steps, sigma_min=1e-4))
    return (made - exact(noise)).abs().max().item()


def test_heun_converges_at_second_order_on_gaussian_data():
    coarse, fine = error(80), error(160)
    assert fine < 2e-3
    assert 3.8 < coarse / fine < 4.4


def test_heun_makes_two_evaluations_a_step_less_one_and_yields_each():
    calls = []

    def counting(x, sigma, rows):
        calls.append(sigma[0].item())
        return gaussian(x, sigma, rows)

    steps = list(sampling.heun(counting, torch.ones(1, 1, 1, 1), None, steps=5))
    assert len(calls) == 9
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert steps[0].sigma == pytest.approx(80.0)
    assert steps[-1].sigma == pytest.approx(0.002)


def test_one_step_denoises_scaled_noise_once():
    noise = torch.randn(3, 1, 2, 2)
    (step,) = sampling.one_step(lambda x, sigma, rows: x / sigma[:, None, None, None], noise, None)
    assert step.sigma == 80.0
    assert torch.equal(step.noised, noise * 80)
    assert torch.allclose(step.x0, noise)


def consistent(x, sigma, rows):
    """A perfect one-step generator of the Gaussian data, at every noise level: the end of the probability flow."""
    s = sigma[:, None, None, None].double()
    return (x * SPREAD / (SPREAD**2 + s**2).sqrt()).to(x)


def test_euler_converges_at_first_order_with_one_evaluation_a_step():
    def error(steps):
        noise = torch.randn(16, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        made = sampling.last(sampling.euler(gaussian, noise, None, steps=steps, sigma_min=1e-4))
        return (made - exact(noise)).abs().max().item()

    assert 1.85 < error(160) / error(320) < 2.15
    calls = []
    steps = list(
        sampling.euler(
            lambda x, s, r: calls.append(s[0].item()) or x * 0, torch.ones(1, 1, 1, 1).double(), None, steps=3
        )
    )
    assert calls == pytest.approx([80.0, steps[1].sigma, 0.002])
    # x0 = 0: the slope is x / sigma, so that x stays 1 sigma: the sample shrinks with the noise level.
    assert [step.noised.item() for step in steps] == pytest.approx(calls)


def test_few_steps_by_hand():
    noise, later = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 3.0)
    halve = lambda x, sigma, rows: x / 2  # noqa: E731
    steps = list(sampling.few_step(halve, noise, None, lambda step: later * step, sigmas=[8.0, 4.0, 1.0]))
    assert [step.noised.item() for step in steps] == [16.0, 8 + 4 * 3, 10 + 1 * 6]
    assert [step.x0.item() for step in steps] == [8.0, 10.0, 8.0]
    assert [(step.index, step.sigma) for step in steps] == [(0, 8.0), (1, 4.0), (2, 1.0)]
    without = list(sampling.few_step(halve, noise, None, sigmas=[8.0, 4.0]))
    assert without[1].noised.item() == without[0].x0.item()


def test_few_steps_of_a_perfect_generator_keep_the_law_of_the_data():
    noise = sampling.latents(0, np.arange(1000), (1, 2, 2))
    steps = sampling.sampler("few-step", steps=4)(
        consistent, noise, None, sampling.renoising(0, range(1000), (1, 2, 2))
    )
    spreads = [step.x0.std().item() for step in steps]
    assert spreads == pytest.approx([SPREAD] * 4, rel=0.05)


def test_the_levels_of_few_steps_are_a_karras_schedule_without_its_end():
    assert sampling.few_step_sigmas(1) == [80.0]
    four = sampling.few_step_sigmas(4)
    assert four[0] == 80.0
    assert four == pytest.approx(karras_sigmas(5)[:4].tolist())
    assert sampling.few_step_sigmas(2, sigma_min=1.0, sigma_max=16.0, rho=2.0)[1] == pytest.approx(2.5**2)


def test_one_few_step_is_the_one_step_sampler_bit_for_bit():
    noise = torch.randn(3, 1, 2, 2)
    one = sampling.last(sampling.sampler("one-step")(gaussian, noise, None))
    assert torch.equal(sampling.last(sampling.sampler("few-step", steps=1)(gaussian, noise, None)), one)


def test_fresh_noise_depends_on_sample_and_step_alone():
    together = sampling.renoising(0, range(4), (1, 2, 2))
    alone = sampling.renoising(0, [2], (1, 2, 2))
    assert torch.equal(together(1)[2], alone(1)[0])
    assert not torch.equal(together(1), together(2))
    assert not torch.equal(together(1), sampling.latents(0, np.arange(4), (1, 2, 2)))
    assert not torch.equal(together(1), sampling.renoising(0, range(4), (1, 2, 2), "made")(1))


def test_what_a_few_step_sampler_adds_is_chosen_by_name():
    noise, made = torch.ones(1, 1, 1, 1), {}
    for name in sampling.RENOISES:
        steps = sampling.sampler("few-step", sigmas=[8.0, 4.0], noise=name)
        made[name] = [s.noised.item() for s in steps(lambda x, s, r: x * 0 + 1, noise, None, lambda step: noise * 10)]
    assert made == {"fresh": [8.0, 41.0], "fixed": [8.0, 5.0], "none": [8.0, 1.0]}
    with pytest.raises(
        ValueError, match=r"adds fresh noise and was given none; call it with `renoising\(root, indices"
    ):
        sampling.sampler("few-step", steps=2)(gaussian, noise, None)
    with pytest.raises(ValueError, match="noise 'some' is unknown; use one of 'fresh', 'fixed', 'none'"):
        sampling.sampler("few-step", noise="some")


def test_levels_that_do_not_fall_are_errors():
    for wrong in ([], [1.0, 2.0], [1.0, 1.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="each below the one before, all above 0"):
            list(sampling.few_step(gaussian, torch.ones(1, 1, 1, 1), None, sigmas=wrong))
    with pytest.raises(ValueError, match="sigma_min 0.002 and sigma_max 0.001 are no range"):
        sampling.sampler("heun", sigma_max=0.001)


def test_every_sampler_starts_at_the_level_it_is_given():
    noise = torch.ones(1, 1, 1, 1)
    for name in sampling.SAMPLERS:
        steps = list(sampling.sampler(name, steps=3, sigma_max=20.0, noise="none")(gaussian, noise, None))
        assert steps[0].sigma == pytest.approx(20.0)
        assert len(steps) == (1 if name == "one-step" else 3)


def test_guidance_goes_from_no_class_through_the_class_and_beyond():
    calls = []

    def denoise(x, sigma, rows):
        calls.append(rows.sum().item())
        return x * 0 + rows.sum(1)[:, None, None, None]

    x, sigma, rows, without = torch.ones(2, 1, 1, 1), torch.ones(2), torch.eye(2), torch.zeros(1, 2)
    assert sampling.guided(denoise, without, 1.0) is denoise
    for weight in (0.0, 0.5, 3.0):
        assert sampling.guided(denoise, without, weight)(x, sigma, rows).flatten().tolist() == [weight, weight]
    assert calls[-2:] == [0.0, 2.0]  # the conditional pass runs last: a capture keeps it


def test_labels_are_balanced_and_stay_when_samples_are_added():
    few, many = sampling.balanced_labels(np.arange(7), 3), sampling.balanced_labels(np.arange(1797), 10)
    assert few.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert np.bincount(many).min() == 179
    assert np.array_equal(sampling.balanced_labels(np.arange(5, 9), 10), many[5:9])


def test_latents_depend_on_root_and_index_alone():
    together = sampling.latents(0, np.arange(4), (1, 8, 8))
    assert torch.equal(sampling.latents(0, np.array([2]), (1, 8, 8))[0], together[2])
    assert not torch.equal(sampling.latents(1, np.arange(4), (1, 8, 8)), together)


def test_unknown_samplers_and_empty_trajectories_are_errors():
    with pytest.raises(
        ValueError, match="sampler 'ddim' is unknown; use one of 'one-step', 'few-step', 'heun', 'euler'"
    ):
        sampling.sampler("ddim")
    with pytest.raises(ValueError, match="made no step"):
        sampling.last(iter(()))
    assert len(list(sampling.sampler("heun", steps=3)(gaussian, torch.ones(1, 1, 1, 1), None))) == 3
