"""Samplers against a closed form, and what a sample depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modescope import sampling

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
    with pytest.raises(ValueError, match="sampler 'ddim' is unknown; use 'one-step' or 'heun'"):
        sampling.sampler("ddim")
    with pytest.raises(ValueError, match="made no step"):
        sampling.last(iter(()))
    assert len(list(sampling.sampler("heun", steps=3)(gaussian, torch.ones(1, 1, 1, 1), None))) == 3
