"""Held values that bring results to given features, on a generator with a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modescope import inversion
from modescope.generators import Generator
from modescope.inversion import Aiming

GAIN, SPREAD = 0.2, 0.1


class Sum(nn.Module):
    """x0 = GAIN * what the layer gives + SPREAD * z: the held value moves the mean, the seed varies around it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1, bias=False).requires_grad_(False)

    def forward(self, x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        z = x / sigma[:, None, None, None]
        return GAIN * self.layer(z) + SPREAD * z


@pytest.fixture
def generator() -> Generator:
    return Generator(
        family="edm",
        network=Sum(),
        config={},
        layers={},
        checkpoint_hash="0",
        latent_shape=(1, 2, 3),
        num_classes=0,
    )


def flat(x0: Tensor, look: int) -> Tensor:
    return x0.flatten(1)


def aimed(generator: Generator, aims: Tensor, start: Tensor, how: Aiming | None = None) -> inversion.Aimed:
    ids = [f"aim/{value:.3f}" for value in aims[:, 0].tolist()]
    return inversion.aim(generator, flat, aims, {"layer": start}, None, ids=ids, root=0, how=how)


def case(count: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return 0.3 * torch.randn(count, 6, generator=rng), torch.randn(count, 1, 2, 3, generator=rng)


def test_results_come_to_the_aim_but_for_their_spread(generator: Generator) -> None:
    aims, start = case()
    found = aimed(generator, aims, start, Aiming(steps=60, draws=4, rate=0.4))
    torch.testing.assert_close(GAIN * found.values["layer"].flatten(1), aims, atol=0.04, rtol=0)
    np.testing.assert_allclose(found.distance, SPREAD, rtol=0.5)


def test_few_steps_bring_it_nearer(generator: Generator) -> None:
    aims, start = case()
    before = (GAIN * start.flatten(1) - aims).norm(dim=1)
    after = (GAIN * aimed(generator, aims, start).values["layer"].flatten(1) - aims).norm(dim=1)
    assert (after < 0.6 * before).all()


def test_a_result_does_not_depend_on_its_company(generator: Generator) -> None:
    aims, start = case()
    together = aimed(generator, aims, start).values["layer"]
    alone = aimed(generator, aims[1:2], start[1:2]).values["layer"]
    torch.testing.assert_close(together[1:2], alone)


def test_what_was_given_stays_as_it_was(generator: Generator) -> None:
    aims, start = case()
    before = start.clone()
    aimed(generator, aims, start)
    assert torch.equal(start, before)


def test_every_look_has_its_number(generator: Generator) -> None:
    looks: list[int] = []

    def features(x0: Tensor, look: int) -> Tensor:
        looks.append(look)
        return x0.flatten(1)

    aims, start = case(1)
    inversion.aim(generator, features, aims, {"layer": start}, None, ids=["a"], root=0, how=Aiming(steps=3, draws=2))
    assert looks == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"draws": 0}, {"rate": 0.0}])
def test_settings_that_do_not_fit_are_errors(wrong: dict) -> None:
    with pytest.raises(ValueError, match="are no search; give steps and draws from 1"):
        Aiming(**wrong)
