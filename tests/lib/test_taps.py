"""Taps: what they see, what they leave behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modescope.edm import EDMPrecond
from modescope.taps import LayerError, capture, hold

BOTTLENECK, MIDBLOCK = "model.enc.4x4_block0", "model.dec.4x4_in0"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=3, model_channels=32, channel_mult=(1, 2), num_blocks=1
    ).eval()
    for parameter in net.parameters():  # fresh networks have zero residuals: give every layer something to say
        nn.init.normal_(parameter, std=0.1)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def given():
    rng = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 8, 8, generator=rng), torch.full((4,), 2.0), torch.eye(3)[[0, 1, 2, 0]]


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_capturing_changes_no_bit_and_leaves_no_hook(network, given):
    bare = network(*given)
    with capture(network, [MIDBLOCK, BOTTLENECK]) as acts:
        tapped = network(*given)
        assert hooks(network) == 2
    assert torch.equal(bare, tapped)
    assert list(acts) == [BOTTLENECK, MIDBLOCK]  # execution order, whatever was asked
    assert acts[BOTTLENECK].shape == (4, 64, 4, 4)
    assert hooks(network) == 0


def test_holding_a_layer_at_its_own_value_changes_no_bit(network, given):
    with capture(network, [BOTTLENECK, MIDBLOCK]) as acts:
        bare = network(*given)
    for names in ([BOTTLENECK], [MIDBLOCK], [BOTTLENECK, MIDBLOCK]):
        with hold(network, {name: acts[name] for name in names}):
            assert torch.equal(network(*given), bare)
    assert hooks(network) == 0


def test_one_value_is_held_for_every_image(network, given):
    with capture(network, [BOTTLENECK]) as acts:
        network(*given)
    one = acts[BOTTLENECK][:1]
    with hold(network, {BOTTLENECK: one}), capture(network, [BOTTLENECK], value="held") as held:
        network(*given)
    assert torch.equal(held[BOTTLENECK], one.expand(4, -1, -1, -1))


@pytest.mark.parametrize("hold_first", [True, False])
@pytest.mark.parametrize("value", ["computed", "held"])
def test_what_a_capture_gives_is_chosen_by_name_never_by_order(network, given, hold_first, value):
    with capture(network, [BOTTLENECK]) as free:
        network(*given)
    zeros = torch.zeros(1, 64, 4, 4)
    holding, capturing = hold(network, {BOTTLENECK: zeros}), capture(network, [BOTTLENECK], value=value)
    if hold_first:
        with holding, capturing as acts:
            network(*given)
    else:
        with capturing as acts, holding:
            network(*given)
    expected = free[BOTTLENECK] if value == "computed" else torch.zeros(4, 64, 4, 4)
    assert torch.equal(acts[BOTTLENECK], expected)


def test_strength_blends_between_computed_and_value(network, given):
    with capture(network, [BOTTLENECK]) as free:
        bare = network(*given)
    value = torch.ones(1, 64, 4, 4)
    with hold(network, {BOTTLENECK: value}, strength=0.0):
        assert torch.equal(network(*given), bare)
    with hold(network, {BOTTLENECK: value}, strength=0.25), capture(network, [BOTTLENECK], value="held") as acts:
        network(*given)
    assert torch.allclose(acts[BOTTLENECK], 0.75 * free[BOTTLENECK] + 0.25, atol=1e-6)


def test_stop_ends_the_pass_after_the_last_layer_wanted(network, given):
    seen = []
    handle = network.model.out_norm.register_forward_hook(lambda *_: seen.append("end"))
    with capture(network, [BOTTLENECK, MIDBLOCK]) as full:
        network(*given)
    assert seen == ["end"]
    with capture(network, [MIDBLOCK, BOTTLENECK], stop=True) as acts:
        network(*given)
        seen.append("never reached")
    handle.remove()
    assert seen == ["end"]
    assert all(torch.equal(acts[name], full[name]) for name in full)
    assert hooks(network) == 0


def test_a_stop_ends_only_its_own_context(network, given):
    with capture(network, [BOTTLENECK], stop=True) as outer, capture(network, [MIDBLOCK], stop=True) as inner:
        network(*given)
    assert list(outer) == [BOTTLENECK]
    assert not inner  # the outer stop came first and is not the inner context's to swallow


def test_last_pass_wins_when_the_network_runs_twice(network, given):
    x, sigma, rows = given
    with capture(network, [BOTTLENECK]) as acts:
        network(x, sigma, rows)
        network(2 * x, sigma, rows)
    with capture(network, [BOTTLENECK]) as alone:
        network(2 * x, sigma, rows)
    assert torch.equal(acts[BOTTLENECK], alone[BOTTLENECK])


@pytest.mark.parametrize(
    "context", [lambda n: capture(n, [BOTTLENECK]), lambda n: hold(n, {BOTTLENECK: torch.zeros(1)})]
)
def test_hooks_go_also_after_an_exception(network, context):
    def fail():
        assert hooks(network) == 1
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), context(network):
        fail()
    assert hooks(network) == 0


def test_contexts_that_are_never_entered_leave_nothing(network):
    capture(network, [BOTTLENECK])
    hold(network, {BOTTLENECK: torch.zeros(1)})
    assert hooks(network) == 0


def test_unknown_names_list_the_nearest(network):
    with pytest.raises(
        LayerError, match=r"'model.enc.4x4_block9' is not in this network .*nearest: 'model.enc.4x4_block0'"
    ):
        capture(network, ["model.enc.4x4_block9"]).__enter__()
    with pytest.raises(ValueError, match="is not in this network"):
        hold(network, {"nothing": torch.zeros(1)}).__enter__()


def test_a_layer_that_never_ran_says_so(network):
    context = capture(network, [BOTTLENECK])
    with pytest.raises(LayerError, match=f"layer '{BOTTLENECK}' never ran"), context:
        pass
    with pytest.raises(LayerError, match="has not run"), capture(network, [BOTTLENECK]) as acts:
        acts[BOTTLENECK]
    with pytest.raises(LayerError, match="is not captured here; captured:"), capture(network, [BOTTLENECK]) as acts:
        acts[MIDBLOCK]


def test_captured_values_carry_no_gradient_unless_asked(given):
    torch.manual_seed(0)
    net = EDMPrecond(
        img_resolution=8, img_channels=1, label_dim=3, model_channels=32, channel_mult=(1, 2), num_blocks=1
    )
    for detach in (True, False):
        with capture(net, [BOTTLENECK], stop=True, detach=detach) as acts:
            net(*given)
        assert acts[BOTTLENECK].requires_grad is not detach


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 64, 2, 2), r"the layer gives \(4, 64, 4, 4\)"),
        ((3, 64, 4, 4), r"give \(1, 64, 4, 4\) or one row per image"),
    ],
)
def test_a_value_of_another_shape_is_refused(network, given, shape, message):
    with pytest.raises(ValueError, match=message), hold(network, {BOTTLENECK: torch.zeros(shape)}):
        network(*given)
    assert hooks(network) == 0


def test_wrong_settings_are_refused(network):
    with pytest.raises(ValueError, match=r"strength 1.5 is outside \[0, 1\]"):
        hold(network, {}, strength=1.5).__enter__()
    with pytest.raises(ValueError, match="value 'mask' is unknown"):
        capture(network, [BOTTLENECK], value="mask").__enter__()
    with pytest.raises(ValueError, match="names is empty"):
        capture(network, []).__enter__()
