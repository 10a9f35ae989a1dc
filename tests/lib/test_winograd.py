"""Winograd's convolution against the plain sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modescope import winograd


def test_one_row_of_four_outputs_by_hand():
    data, filters, outputs = winograd.matrices()
    row, taps = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 0, -2])
    assert np.allclose(outputs @ ((filters @ taps) * (data @ row)), [1 - 6, 2 - 8, 3 - 10, 4 - 12])


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (5, 7, 8, 12), (3, 2, 16, 4)])
def test_it_is_the_padded_convolution(shape, monkeypatch):
    monkeypatch.setattr(winograd, "_TOGETHER", 4000)  # several parts of a batch
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn((6, shape[1], 3, 3), generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    found = winograd.convolve(x, winograd.transformed(weight), bias)
    assert torch.allclose(found, F.conv2d(x, weight, bias, padding=1), atol=1e-11)


def test_its_error_in_float32_is_that_of_the_plain_sum():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 256, 16, 16), generator=generator)
    weight, bias = torch.randn((64, 256, 3, 3), generator=generator) / 48, torch.randn(64, generator=generator)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    fast = (winograd.convolve(x, winograd.transformed(weight), bias) - exact).abs().max()
    assert fast < 2 * (F.conv2d(x, weight, bias, padding=1) - exact).abs().max()
    assert fast < 5e-6 * exact.abs().max()


def test_sizes_that_are_no_multiple_of_the_tile_take_the_plain_sum_or_are_refused():
    layer = winograd.WinogradConv(torch.ones(1, 1, 3, 3), torch.zeros(1))
    x = torch.arange(12.0).view(1, 1, 2, 6)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 2, 6\); heights and widths must be multiples of 4"):
        winograd.convolve(x, winograd.transformed(layer.weight), layer.bias)
