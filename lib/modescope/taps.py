"""Reading and holding what flows inside a network: two context managers over dotted module names.

Both put the network back as they found it, also after an exception. Where a layer is held and captured at once, each
capture says by name which value it wants (`computed` or `held`); the order in which the contexts were entered is of no
consequence.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class StopForward(Exception):  # noqa: N818 - a signal, not an error
    """Ends a forward pass after the last wanted layer; raised and caught inside `capture`."""


class LayerError(ValueError):
    """A layer name that the network does not have, or a layer that never ran."""


class _Tap:
    """What is attached to one module: holders first, captures after them, whatever the order of entering.

    One forward hook per module. It sees the computed output, applies the holders (innermost context last), and hands
    each capture the value that it asked for.
    """

    def __init__(self) -> None:
        self.handle: RemovableHandle
        self.holders: list[Any] = []
        self.readers: list[Any] = []

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        held = output
        for holder in self.holders:
            held = holder(held)
        for reader in self.readers:
            reader(output, held)
        return held


def _find(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name in modules and name:
        return modules[name]
    nearest = difflib.get_close_matches(name, [n for n in modules if n], n=3, cutoff=0.3)
    hint = ", ".join(repr(n) for n in nearest) or "none is close"
    raise LayerError(f"layer {name!r} is not in this network ({type(model).__name__}); nearest: {hint}")


_TAPS = "_modescope_tap"


@contextmanager
def _tapped(module: nn.Module, kind: Literal["holders", "readers"], action: Any) -> Iterator[None]:
    tap: _Tap | None = getattr(module, _TAPS, None)
    if tap is None:
        tap = _Tap()
        tap.handle = module.register_forward_hook(tap)
        object.__setattr__(module, _TAPS, tap)
    actions = getattr(tap, kind)
    actions.append(action)
    try:
        yield
    finally:
        actions.remove(action)
        if not tap.holders and not tap.readers:
            tap.handle.remove()
            object.__delattr__(module, _TAPS)


class Captured(OrderedDict[str, Tensor]):
    """Layer name => detached activation (N, C, H, W) of the last forward pass, in execution order.

    Asking for a layer that did not run says so.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        super().__init__()
        self.wanted = tuple(wanted)

    def __missing__(self, name: str) -> Tensor:
        if name in self.wanted:
            raise LayerError(
                f"layer {name!r} has not run: no forward pass reached it inside this capture "
                "(an earlier stop=True, or a branch that this input does not take)"
            )
        raise LayerError(f"layer {name!r} is not captured here; captured: {', '.join(map(repr, self.wanted))}")


@contextmanager
def capture(
    model: nn.Module, names: Iterable[str], *, stop: bool = False, value: str = "computed", detach: bool = True
) -> Iterator[Captured]:
    """Record the outputs of the named modules during forward passes inside the context.

    `value`: "computed", what the layer itself computed, or "held", what goes on from it (the same where nothing holds).
    `stop=True`: the forward pass ends after the last wanted layer. The call of the network then raises `StopForward`,
    which this context swallows, so the call should be the last statement inside. Values are detached (unless `detach` is
    False: a loss on an inner layer), not copied; the output of the network keeps every bit.

    Raises LayerError (a ValueError) for unknown names (naming the nearest) before anything runs, and on leaving when a
    wanted layer never ran.
    """
    wanted = list(dict.fromkeys(names))
    if value not in ("computed", "held"):
        raise ValueError(f"value {value!r} is unknown; use 'computed' or 'held'")
    if not wanted:
        raise ValueError("names is empty; name at least one layer to capture")
    modules = {name: _find(model, name) for name in wanted}
    captured = Captured(wanted)
    finished = StopForward()
    pending = set(wanted)

    def reader(name: str) -> Any:
        def read(computed: Tensor, held: Tensor) -> None:
            chosen = computed if value == "computed" else held
            captured.pop(name, None)  # a later pass replaces the value and its place in the order
            captured[name] = chosen.detach() if detach else chosen
            pending.discard(name)
            if stop and not pending:
                pending.update(wanted)
                raise finished

        return read

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(_tapped(module, "readers", reader(name)))
        try:
            yield captured
        except StopForward as signal:
            if signal is not finished:
                raise
    missing = [name for name in wanted if name not in captured]
    if missing:
        raise LayerError(
            f"layer {missing[0]!r} never ran inside this capture; run the network inside the context, "
            "or drop the layer if this network does not use it"
        )


@contextmanager
def hold(
    model: nn.Module,
    values: Mapping[str, Tensor],
    *,
    strength: float = 1.0,
    add: bool = False,
    where: Mapping[str, Tensor] | None = None,
) -> Iterator[None]:
    """Replace the outputs of the named modules by the given values during forward passes inside the context.

    A value has shape (1, C, H, W) (the same for every image) or (N, C, H, W). `strength` in [0, 1] blends:
    `strength * value + (1 - strength) * computed`; at 1 the value itself goes on, at 0 the computed one, bit for bit.
    With `add` what goes on is `computed + strength * value`, at any strength. `where` limits either to a part of a layer:
    {name: (1, C, H, W) in [0, 1]}, by which the strength is multiplied place by place.
    """
    if not (add or 0.0 <= strength <= 1.0):
        raise ValueError(f"strength {strength} is outside [0, 1]; 1 holds the value, 0 leaves the layer as computed")
    modules = {name: _find(model, name) for name in values}
    parts = dict(where or {})
    for name, part in parts.items():
        if name not in values or part.shape[1:] != values[name].shape[1:] or not ((part >= 0) & (part <= 1)).all():
            raise ValueError(
                f"where[{name!r}] has shape {tuple(part.shape)}; give values in [0, 1] in the shape of the value that is held"
            )

    def holder(name: str, value: Tensor) -> Any:
        def replace(computed: Tensor) -> Tensor:
            if value.shape[1:] != computed.shape[1:] or value.shape[0] not in (1, computed.shape[0]):
                raise ValueError(
                    f"value for layer {name!r} has shape {tuple(value.shape)}; the layer gives {tuple(computed.shape)}: "
                    f"give (1, {', '.join(map(str, computed.shape[1:]))}) or one row per image"
                )
            if strength == 0.0:
                return computed
            target = value.to(computed).expand_as(computed)
            share: Any = strength * parts[name].to(computed) if name in parts else strength
            if add:
                return computed + share * target
            return target if name not in parts and strength == 1.0 else torch.lerp(computed, target, share)

        return replace

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(_tapped(module, "holders", holder(name, values[name])))
        yield
