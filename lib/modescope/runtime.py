"""Device, threads and precision: decided once, returned as a record, logged with every result."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

import torch

log = logging.getLogger(__name__)
R = TypeVar("R")

PRECISIONS = ("float32", "winograd", "tf32", "bfloat16", "float16")
"""`float32`: no TF32; `winograd`: float32, on a CPU with Winograd's 3x3 convolutions and fused attention: as exact, faster,
other bits; `tf32`: float32 values, TF32 products where a GPU has them; `bfloat16`, `float16`: weights and layers."""

OPTIONS = ("compile", "channels_last", "deterministic")
"""What a run may ask for beside device and threads: switches of `start`."""

WORKSPACES = (":4096:8", ":16:8")
"""Values of CUBLAS_WORKSPACE_CONFIG with which cuBLAS repeats its results."""


ROWS_EACH = 32
"""Rows for each thread from which on a CPU shares a batch between its threads by rows, and not within every operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What of a machine, and of how it is used, decides bytes. `device` is a kind (cuda, mps, cpu): its number does not.

    `compile`: networks compiled; `channels_last`: that memory layout; `deterministic`: operations whose results vary from
    run to run refused.
    """

    device: str
    threads: int
    torch: str
    gpu: str | None = None
    compile: bool = False
    channels_last: bool = False
    deterministic: bool = False

    @property
    def options(self) -> dict[str, bool]:
        """What was asked for beside device and threads, as `start` takes it."""
        return {name: getattr(self, name) for name in OPTIONS}

    def record(self) -> dict[str, str | int]:
        """The same for every process of a run on machines of one kind. What is off is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}


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


def start(
    device: str = "auto",
    threads: int = 0,
    *,
    compile: bool = False,  # noqa: A002
    channels_last: bool = False,
    deterministic: bool = False,
) -> Runtime:
    """Set threads (0: one per usable core), the current GPU and determinism, and switch TF32 off: float32 means float32.

    `compile` and `channels_last` are recorded here; `Generator.prepared` does them, with the precision.
    """
    count = threads or cores()
    torch.set_num_threads(count)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    _repeat(deterministic)
    place = resolve_device(device)
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)
    gpu = torch.cuda.get_device_name(place) if place.type == "cuda" else None
    if device == "auto" and place.type == "cpu":
        log.info("device auto: neither CUDA nor MPS is available here, the CPU is used")
    found = Runtime(
        device=place.type,
        threads=count,
        torch=torch.__version__,
        gpu=gpu,
        compile=compile,
        channels_last=channels_last,
        deterministic=deterministic,
    )
    on = "".join(f", {name}" for name, value in found.options.items() if value)
    log.info("device %s%s, %d threads, torch %s%s", place, f" ({gpu})" if gpu else "", count, torch.__version__, on)
    return found


def _repeat(deterministic: bool) -> None:
    """Refuse operations whose results vary, or allow them; cuBLAS reads its variable when it is first used."""
    if deterministic:
        workspace = os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACES[0])
        if workspace not in WORKSPACES:
            raise ValueError(
                f"CUBLAS_WORKSPACE_CONFIG is {workspace!r}, with which cuBLAS does not repeat its results; unset it, or set "
                f"it to {' or '.join(WORKSPACES)}, or set runtime.deterministic to false"
            )
    if deterministic != torch.are_deterministic_algorithms_enabled():  # setting it loads the compiler: two seconds
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        torch.backends.cudnn.benchmark = False


def check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}")


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Products of float32 tensors on a GPU run in float32, or under `tf32` in TF32; puts back what it found."""
    check_precision(precision)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Spread(Protocol):
    """`work` on consecutive slices of `rows` rows, each of at most `most` => what it returned, in order."""

    def __call__(self, work: Callable[[slice], R], rows: int, most: int) -> list[R]: ...


@contextmanager
def sharing(device: torch.device) -> Iterator[Spread]:
    """Work on the rows of a batch, shared between torch's threads on a CPU: a part each, one thread each.

    Threads that share every operation of a small network wait for each other some thousand times a second, and for
    whoever else uses the machine. A batch of fewer than `ROWS_EACH` rows for each of them, or on a GPU, stays together.
    `work` must not change the network: hooks would see the rows of others.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield _in_turn
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def spread(work: Callable[[slice], R], rows: int, most: int) -> list[R]:
            if rows >= threads * ROWS_EACH:
                turns = -(-rows // (threads * most))
                return list(pool.map(work, _parts(rows, -(-rows // (threads * turns)))))
            torch.set_num_threads(threads)
            try:
                return _in_turn(work, rows, most)
            finally:
                torch.set_num_threads(1)

        torch.set_num_threads(1)  # what is done to the rows in between is little
        try:
            yield spread
        finally:
            torch.set_num_threads(threads)


def _in_turn(work: Callable[[slice], R], rows: int, most: int) -> list[R]:
    return [work(part) for part in _parts(rows, most)]


def _parts(rows: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def slow_here(precision: str, device: torch.device) -> str | None:
    """What a precision costs on a device that does not have it; None where nothing is to be said."""
    if device.type != "cpu" or precision not in ("bfloat16", "float16"):
        return None
    has = {
        "bfloat16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
        "float16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    if has[precision]():
        return None
    return f"this CPU has no {precision} arithmetic: expect it to be far slower than float32 or winograd"


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, instead of handing it back and clearing every page of it anew.

    On a CPU a large network spends a quarter of its time on that. Results are the same. Only for glibc, elsewhere False.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim, pad, by_map, most = -1, -2, -3, 2**31 - 1  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) for option, value in ((by_map, most), (trim, most), (pad, 1 << 28)))
