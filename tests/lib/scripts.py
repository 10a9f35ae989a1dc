"""TorchScript files for tests."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn


def exported(path: Path, network: nn.Module, example: torch.Tensor | None = None) -> Path:
    """A network as a TorchScript file: traced on an example, else scripted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        made = torch.jit.script(network) if example is None else torch.jit.trace(network, example)
        made.save(str(path))
    return path
