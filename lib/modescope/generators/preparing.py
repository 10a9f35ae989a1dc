"""Networks made ready for a precision, a memory layout, a compiler. Each step gives a copy; the network loaded stays."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from modescope.edm import Block, Conv
from modescope.extractors import Extractor
from modescope.runtime import check_precision, slow_here
from modescope.winograd import WinogradConv

log = logging.getLogger(__name__)

NARROW = 16  # channels below which the transforms of Winograd's algorithm cost more than they save
VERSIONS = 256  # compiled versions of one forward pass: each block of a network is one, torch's own limit is 8

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


def precision_of(network: nn.Module) -> str:
    """What a network was cast to."""
    if any(isinstance(module, WinogradConv) for module in network.modules()):
        return "winograd"
    return str(next(network.parameters()).dtype).removeprefix("torch.")


def cast(network: nn.Module, precision: str) -> nn.Module:
    """The network for a precision: itself, or a copy with weights in `bfloat16` or `float16`, or with `winograd`.

    Norms, softmax and preconditioning sum in float32 whatever the weights' type. Extractors stay in float32.
    """
    check_precision(precision)
    device = next(network.parameters()).device
    held, wanted = precision_of(network), precision
    if precision == "tf32" or isinstance(network, Extractor) or (precision == "winograd" and device.type != "cpu"):
        wanted = "float32"
    if held == wanted:
        return network
    if held != "float32":
        raise ValueError(f"precision {precision!r} cannot be had of a network cast to {held}; cast the one loaded")
    if wanted == "winograd":
        return _winograd(network)
    if warning := slow_here(wanted, device):
        log.warning("%s", warning)
    twin = copy.deepcopy(network).to(getattr(torch, wanted))
    if wanted == "float16":
        _fuse(twin)  # else products of queries and keys are written in float16, which ends at 65,504
    return twin


def _fuse(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, Block):
            module.fused = True


def _shared(network: nn.Module) -> nn.Module:
    """A copy of the modules with the same weights."""
    return copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})


def _winograd(network: nn.Module) -> nn.Module:
    """Attention fused, 3x3 convolutions but for narrow ones by Winograd's algorithm."""
    twin = _shared(network)
    _fuse(twin)
    for path, conv in list(twin.named_modules()):
        if not isinstance(conv, Conv) or conv.weight is None or conv.bias is None:
            continue
        outputs, inputs, *kernel = conv.weight.shape
        if kernel == [3, 3] and min(outputs, inputs) >= NARROW:
            fast = WinogradConv(conv.weight, conv.bias)
            resample = Conv(inputs, inputs, 0, resample=conv.resample)
            twin.set_submodule(path, nn.Sequential(resample, fast) if conv.resample else fast)
    return twin


def channels_last(network: nn.Module) -> nn.Module:
    """Weights of convolutions, and the images that go in, with channels innermost in memory; the layers follow."""
    twin = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    twin.register_forward_pre_hook(_channels_last)
    return twin


def _channels_last(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        each.contiguous(memory_format=torch.channels_last) if isinstance(each, Tensor) and each.ndim == 4 else each
        for each in inputs
    )


class _Compiled:
    """A module's forward pass, compiled. While something inside the module is tapped it runs as it was written: compiled
    code has no modules any more. Taps on the module itself lie outside and are not concerned.
    """

    def __init__(self, module: nn.Module, compiler: Compiler) -> None:
        self.plain = module.forward
        self.fast = compiler(module.forward)
        self.inner = [part for part in module.modules() if part is not module]

    def __call__(self, *inputs: Any) -> Any:
        tapped = any(part._forward_hooks or part._forward_pre_hooks for part in self.inner)
        return (self.plain if tapped else self.fast)(*inputs)


def compiled(network: nn.Module, paths: Iterable[str], compiler: Compiler = torch.compile) -> nn.Module:
    """The modules at `paths`, each compiled by itself; of modules inside each other the inner ones.

    Raises ValueError where nothing can be compiled on the network's device.
    """
    _check(compiler, next(network.parameters()).device)
    twin, wanted = _shared(network), set(paths)
    for path in wanted:
        if not any(other.startswith(f"{path}.") for other in wanted):
            module = twin.get_submodule(path)
            module.forward = _Compiled(module, compiler)
    return twin


def _check(compiler: Compiler, device: torch.device) -> None:
    """Compile a trifle: torch looks for its compilers only when they are needed, and then says little."""
    import torch._dynamo.config as limits

    limits.recompile_limit = max(limits.recompile_limit, VERSIONS)
    try:
        with warnings.catch_warnings():  # torch's own compiler is partly written in what torch deprecates
            warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
            compiler(_trifle)(torch.ones(2, device=device))
    except Exception as error:  # every backend has its own
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"compile is on, and nothing can be compiled for {device} here ({said}); install a "
            "C++ compiler (for CPUs) or Triton (for GPUs), or set runtime.compile to false"
        ) from error


def _trifle(x: Tensor) -> Tensor:
    return x + 1
