"""Standardise and PCA, streamed over rows: the input may be a float16 memory map far wider than memory is large.

Narrow inputs (rows or columns up to a thousand or so) are solved exactly from the smaller Gram matrix. Others take a
randomised block Krylov method (Musco & Musco 2015, "Randomized Block Krylov Methods for Stronger and Faster
Approximate Singular Value Decomposition", algorithm 2), which reads the data four to six times.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy
import torch
from jaxtyping import Float, Int

from modescope.files import DamagedFileError, read_tensors, write_tensors
from modescope.seeds import stream

BLOCK_VALUES = 1 << 24  # values per block: 64 MiB of float32; products with fewer rows at a time are slower
THREADED = 1 << 18
NARROW = 1024  # up to this many rows or columns the Gram matrix is solved exactly
OVERSAMPLING = 10
ROUNDS = 12
CONSTANT = 2.0**-20  # a column whose deviation is below this share of its mean is rounding noise of float32
FORMAT = 1


@runtime_checkable
class RowMatrix(Protocol):
    """Rows that are read a part at a time: an array, a memory map, or a view over files that together hold them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)"""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Rows of a slice or of an array of indices => floats (n, D)."""


class Joined:
    """Several matrices as one, row after row: read a part at a time, never held together."""

    def __init__(self, parts: Mapping[str, RowMatrix]) -> None:
        self._parts = tuple(parts.values())
        shapes = {name: tuple(part.shape) for name, part in parts.items()}
        if not parts or len({shape[1:] for shape in shapes.values()}) != 1:
            raise ValueError(f"features has parts of shapes {shapes}; give one part or more, of the same columns")
        self._starts = np.cumsum([0, *map(len, self._parts)])
        self.shape = (int(self._starts[-1]), *self._parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        wanted = np.arange(len(self))[rows]
        part = np.searchsorted(self._starts, wanted, side="right") - 1
        pieces = []
        for number in np.unique(part):  # ascending, as the parts stand
            pieces.append(self._parts[number][wanted[part == number] - self._starts[number]])
            release(self._parts[number])
        back = np.argsort(np.argsort(part, kind="stable"), kind="stable")
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)[back]


