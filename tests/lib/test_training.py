"""Losses by hand, and what the trainers do to the networks they are given."""

from __future__ import annotations

import math

import pytest
import torch

from modescope.edm import EDMPrecond
from modescope.training import Average, Data, Distillation, Head, TeacherTraining, denoising_loss, edm_weight


def network(seed=0):
    torch.manual_seed(seed)
    return EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=3, model_channels=32, channel_mult=(1, 2), num_blocks=1
    )


def data(seed=0):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0] * 20 + [1] * 5 + [2] * 5)
    pictures = torch.stack([torch.full((1, 8, 8), value) for value in (-0.8, 0.0, 0.8)])
    return Data(pictures[labels], labels, rng)


def test_the_weight_is_one_over_the_squared_output_scale():
    sigma = torch.tensor([0.5, 2.0])
    c_out = sigma * 0.5 / (sigma**2 + 0.25).sqrt()
    assert torch.allclose(edm_weight(sigma, 0.5).flatten(), 1 / c_out**2)


def test_a_fresh_network_has_the_loss_of_its_skip_alone():
    x0, noise = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    sigma = torch.full((4,), 0.7)
    net = network()
    torch.nn.init.zeros_(net.model.out_conv.bias)
    with torch.no_grad():
        loss = denoising_loss(net, x0, noise, sigma, torch.zeros(4, 3))
    skip = 0.25 / (0.49 + 0.25)
    expected = ((skip * (x0 + 0.7 * noise) - x0) ** 2).mean() * (0.49 + 0.25) / (0.7 * 0.5) ** 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_classes_are_drawn_in_equal_shares_and_images_fit_their_labels():
    source = data()
    labels = source.labels(3000)
    assert torch.bincount(labels).min() > 900
    values = source.real(labels)[:, 0, 0, 0]
    assert torch.equal(values, torch.tensor([-0.8, 0.0, 0.8])[labels])
    assert torch.equal(source.rows(labels).argmax(1), labels)


def test_the_average_follows_the_network_slowly():
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = Average(net, 0.9)
    torch.nn.init.ones_(net.weight)
    average.update(net)
    assert average.network.weight.item() == pytest.approx(1 - 2 / 11)  # warm-up: (1 + 1) / (10 + 1)
    for _ in range(200):
        average.update(net)
    assert average.network.weight.item() == pytest.approx(1.0, abs=1e-6)
    assert not average.network.weight.requires_grad


def test_the_teacher_learns_and_training_is_seeded():
    def trained():
        training = TeacherTraining(network(), data(), steps=25, batch_size=32, lr=3e-3)
        assert len(training) == 25
        return list(training), training.average.network

    losses, first = trained()
    again, second = trained()
    assert losses == again
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_distillation_moves_the_generator_and_leaves_the_teacher_alone():
    teacher = network()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    distillation = Distillation(
        teacher, data(), steps=6, batch_size=8, lr=1e-3, gan_head_weight=0.1, gan_weight=0.03, generator_every=5
    )
    losses = list(distillation)
    assert len(losses) == len(distillation) == 6
    assert all(math.isfinite(value) for pair in losses for value in pair)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert distillation.average.updates == 2  # steps 0 and 5
    moved = distillation.generator.state_dict()
    assert any(not torch.equal(moved[name], before[name]) for name in before)


def test_the_generator_is_pulled_to_where_the_teacher_sees_data():
    """One class-free generator step with a perfect fake score moves the images along (real - fake)."""
    teacher = network()
    distillation = Distillation(teacher, data(), steps=1, batch_size=8, lr=1e-3, gan_head_weight=0.0, gan_weight=0.0)
    loss = distillation._learn_generator(torch.zeros(8, dtype=torch.long))
    assert loss == 0.0  # fake score equals teacher: no direction, no step
    distillation.fake_score = network(seed=1)
    torch.nn.init.normal_(distillation.fake_score.model.out_conv.weight, std=0.1)
    assert distillation._learn_generator(torch.zeros(8, dtype=torch.long)) > 0


def test_the_head_gives_one_logit_an_image():
    assert Head(64)(torch.randn(5, 64, 4, 4)).shape == (5,)
