"""Compiled code, which large sets are searched by, finds bit for bit what NumPy finds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modescope.neighbours import Journal, clouds, count_balls, depths, nearest, nearest_between, visit_both
from modescope.neighbours.bounds import Block, measure
from modescope.neighbours.sides import Side, above

KINDS = ["plain", "ties", "duplicates", "all the same", "sorted", "far apart", "tiny", "one axis is huge"]


def _samples(kind: str, count: int, width: int) -> torch.Tensor:
    x = np.random.default_rng(5).standard_normal((count, width))
    match kind:
        case "ties":
            x = np.round(x)
        case "duplicates":
            x = x[np.arange(count) % 9]
        case "all the same":
            x[:] = x[0]
        case "sorted":
            x = np.sort(x, axis=0)
        case "far apart":
            x[::3] += 1e4
        case "tiny":
            x *= 1e-30
        case "one axis is huge":
            x[:, 0] *= 1000
    return torch.from_numpy(x.astype(np.float32))


def _results(x: torch.Tensor, y: torch.Tensor, chunk: int | None, k: int) -> list[torch.Tensor]:
    near = nearest(x, k, chunk=chunk)
    radii, other = near.squared[:, [0, k - 1]].T, nearest(y, 2, chunk=chunk).squared.T
    both = visit_both(x, y, radii, other, k=k, weights=radii[1], chunk=chunk)
    found = [near, *nearest_between(x, y, k, chunk=chunk), *count_balls(x, y, radii, other, chunk=chunk)]
    found += [both.around_a, both.around_b, both.of_a, both.of_b]
    values = [getattr(one, name) for one in found for name in type(one).__slots__]
    return [*values, both.depths, depths(x, y, radii[0], chunk=chunk)]


@pytest.mark.parametrize(("chunk", "k", "width"), [(None, 5, 3), (33, 1, 40), (50, 60, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_have_the_same_results(
    kind: str, chunk: int | None, k: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = _samples(kind, 331, width)
    x, y = both[:200], both[200:]
    plain = _results(x, y, chunk, k)
    monkeypatch.setattr("modescope.neighbours.bounds._COMPILED", 0)
    assert all(map(torch.equal, _results(x, y, chunk, k), plain))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_both_ways_have_the_same_results_in_other_types(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _samples("plain", 300, 20).to(dtype).split(180)
    plain = _results(x, y, 64, 4)
    monkeypatch.setattr("modescope.neighbours.bounds._COMPILED", 0)
    assert all(map(torch.equal, _results(x, y, 64, 4), plain))


def _side(kind: str, shape: tuple[int, int], transposed: bool, compiled: bool) -> Side:
    rows, columns = slice(0, shape[0]), slice(0, shape[1])
    x, y = _samples(kind, sum(shape), 6).split(shape)
    one, two = clouds(x, y)
    block = measure(one.part(rows), two.part(columns, facing=True), rows, columns, torch.float32)
    mine, theirs = (columns, rows) if transposed else (rows, columns)
    return Side(dataclasses.replace(block, compiled=compiled), mine, theirs, transposed)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (31, 33), (64, 96), (150, 67)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_side_gives_the_same_bounds_and_pairs(kind: str, shape: tuple[int, int], transposed: bool) -> None:
    one, other = (_side(kind, shape, transposed, compiled) for compiled in (False, True))
    best = torch.full((shape[transposed], 3), torch.inf, dtype=torch.float64)
    best[::2] = torch.tensor([0.3, 0.0, 0.1], dtype=torch.float64)
    lowest = [side.lower(best, 8).sort(dim=1).values for side in (one, other)]
    assert torch.equal(*lowest)
    squared = lowest[0][:, -1]
    flat = one.above(squared)
    assert torch.equal(other.above(squared), flat)
    for left, right in zip(one.pairs(flat), other.pairs(flat), strict=True):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)


@pytest.mark.parametrize("transposed", [False, True])
def test_values_at_their_floor_or_without_end_are_found_alike(transposed: bool) -> None:
    draw = np.random.default_rng(0)
    values = torch.from_numpy(draw.choice(np.array([-np.inf, -1, -0.5, -0.0, 0], np.float32), (90, 130)))
    floor = torch.from_numpy(
        draw.choice(np.array([-np.inf, -1, -0.5, 0, np.inf], np.float32), 130 if transposed else 90)
    )
    expected = (values > (floor if transposed else floor[:, None])).numpy()
    expected = (expected.T if transposed else expected).ravel().nonzero()[0]
    for compiled in (False, True):
        assert np.array_equal(above(values, floor, transposed=transposed, compiled=compiled).numpy(), expected)


def test_a_block_in_which_all_is_found_has_room() -> None:
    values, floor = torch.zeros(200, 300), torch.full((200,), -1.0)
    assert torch.equal(above(values, floor, transposed=False, compiled=True), torch.arange(200 * 300))


def test_a_compiled_pass_is_resumed_by_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, told = _samples("ties", 300, 4), []

    def report(pairs: int) -> None:
        told.append(pairs)
        if len(told) > 20:
            raise InterruptedError

    monkeypatch.setattr("modescope.neighbours.bounds._COMPILED", 0)
    with pytest.raises(InterruptedError):
        nearest(x, 5, chunk=30, journal=Journal(folder=tmp_path, report=report, seconds=0))
    monkeypatch.undo()
    resumed, whole = nearest(x, 5, chunk=50, journal=Journal(folder=tmp_path)), nearest(x, 5)
    assert torch.equal(resumed.squared, whole.squared)
    assert torch.equal(resumed.indices, whole.indices)


def test_large_sets_are_searched_by_compiled_code_and_small_ones_do_not_import_it() -> None:
    code = (
        "import sys, torch; from modescope.neighbours import nearest; x = torch.rand(1797, 4); nearest(x, 5); "
        "assert 'numba' not in sys.modules; nearest(x.repeat(2, 1), 5); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_only_float32_blocks_of_many_pairs_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks(pairs: int) -> list[Block]:
        monkeypatch.setattr("modescope.neighbours.bounds._COMPILED", pairs)
        x, rows = _samples("plain", 20, 3), slice(0, 20)
        one = clouds(x)[0]
        parts = one.part(rows), one.part(rows, facing=True)
        return [measure(*parts, rows, rows, dtype) for dtype in (torch.float32, torch.float64)]

    assert [block.compiled for block in blocks(400)] == [True, False]
    assert [block.compiled for block in blocks(401)] == [False, False]
    monkeypatch.setattr("modescope.neighbours.bounds._SCATTERED", 399)
    assert [block.compiled for block in blocks(400)] == [False, False]
