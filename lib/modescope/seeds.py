"""(root seed, purpose, key) -> an independent random stream; drawn on the CPU by NumPy, so the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float


def _words(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u4").tolist())


def stream(root: int, purpose: str, key: int | str = 0) -> np.random.Generator:
    """A generator for one sample: `key` is its index (>= 0) or its id. Streams of different keys are independent."""
    spawn = (key,) if isinstance(key, int) else _words(key)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(root, spawn_key=(*_words(purpose), *spawn))))


def normal(
    root: int, purpose: str, keys: Iterable[int] | Iterable[str], shape: tuple[int, ...]
) -> Float[np.ndarray, "N ..."]:
    """Standard normal noise, one stream per key: float32 (N, *shape). A row depends on its own key alone."""
    rows = [stream(root, purpose, key).standard_normal(shape, dtype=np.float32) for key in keys]
    return np.stack(rows) if rows else np.empty((0, *shape), np.float32)
