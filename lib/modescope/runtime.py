"""Device, precision and threads: decided once, returned as a record, logged with every result."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass

import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    device: str
    threads: int
    torch: str

    def record(self) -> dict[str, str | int]:
        return asdict(self)


def resolve_device(device: str = "auto") -> torch.device:
    """`auto` => CUDA, else MPS, else CPU; any other name is checked against what this machine has."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    kind = device.partition(":")[0]
    if kind not in available:
        raise ValueError(f"device {device!r} is unknown; use auto, cpu, cuda, cuda:N or mps")
    if not available[kind]:
        here = ", ".join(name for name, there in available.items() if there)
        raise ValueError(
            f"device {device!r} is not available on this machine (here: {here}); set runtime.device to auto"
        )
    return torch.device(device)


def start(device: str = "auto", threads: int = 0) -> Runtime:
    """Set threads (0: one per usable core) and switch TF32 off, so that float32 means float32 on every machine."""
    count = (
        threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or os.cpu_count() or 1
    )
    torch.set_num_threads(count)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    runtime = Runtime(device=str(resolve_device(device)), threads=count, torch=torch.__version__)
    log.info("device %s, %d threads, torch %s", runtime.device, runtime.threads, runtime.torch)
    return runtime