class Picked:
    """Some rows of a matrix, by number: read a part at a time."""

    def __init__(self, matrix: RowMatrix, rows: Int[np.ndarray, " M"]) -> None:
        self._matrix, self._rows = matrix, rows
        self.shape = (len(rows), *matrix.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        return self._matrix[self._rows[rows]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Columns' means and deviations, and the leading principal axes of the standardised data.

    `axes` None: standardise only. `inverse_scale` is 1/deviation (1 where columns were only centred), and 0 for a
    constant column: such a column carries nothing, whatever value later rows have there. `variance`: explained variance
    per axis (divisor N - 1).
    """

    mean: Float[np.ndarray, " D"]
    inverse_scale: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "P D"] | None
    variance: Float[np.ndarray, " P"] | None
    _map: Float[np.ndarray, "P D"] | None = field(init=False, repr=False, default=None)
    _origin: Float[np.ndarray, " P"] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.axes is not None:
            scaled = self.axes * self.inverse_scale
            object.__setattr__(self, "_map", scaled)
            object.__setattr__(self, "_origin", scaled @ self.mean)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Components:
        """From what `arrays` gave, among others."""
        return cls(
            mean=arrays["mean"],
            inverse_scale=arrays["inverse_scale"],
            axes=arrays.get("axes"),
            variance=arrays.get("variance"),
        )

    @property
    def width(self) -> int:
        return len(self.mean)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is to be kept, by name."""
        named = {name: getattr(self, name) for name in ("mean", "inverse_scale", "axes", "variance")}
        return {name: values for name, values in named.items() if values is not None}

    def project(self, features: RowMatrix) -> Float[np.ndarray, "M P"]:
        """Standardise and rotate: float32, contiguous.

        Sums run in float64 and are rounded once, so a row's scores depend neither on its batch nor on the number of
        threads (but for the one value in a million that lies on the edge between two float32).
        """
        parts = []
        start = 0
        for block in _blocks(features):
            check_finite(block, start)
            start += len(block)
            parts.append(self._rotate(block.astype(np.float64)).astype(np.float32))
        width = self.width if self.axes is None else len(self.axes)
        return np.concatenate(parts) if parts else np.empty((0, width), np.float32)

    def _rotate(self, exact: np.ndarray) -> np.ndarray:
        if self._map is None:
            return (exact - self.mean) * self.inverse_scale
        if len(exact) == 1:  # a matrix times a vector reads the map at full speed, where a product of matrices does not
            return (self._map @ exact[0] - self._origin)[None]
        return exact @ self._map.T - self._origin

    def rebuild(self, scores: Float[np.ndarray, "M P"]) -> Float[np.ndarray, "M D"]:
        """Back to features, float32; what the axes left out stays at the mean, and constant columns at theirs."""
        varies = self.inverse_scale > 0
        scale = np.divide(1.0, self.inverse_scale, where=varies, out=np.zeros_like(self.inverse_scale))
        rows = np.array(scores, np.float32) if self.axes is None else scores.astype(np.float32) @ self.axes
        rows *= scale.astype(np.float32)
        rows += self.mean.astype(np.float32)
        return rows


def check_finite(block: Float[np.ndarray, "B D"], start: int = 0) -> None:
    """Raise a ValueError that names the rows (counted from `start`) with NaN or infinite values."""
    if np.isfinite(block.sum(dtype=np.float64)):
        return
    rows = np.flatnonzero(~np.isfinite(block).all(1)) + start
    if len(rows):
        named = ", ".join(map(str, rows[:5].tolist())) + (", ..." if len(rows) > 5 else "")
        raise ValueError(
            f"features has NaN or infinite values in row {named}; every value must be finite: drop or repair these rows"
        )


def fit(features: RowMatrix, n: int | None, *, tolerance: float = 1e-3, standardise: bool = True) -> Components:
    """Fit the standardisation and the first `n` principal axes (None: standardise only).

    `standardise` False only centres: for rows that are scores already, which dividing by deviations would whiten.

    Up to `NARROW` rows or columns the axes are exact (to float32 rounding). Beyond, the variance that they capture in
    all is within about the share `tolerance` of the best possible: the Krylov space grows until its extrapolated gain
    is below that. Signs: the largest entry of each axis is positive. The same input gives the same result.

    Raises ValueError for NaN or infinite rows (naming them) and for `n` outside 1..min(N - 1, D).
    """
    if len(features.shape) != 2:
        raise ValueError(f"features has shape {features.shape}; give rows of columns, (N, D)")
    rows, width = features.shape
    if n is not None and not 1 <= n <= min(rows - 1, width):
        raise ValueError(
            f"pca is {n}, but {rows} rows of {width} columns have at most {min(rows - 1, width)} components; "
            "give a number from 1 to that, or None to standardise only"
        )
    block = 0 if n is None else n + OVERSAMPLING
    narrow = min(rows, width) <= max(NARROW, 8 * block)
    sketch = np.zeros((0, rows), np.float32)
    if not narrow:
        sketch = stream(0, "components").standard_normal((block, rows), dtype=np.float32)
    mean, inverse_scale, start = _moments(features, sketch, standardise)
    if n is None:
        return Components(mean=mean, inverse_scale=inverse_scale, axes=None, variance=None)
    if narrow:
        solve = _wide_axes if rows < width else _tall_axes
        axes, variance = solve(features, mean, inverse_scale, n)
    else:
        axes, variance = _krylov_axes(features, mean, inverse_scale, start, n, tolerance)
    axes *= np.where(axes[np.arange(n), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None].astype(axes.dtype)
    return Components(mean=mean, inverse_scale=inverse_scale, axes=axes.astype(np.float32), variance=variance)


def save(path: Path, basis: Components, widths: Mapping[str, int]) -> None:
    """Write a basis as one safetensors file. `widths`: name => number of columns, in order, of the layers it belongs to."""
    if sum(widths.values()) != basis.width:
        raise ValueError(
            f"widths sum to {sum(widths.values())}, the basis has {basis.width} columns; name every layer with its own number"
        )
    write_tensors(path, basis.arrays(), {"format": str(FORMAT), "widths": json.dumps(dict(widths))})


def load(path: Path) -> tuple[Components, dict[str, int]]:
    """Read what `save` wrote => the basis and the widths of its layers, in order.

    Raises DamagedFileError for a missing or damaged file, ValueError for one of another kind or format.
    """
    arrays, metadata = read_tensors(path)
    if metadata.get("format") != str(FORMAT) or "widths" not in metadata:
        raise ValueError(
            f"{path} has format {metadata.get('format')!r}, this modescope reads bases of format {FORMAT}; "
            "fit the basis again with this version (`dvc repro`)"
        )
    if not {"mean", "inverse_scale"} <= arrays.keys():
        raise DamagedFileError(f"{path} lacks mean or inverse_scale; delete it and run `dvc repro` to make it again")
    return Components.of(arrays), {str(name): int(width) for name, width in json.loads(metadata["widths"]).items()}


def _blocks(features: RowMatrix, stop: int | None = None) -> Iterator[np.ndarray]:
    """Blocks of rows (up to `stop`) as float32, in one buffer: each block overwrites the one before."""
    width = features.shape[1]
    rows = len(features) if stop is None else stop
    step = max(1, min(rows, BLOCK_VALUES // max(1, width)))
    buffer = torch.empty((step, width), dtype=torch.float32)
    for begin in range(0, rows, step):
        part = np.array(features[begin : min(begin + step, rows)])  # a copy: torch takes no read-only map
        release(features)
        block = buffer[: len(part)]
        if part.size > THREADED:
            block.copy_(torch.from_numpy(part))  # several times faster than numpy's conversion of float16
        else:
            block.numpy()[:] = part  # without waking threads for one row
        yield block.numpy()


def release(features: RowMatrix) -> None:
    """Let the pages of a read-only map go: the system may keep them, but they no longer count as this process's."""
    if isinstance(features, np.memmap) and features.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        mapping: Any = features
        while isinstance(mapping, np.ndarray):
            mapping = mapping.base
        if isinstance(mapping, mmap.mmap):
            mapping.madvise(mmap.MADV_DONTNEED)


def _centred(features: RowMatrix, mean: np.ndarray) -> Iterator[np.ndarray]:
    """Differences to the mean; dividing by the deviation is left to the small side of each product."""
    shift = mean.astype(np.float32)
    for block in _blocks(features):
        block -= shift
        yield block


def _moments(features: RowMatrix, sketch: np.ndarray, standardise: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One pass => mean (D,), 1/deviation (D,) (or 1), and `sketch` (L, N) times the standardised data (L, D).

    Sums are of differences to a pivot near the mean, so nothing cancels. The sketch is linear in the data: it is taken
    of those differences and put right at the end, which saves a pass.
    """
    rows, width = features.shape
    pivot = np.zeros(width, np.float32)
    total, squares = np.zeros(width), np.zeros(width)
    product = np.zeros((len(sketch), width), np.float32)
    done = 0
    for block in _blocks(features):
        check_finite(block, done)
        if not done:
            constant = (block == block[0]).all(0)  # their pivot is the value itself, so that differences are zero
            pivot = np.where(constant, block[0], block.mean(0, dtype=np.float64).astype(np.float32))
        block -= pivot
        total += block.sum(0)
        squares += np.einsum("nd,nd->d", block, block)
        product += sketch[:, done : done + len(block)] @ block
        done += len(block)
    offset = total / rows
    mean = pivot + offset
    deviation = np.sqrt(np.maximum(squares / rows - offset**2, 0.0))
    varies = deviation > CONSTANT * np.abs(mean)
    inverse_scale = np.divide(1.0, deviation if standardise else 1.0, where=varies, out=np.zeros(width))
    product -= np.outer(sketch.sum(1), offset).astype(np.float32)
    product *= inverse_scale.astype(np.float32)
    return mean, inverse_scale, product


def _leading(gram: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n largest eigenvalues, descending, and their vectors in columns."""
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(len(gram) - n, len(gram) - 1))
    return np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])


def _tall_axes(
    features: RowMatrix, mean: np.ndarray, inverse_scale: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    gram = np.zeros((features.shape[1],) * 2)
    for block in _centred(features, mean):
        exact = block.astype(np.float64)
        gram += exact.T @ exact
    gram *= np.outer(inverse_scale, inverse_scale)
    values, vectors = _leading(gram, n)
    return vectors.T.copy(), values / (len(features) - 1)


def _standardised(
    features: RowMatrix, mean: np.ndarray, inverse_scale: np.ndarray, stop: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows (up to `stop`) as float64, and where they stand."""
    begin = 0
    for block in _blocks(features, stop):
        yield slice(begin, begin + len(block)), (block.astype(np.float64) - mean) * inverse_scale
        begin += len(block)


def _wide_axes(
    features: RowMatrix, mean: np.ndarray, inverse_scale: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    rows, width = features.shape
    gram = np.zeros((rows, rows))  # its lower triangle: the solver reads no more
    for here, block in _standardised(features, mean, inverse_scale):
        gram[here, here] = block @ block.T
        for there, other in _standardised(features, mean, inverse_scale, here.start):
            gram[here, there] = block @ other.T
    values, vectors = _leading(gram, n)
    varies = values > 1e-12 * values[0]  # axes without variance have no direction: they stay zero
    weights = np.divide(vectors, np.sqrt(values), where=varies, out=np.zeros_like(vectors)).T
    axes = np.zeros((n, width))
    for here, block in _standardised(features, mean, inverse_scale):
        axes += weights[:, here] @ block
    return axes, values / (rows - 1)


def _krylov_axes(
    features: RowMatrix, mean: np.ndarray, inverse_scale: np.ndarray, start: np.ndarray, n: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rayleigh-Ritz on the block Krylov space of the covariance, grown one pass and one block at a time."""
    basis = [_orthonormal(start, [])]
    images: list[np.ndarray] = []
    captured: list[float] = []
    for _ in range(ROUNDS):
        image, following = _power_step(features, mean, inverse_scale, basis[-1])
        images.append(image)
        projected = np.concatenate(images)
        values, vectors = _leading(projected @ projected.T, min(n, len(projected)))
        captured.append(float(values.sum()))
        following = _orthonormal(following, basis)
        if _remaining(captured) <= tolerance * captured[-1] or not len(following):
            break
        basis.append(following)
    axes = np.zeros((n, features.shape[1]), np.float32)
    variance = np.zeros(n)
    begin = 0
    for rows in basis[: len(images)]:
        axes[: len(values)] += vectors[begin : begin + len(rows)].T.astype(np.float32) @ rows
        begin += len(rows)
    variance[: len(values)] = values / (len(features) - 1)
    return axes, variance


def _remaining(captured: list[float]) -> float:
    """What further rounds would add, if gains go on shrinking at the rate of the last one."""
    if len(captured) < 3:
        return np.inf
    last, before = captured[-1] - captured[-2], captured[-2] - captured[-3]
    rate = min(max(last, 0.0) / max(before, 1e-300), 0.99)
    return max(last, 0.0) * rate / (1 - rate)


def _power_step(
    features: RowMatrix, mean: np.ndarray, inverse_scale: np.ndarray, axes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One pass over standardised data Z: axes (L, D) => Z on the axes (L, N) float64, and that times Z (L, D)."""
    image = np.empty((len(axes), len(features)))
    product = np.zeros_like(axes)
    scale = inverse_scale.astype(np.float32)
    scaled = axes * scale
    done = 0
    for block in _centred(features, mean):
        part = block @ scaled.T
        image[:, done : done + len(block)] = part.T
        product += part.T @ block
        done += len(block)
    product *= scale
    return image, product


def _orthonormal(block: np.ndarray, against: list[np.ndarray]) -> np.ndarray:
    """Orthonormal rows spanning `block` (L, D) outside the rows of `against`; fewer where the rank is lower.

    Twice Gram-Schmidt and a whitening of the small Gram matrix: far cheaper than QR at this shape.
    """
    size = np.linalg.norm(block, axis=1, keepdims=True)
    block = block / np.where(size > 0, size, 1)
    for _ in range(2):
        for rows in against:
            block = block - (block @ rows.T) @ rows
        values, vectors = scipy.linalg.eigh((block @ block.T).astype(np.float64))
        there = values > 1e-10 * max(values[-1], 1e-10)
        block = (vectors[:, there] / np.sqrt(values[there])).T.astype(np.float32) @ block
    return block
