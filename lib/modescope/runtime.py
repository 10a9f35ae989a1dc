"""Device and threads: decided once, returned as a record, logged with every result."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What of a machine decides bytes. `device` is a kind (cuda, mps, cpu): its number does not."""

    device: str
    threads: int
    torch: str
    gpu: str | None = None

    def record(self) -> dict[str, str | int]:
        """The same for every process of a run on machines of one kind."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def resolve_device(device: str = "auto") -> torch.device:
    """`auto` => CUDA, else MPS, else CPU; any other name is checked against what this machine has.

    CUDA without a number is the GPU of this process: in a group of processes that of its local rank, else the current one.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind, _, number = device.partition(":")
    if kind == "auto" and not number:
        kind = next(name for name, there in available.items() if there)
    if kind not in available or (number and (kind != "cuda" or not number.isdecimal())):
        raise ValueError(f"device {device!r} is unknown; use auto, cpu, cuda, cuda:N or mps")
    if not available[kind]:
        here = ", ".join(name for name, there in available.items() if there)
        raise ValueError(
            f"device {device!r} is not available on this machine (here: {here}); set runtime.device to auto"
        )
    if kind != "cuda":
        return torch.device(kind)
    index = gpu_index(number, torch.cuda.device_count(), os.environ)
    return torch.device("cuda") if index is None else torch.device("cuda", index)


def gpu_index(number: str, count: int, environment: Mapping[str, str]) -> int | None:
    """The number asked for, else that of the local rank (wrapped: a rank may see its own GPU alone), else None: the current.

    Accelerate and torchrun name the local rank in the environment variable LOCAL_RANK.
    """
    if number:
        if int(number) >= count:
            raise ValueError(
                f"device 'cuda:{number}' is not available on this machine (GPUs: {count}, counted from 0); "
                "set runtime.device to cuda"
            )
        return int(number)
    rank = int(environment.get("LOCAL_RANK", "-1"))
    return None if rank < 0 else rank % count


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(device: str = "auto", threads: int = 0) -> Runtime:
    """Set threads (0: one per usable core) and the current GPU, and switch TF32 off: float32 means float32 everywhere."""
    count = threads or cores()
    torch.set_num_threads(count)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    place = resolve_device(device)
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)
    gpu = torch.cuda.get_device_name(place) if place.type == "cuda" else None
    if device == "auto" and place.type == "cpu":
        log.info("device auto: neither CUDA nor MPS is available here, the CPU is used")
    log.info("device %s%s, %d threads, torch %s", place, f" ({gpu})" if gpu else "", count, torch.__version__)
    return Runtime(device=place.type, threads=count, torch=torch.__version__, gpu=gpu)


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, instead of handing it back and clearing every page of it anew.

    On a CPU a large network spends a quarter of its time on that. Results are the same. Only for glibc, elsewhere False.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim, pad, by_map, most = -1, -2, -3, 2**31 - 1  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) for option, value in ((by_map, most), (trim, most), (pad, 1 << 28)))
