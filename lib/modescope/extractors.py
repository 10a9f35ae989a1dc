"""Feature networks that look at clean images: the pixels themselves, and any TorchScript file with its preprocessing.

Each is called as a generator's network is, `(x, sigma, rows)` with x in [-1, 1], and gives x back; noise level and rows are
ignored. What it is for happens in its submodule `features`, whose output (N, C) or (N, C, H, W) is captured as any layer.

A TorchScript file is a program, and torch runs parts of it while it loads. `read_script` therefore looks at its source
first, with the reader that torch itself will use, then at the operators of its graph, and refuses what could do more than
compute: operators outside torch's own (`aten`, `prim`), those that read or write files, print, call Python or other
machines, classes with code that runs while they are loaded, classes of C++ libraries. What passes can still take memory
and time without end, and a crafted file may strike a fault in torch's own readers: take files from people you trust.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

RESIZES = ("bilinear", "bicubic")
LAYER = "features"
"""The one layer of an extractor."""

_SPACES = ("aten", "prim")
_FORBIDDEN = frozenset(
    {
        *("aten::save", "aten::from_file", "aten::_print", "aten::get_gradients"),
        *("prim::Print", "prim::PythonOp", "prim::IgnoredPythonOp"),
        *("prim::rpc_async", "prim::rpc_sync", "prim::rpc_remote"),
    }
)
"""Operators of these spaces that read or write files, print, call Python or other machines."""

_WORDS = re.compile(
    r"\b(save|from_file|_print|print|rpc_async|rpc_sync|rpc_remote|get_gradients|PythonOp|__setstate__)\b"
)
_LIBRARY = re.compile(rb"torch[.\s]+classes")
_OTHER_SPACE = re.compile(r"(?<!\.)\bops\b(?!\s*\.\s*(?:aten|prim)\s*\.)")


class ScriptError(ValueError):
    """A TorchScript file that is refused, or that is no network of features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What a feature network expects of its input, in this order: uint8 0..255 mapped to `low`..`high`, resized to
    `resolution` (None: as it is; antialiased, as PIL does it), grey repeated to three channels where `mean` has three
    values or there is no mean, and (x - mean) / std per channel.
    """

    resolution: int | None = None
    resize: str = "bilinear"
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ValueError(f"resize {self.resize!r} is unknown; use one of {', '.join(RESIZES)}")
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} and high {self.high:g} are no range; give low < high")
        widths = {len(values) for values in (self.mean, self.std) if values is not None}
        if len(widths) > 1 or not widths <= {1, 3}:
            raise ValueError(
                f"mean {self.mean} and std {self.std} do not go together; give each 1 or 3 values, or null"
            )

    @property
    def channels(self) -> int:
        """Channels that the network takes: as many as it has means or deviations, else three."""
        given = self.mean or self.std
        return len(given) if given else 3


class Extractor(nn.Module):
    """A network of features, in float32. `family` names it in errors; the parameter only marks the device."""

    features: nn.Module

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        self.features(x)
        return x


def pixels() -> Extractor:
    """Features that are the pixels, in [-1, 1]."""
    return Extractor(nn.Identity())


class Scripted(nn.Module):
    """A TorchScript network behind its preprocessing: images in [-1, 1] => the tensor that it gives.

    Of a tuple or list the first tensor is taken, as exported backbones put their features first; a dictionary is refused.
    """

    def __init__(self, script: nn.Module, how: Preprocessing) -> None:
        super().__init__()
        self.script, self.how = script, how
        self.register_buffer("mean", torch.tensor(how.mean or (0.0,)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(how.std or (1.0,)).view(1, -1, 1, 1), persistent=False)

    def prepared(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D A B"]:
        """Images in [-1, 1] => what the script takes."""
        how = self.how
        x = how.low + (how.high - how.low) * (x + 1) / 2
        if how.resolution is not None and x.shape[2:] != (how.resolution, how.resolution):
            size = (how.resolution, how.resolution)
            x = F.interpolate(x, size, mode=how.resize, antialias=True, align_corners=False).clamp(how.low, how.high)
        if x.shape[1] != how.channels:
            if x.shape[1] != 1:
                raise ScriptError(
                    f"images have {x.shape[1]} channels, the preprocessing is for {how.channels}: give its mean"
                )
            x = x.expand(-1, how.channels, -1, -1)
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> Tensor:
        taken = self.prepared(x)
        try:
            with torch.jit.optimized_execution(False):  # else the first batches run other code than the later ones
                given = self.script(taken)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ScriptError(
                f"the TorchScript network does not take images of shape {tuple(taken.shape)} ({_last_line(error)}); "
                "set the preprocessing of the view: resolution, and one mean per channel"
            ) from error
        first = given[0] if isinstance(given, tuple | list) and given else given
        if not isinstance(first, Tensor) or first.ndim not in (2, 4) or len(first) != len(x):
            found = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
            raise ScriptError(
                f"the TorchScript network gives {found}; export one whose first output is a tensor (N, C) or (N, C, H, W)"
            )
        return first


def scripted(path: Path, how: Preprocessing) -> Extractor:
    """A TorchScript file as an extractor, on the CPU. Raises ScriptError naming the file and why it is refused."""
    return Extractor(Scripted(read_script(path), how))


def read_script(path: Path) -> nn.Module:
    """The network in a TorchScript file, once its source and its graph were looked at."""
    _check_source(path)
    with warnings.catch_warnings():  # torch recommends another format; the files of others are in this one
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        try:
            script = torch.jit.load(str(path), map_location="cpu")
            kinds = set(_operators(script.inlined_graph))
        except Exception as error:  # torch raises a different type for each way in which a file can be wrong
            raise ScriptError(f"TorchScript file {path} cannot be read ({_last_line(error)})") from error
    if refused := sorted(filter(_refused, kinds)):
        raise ScriptError(f"TorchScript file {path} is refused: it calls {', '.join(refused)}; {_REASON}")
    for parameter in script.parameters():
        parameter.requires_grad_(False)
    return script.eval()


_REASON = "a network of features computes, and does nothing else"


def _check_source(path: Path) -> None:
    """Everything that would run, and what it is made of, before torch runs any of it."""
    if not path.is_file():
        raise ScriptError(f"TorchScript file {path} does not exist; check `views` in params.yaml")
    try:
        archive = torch._C.PyTorchFileReader(str(path))
        names = archive.get_all_records()
        contents = {name: archive.get_record(name) for name in names if name.endswith((".py", ".pkl", ".json"))}
    except RuntimeError as error:
        raise ScriptError(
            f"{path} is no TorchScript file; export the network with torch.jit.trace or script"
        ) from error
    code = {name: content.decode("utf-8", "replace") for name, content in contents.items() if name.endswith(".py")}
    if not code or "constants.pkl" not in contents or "model.json" in contents:
        raise ScriptError(f"{path} is no TorchScript file of a current torch; export the network anew")
    for source in code.values():
        if found := _WORDS.search(source) or _OTHER_SPACE.search(source):
            raise ScriptError(
                f"TorchScript file {path} is refused: its source says {_around(source, found)!r}; {_REASON}"
            )
    if any(_LIBRARY.search(content) for content in contents.values()):
        raise ScriptError(f"TorchScript file {path} is refused: it holds objects of a C++ library; {_REASON}")


def _around(source: str, found: re.Match[str]) -> str:
    """The line of a match, in short."""
    begin, end = source.rfind("\n", 0, found.start()) + 1, source.find("\n", found.end())
    return source[begin : end if end >= 0 else None].strip()[:80]


def _refused(kind: str) -> bool:
    return kind.partition("::")[0] not in _SPACES or kind in _FORBIDDEN


def _operators(graph: Any) -> Iterator[str]:
    """Kinds of all nodes of a graph, of its blocks, and of the graphs that nodes carry."""
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from _operators(block)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _operators(node.g(name))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
