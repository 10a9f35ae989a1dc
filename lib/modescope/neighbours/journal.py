"""How far a pass over all pairs has come: reported block by block, and kept in a file from which a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from modescope import files
from modescope.neighbours.bounds import Cloud
from modescope.neighbours.points import blocks, rows_within

_FORMAT = "modescope pass 1"


@runtime_checkable
class Resumable(Protocol):
    def asks(self) -> Sequence[Tensor]:
        """All that decides what is found, beside the samples."""

    def state(self) -> dict[str, Tensor]:
        """All that was found so far: what takes it up goes on as if it had never stopped."""

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Where passes report to, and the folder where they keep what they have: one file each, or nothing without one.

    `report` is called with the number of pairs that are new after each block (`tqdm(total=pairs(n, m)).update`). A
    pass writes its file after a strip of blocks when `seconds` have gone by, and at its end. It is resumed by any
    later run with the same samples and settings, whatever its chunk, and the result has the same bytes.
    """

    folder: Path | None = None
    report: Callable[[int], object] | None = None
    seconds: float = 30.0

    def page(self, name: str, visitors: Sequence[Resumable], *sets: Cloud) -> Page:
        """ValueError when the file of that name is damaged, or holds a pass over other samples or settings."""
        path = self.folder and self.folder / f"{name}.safetensors"
        identity = _identity(visitors, sets) if path else ""
        done = _resume(path, identity, visitors) if path and path.is_file() else 0
        return Page(path, identity, self.report, self.seconds, done)

    def clear(self) -> None:
        """Remove what was kept: the results stand elsewhere now."""
        for path in self.folder.glob("*.safetensors") if self.folder else ():
            path.unlink()


class Page:
    """The part of a journal that one pass writes; `done` samples of its outer set were finished before."""

    def __init__(
        self, path: Path | None, identity: str, report: Callable[[int], object] | None, seconds: float, done: int
    ) -> None:
        self.path, self.identity, self.seconds, self.done = path, identity, seconds, done
        self._report, self._last = report, time.monotonic()

    def report(self, pairs: int) -> None:
        if self._report is not None and pairs:
            self._report(pairs)

    def keep(self, done: int, visitors: Sequence[Resumable], *, last: bool) -> None:
        if self.path is None or not (last or time.monotonic() - self._last >= self.seconds):
            return
        arrays = {
            f"{number}.{name}": values.cpu().numpy()
            for number, visitor in enumerate(visitors)
            for name, values in visitor.state().items()
        }
        written = {"format": _FORMAT, "identity": self.identity, "done": str(done), "digest": _digest(arrays)}
        files.write_tensors(self.path, arrays, written)
        self._last = time.monotonic()


def _resume(path: Path, identity: str, visitors: Sequence[Resumable]) -> int:
    try:
        arrays, written = files.read_tensors(path)
    except files.DamagedFileError as error:
        raise ValueError(f"{path} is damaged ({error.__cause__}); delete it to begin this pass anew") from error
    if written.get("format") != _FORMAT or written.get("identity") != identity:
        raise ValueError(
            f"{path} holds what was found for other samples or settings; delete it to begin this pass anew, or keep "
            "this comparison in another folder"
        )
    if written["digest"] != _digest(arrays):
        raise ValueError(f"{path} is damaged (its checksum differs); delete it to begin this pass anew")
    for number, visitor in enumerate(visitors):
        start = f"{number}."
        found = {name.removeprefix(start): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(start)}
        visitor.restore(found)
    return int(written["done"])


def _identity(visitors: Sequence[Resumable], sets: Sequence[Cloud]) -> str:
    asked = [(type(visitor).__name__, [_hash(value) for value in visitor.asks()]) for visitor in visitors]
    content = [(str(one.raw.dtype), list(one.raw.shape), _hash(one.raw), one.scale) for one in sets]
    return hashlib.sha256(json.dumps([content, asked]).encode()).hexdigest()


def _hash(values: Tensor) -> str:
    digest = hashlib.blake2b()
    table = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(-1, 1)
    for rows in blocks(len(table), rows_within(table, 1 << 20)):
        digest.update(np.ascontiguousarray(table[rows].contiguous().cpu().view(torch.uint8).numpy()).data)
    return digest.hexdigest()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
