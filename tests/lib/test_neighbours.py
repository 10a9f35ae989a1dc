"""Exact neighbours against brute force, at ordinary and at hostile inputs."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modescope import files
from modescope.neighbours import (
    Journal,
    Table,
    as_points,
    chunk_within,
    clouds,
    count_balls,
    depths,
    nearest,
    nearest_between,
    visit_both,
)
from modescope.neighbours.bounds import full_precision, measure


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([((a.astype(float) - row) ** 2).sum(axis=1) for row in b.astype(float)], axis=1)


def _brute_nearest(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    squared = _squared(x, x)
    np.fill_diagonal(squared, np.inf)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squared, order, axis=1), order


def test_three_points_on_a_line_by_hand() -> None:
    near = nearest(torch.tensor([[0.0], [1.0], [3.0]]), 2)
    assert near.squared.tolist() == [[1, 9], [1, 4], [4, 9]]
    assert near.indices.tolist() == [[1, 2], [0, 2], [1, 0]]


def test_a_point_on_the_sphere_is_outside_the_open_ball() -> None:
    a, b = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [9.5], [2.0]])
    one, two = count_balls(
        a, b, torch.tensor([[1.0, 1.0], [1.001, 1.0], [5.0, 0.0]]).double(), torch.ones(1, 3).double()
    )
    assert one.inside.tolist() == [[0, 1], [1, 1], [2, 0]]
    assert one.inside_sum.tolist() == [[0, 1], [0, 1], [2, 0]]
    assert one.holding.tolist() == [[0, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert one.holding_sum.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert two.inside.tolist() == [[0, 1, 0]]
    assert two.holding.tolist() == [[0, 1]]


def _case(kind: str, n: int, width: int) -> np.ndarray:
    x = np.random.default_rng(3).standard_normal((n, width))
    match kind:
        case "one axis is huge":
            x[:, 0] *= 1000
        case "far from the origin":
            x += 1e4
        case "many ties":
            x = np.round(x)
        case "few different samples":
            x = x[np.arange(n) % 7]
        case "one sample many times":
            x = np.repeat(x[:1], n, axis=0)
        case "tiny":
            x *= 1e-30
        case "huge":
            x = x * 1e18 + 3e18
        case "wide clusters":
            x[::2] += 1e3
    return x.astype(np.float32)


KINDS = [
    "plain",
    "one axis is huge",
    "far from the origin",
    "many ties",
    "few different samples",
    "one sample many times",
    "tiny",
    "huge",
    "wide clusters",
]


@pytest.mark.parametrize("width", [2, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_equal_brute_force_in_float64(kind: str, width: int) -> None:
    x = _case(kind, 150, width)
    squared, order = _brute_nearest(x, 4)
    near = nearest(torch.from_numpy(x), 4, chunk=32)
    np.testing.assert_allclose(near.squared.numpy(), squared, rtol=1e-13)
    if width == 2 or "ties" in kind or "sample" in kind:  # sums of few or whole terms carry no rounding: ties are exact
        np.testing.assert_array_equal(near.indices.numpy(), order)


@pytest.mark.parametrize("kind", KINDS)
def test_ball_counts_equal_brute_force_in_float64(kind: str) -> None:
    both = _case(kind, 220, 12)
    x, y = both[::2], both[1::2]
    rx, ry = _brute_nearest(x, 3)[0][:, 2], _brute_nearest(y, 3)[0][:, 2]
    one, two = count_balls(*map(torch.from_numpy, (x, y, rx[None], ry[None])), chunk=25)
    squared = _squared(x, y)
    for balls, inside in ((one, squared < rx[:, None]), (two, (squared < ry).T)):
        np.testing.assert_array_equal(balls.inside[0].numpy(), inside.sum(axis=1))
        np.testing.assert_array_equal(balls.holding[0].numpy(), inside.sum(axis=0))
        np.testing.assert_array_equal(balls.inside_sum[0].numpy(), inside @ np.arange(inside.shape[1]))
        np.testing.assert_array_equal(balls.holding_sum[0].numpy(), np.arange(len(inside)) @ inside)


def _brute_between(a: np.ndarray, b: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    squared = _squared(a, b)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squared, order, axis=1), order


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_in_another_set_equal_brute_force_both_ways(kind: str) -> None:
    both = _case(kind, 220, 2)
    x, y = both[:90], both[90:]
    for near, (a, b) in zip(
        nearest_between(*map(torch.from_numpy, (x, y)), 3, chunk=20), ((x, y), (y, x)), strict=True
    ):
        squared, order = _brute_between(a, b, 3)
        np.testing.assert_allclose(near.squared.numpy(), squared, rtol=1e-13)
        np.testing.assert_array_equal(near.indices.numpy(), order)


def test_as_many_neighbours_as_there_are_and_no_more() -> None:
    a, b = torch.zeros(4, 1), torch.arange(3.0)[:, None]
    assert nearest_between(a, b, 3)[0].indices.tolist() == [[0, 1, 2]] * 4
    with pytest.raises(ValueError, match="k = 4 neighbours are wanted of 3 samples"):
        nearest_between(a, b, 4)


def test_depth_on_a_line_by_hand() -> None:
    a, b = torch.tensor([[0.0], [10.0], [11.0]]), torch.tensor([[1.0], [0.0], [8.0], [100.0]])
    got = depths(a, b, torch.tensor([4.0, 1.0, 0.0]).double())
    assert got.tolist() == pytest.approx([4, torch.inf, 1 / 4, 4 / 100**2])
    assert depths(a, b, torch.zeros(3).double()).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("chunk", [16, 64, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_depths_equal_brute_force_in_float64(kind: str, chunk: int) -> None:
    both = _case(kind, 220, 12)
    x, y = both[::2], both[1::2]
    radii = _brute_nearest(x, 3)[0][:, 2]
    radii[::3] = 0
    got = depths(*map(torch.from_numpy, (x, y, radii)), chunk=chunk)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(radii[:, None] > 0, radii[:, None] / _squared(x, y), 0)
    np.testing.assert_allclose(got.numpy(), ratios.max(axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_gives_what_each_search_gives_alone(kind: str) -> None:
    both = torch.from_numpy(_case(kind, 200, 5))
    x, y = both[:110], both[110:]
    rx, ry = nearest(x, 4).squared.T[1:], nearest(y, 4).squared.T[3:]
    got = visit_both(x, y, rx, ry, k=4, weights=rx[0], chunk=30)
    balls, near = count_balls(x, y, rx, ry), nearest_between(x, y, 4)
    for one, other in ((got.around_a, balls[0]), (got.around_b, balls[1]), (got.of_a, near[0]), (got.of_b, near[1])):
        for name in type(one).__slots__:
            assert torch.equal(getattr(one, name), getattr(other, name))
    assert torch.equal(got.depths, depths(x, y, rx[0]))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 5), st.integers(1, 4), st.integers(1, 50))
def test_block_size_changes_nothing(seed: int, n: int, width: int, k: int, chunk: int) -> None:
    # Small whole numbers: many pairs at exactly the same distance, where a careless bound would show.
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (n + k, width)).astype(np.float32))
    whole, parts = nearest(x, k), nearest(x, k, chunk=chunk)
    assert torch.equal(whole.squared, parts.squared)
    assert torch.equal(whole.indices, parts.indices)


def test_wide_features_are_summed_in_slices_and_stay_exact() -> None:
    x = np.random.default_rng(0).standard_normal((40, 5000)).astype(np.float32)
    np.testing.assert_allclose(nearest(torch.from_numpy(x), 3).squared.numpy(), _brute_nearest(x, 3)[0], rtol=1e-12)


def test_global_precision_settings_are_ignored_and_put_back() -> None:
    x = torch.from_numpy(_case("plain", 200, 64))
    before = nearest(x, 5)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu"):
            assert torch.equal(nearest(x, 5).squared, before.squared)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_thread_that_is_done_leaves_the_precision_of_one_that_is_not() -> None:
    cpu, inside, leave = torch.device("cpu"), Event(), Event()

    def first() -> None:
        with full_precision(cpu):
            inside.set()
            leave.wait(60)

    torch.set_float32_matmul_precision("medium")
    try:
        thread = Thread(target=first)
        thread.start()
        inside.wait(60)
        with full_precision(cpu):
            leave.set()
            thread.join()
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.is_grad_enabled()
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8, ">f4"])
def test_any_real_dtype_is_taken_as_the_numbers_it_holds(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 50, (20, 3))
    assert torch.equal(nearest(as_points(x.astype(dtype), "x"), 2).squared, nearest(as_points(x, "x"), 2).squared)


def test_a_read_only_memory_map_is_taken_without_a_copy(tmp_path: Path) -> None:
    files.write_array(tmp_path / "x.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
    mapped = files.read_array(tmp_path / "x.npy", mapped=True)
    assert as_points(mapped, "x").data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), r"x has shape \(3,\).*reshape"),
        (np.zeros((0, 3)), r"x has shape \(0, 3\)"),
        (np.array([["a"]]), r"x has dtype <U1.*convert"),
        (np.array([[1j]]), r"x is complex"),
        (np.array([[1.0], [np.nan]]), r"x has NaN.*in row 1"),
        (np.array([[1.0], [1.0], [np.inf]], np.float32), r"x has NaN.*in row 2"),
        (np.array([[1e200]]), r"x has NaN.*in row 0"),
    ],
)
def test_what_is_not_a_table_of_finite_numbers_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_points(values, "x")


@pytest.mark.parametrize("k", [0, 5])
def test_k_needs_one_more_sample(k: int) -> None:
    assert nearest(torch.eye(5), 4).squared.shape == (5, 4)
    with pytest.raises(ValueError, match=rf"k = {k} needs at least k \+ 1 samples"):
        nearest(torch.eye(5), k)


def test_a_memory_bound_sets_the_chunk() -> None:
    assert chunk_within(40) == 1024
    assert chunk_within(160) == 2048
    chunk = chunk_within(100, 2560)
    assert 40 * chunk**2 + 8 * 2560 * chunk <= 100 * 2**20 < 40 * (chunk + 1) ** 2 + 8 * 2560 * (chunk + 1)
    with pytest.raises(ValueError, match="megabytes = 0: blocks of distances need at least 0.01"):
        chunk_within(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["part", "table"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bounds_of_a_block_hold(kind: str, form: str, dtype: torch.dtype) -> None:
    both = torch.from_numpy(_case(kind, 120, 30))
    x, y, rows, columns = both[:70], both[70:], slice(5, 60), slice(10, 45)
    one, two = clouds(x, y)
    if form == "table":
        values = (both.double() - one.centre) * one.scale
        table = Table.of(values @ values.T, 30)
        one, two = (
            table.cloud(two, points, at) for points, at in zip((x, y), torch.arange(120).split(70), strict=True)
        )
    block = measure(one.part(rows), two.part(columns, facing=True), rows, columns, dtype)
    squared = torch.from_numpy(_squared(x.numpy(), y.numpy()))[rows, columns] * one.scale**2
    low = -2 * block.closeness.double()
    high = low + 2 * (block.row_slack[:, None] + block.column_slack)
    assert (low <= squared).all()
    assert (squared <= high).all()
    assert ((high - low) <= 1e-3 * squared.max() + 1e-30).all()  # and they are worth something


def test_of_the_second_set_no_float32_copy_is_kept() -> None:
    one, two = clouds(torch.rand(30, 4), torch.rand(20, 4))
    assert one.kept is not None
    assert two.kept is None
    assert two.part(slice(5, 9)).low.shape == (4, 4 + 2)


def test_a_large_set_is_not_copied_as_a_whole_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    both = torch.from_numpy(_case("many ties", 120, 6))
    kept = _both(both[:70], both[70:], 16)
    monkeypatch.setattr("modescope.neighbours.bounds._WHOLE", 100)
    assert clouds(both)[0].kept is None
    assert all(map(torch.equal, _both(both[:70], both[70:], 16), kept))


def test_bfloat16_features_are_the_numbers_they_hold() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    one, two = nearest(as_points(x, "x"), 3), nearest(x.double(), 3)
    assert torch.equal(one.indices, two.indices)
    assert torch.equal(one.squared, two.squared)


# Progress and resuming


class _KilledError(Exception):
    pass


def _stop_after(blocks: int):
    """A report that raises when so many blocks are done."""
    told = []

    def report(pairs: int) -> None:
        told.append(pairs)
        if len(told) > blocks:
            raise _KilledError

    return report


def _both(x: torch.Tensor, y: torch.Tensor, chunk: int, journal: Journal | None = None) -> list[torch.Tensor]:
    near = nearest(x, 12, chunk=chunk, journal=journal, name="real")
    radii = near.squared[:, [2, 11]].T
    got = visit_both(x, y, radii, radii[:, : len(y)], k=4, weights=radii[0], chunk=chunk, journal=journal)
    parts = [near, got.around_a, got.around_b, got.of_a, got.of_b]
    return [getattr(part, name) for part in parts for name in type(part).__slots__] + [got.depths]


@pytest.mark.parametrize("kind", ["plain", "many ties", "few different samples"])
def test_stopped_after_any_block_and_resumed_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    both = torch.from_numpy(_case(kind, 90, 3))
    x, y = both[:50], both[50:]
    expected, blocks = _both(x, y, 20), []
    _both(x, y, 20, Journal(report=blocks.append))
    assert sum(blocks) == 50 * 51 // 2 + 50 * 40
    for stop in range(len(blocks)):
        folder = tmp_path / str(stop)
        with pytest.raises(_KilledError):
            _both(x, y, 20, Journal(folder=folder, report=_stop_after(stop), seconds=0))
        again, chunk = [], (20, 9, 1000)[stop % 3]
        got = _both(x, y, chunk, Journal(folder=folder, report=again.append, seconds=0))
        assert all(map(torch.equal, got, expected))
        assert sum(again) == sum(blocks)


def test_finished_strips_are_not_visited_again(tmp_path: Path) -> None:
    x, first, again = torch.rand(100, 3), [], []
    nearest(x, 3, chunk=10, journal=Journal(folder=tmp_path, report=first.append))
    nearest(x, 3, chunk=10, journal=Journal(folder=tmp_path, report=again.append))
    assert len(first) > 20
    assert again == [100 * 101 // 2]


def test_a_pass_writes_when_the_seconds_have_gone_by_and_at_its_end(tmp_path: Path) -> None:
    x = torch.rand(100, 3)
    with pytest.raises(_KilledError):
        nearest(x, 3, chunk=10, journal=Journal(folder=tmp_path, report=_stop_after(20), seconds=3600))
    assert not list(tmp_path.iterdir())
    journal = Journal(folder=tmp_path, seconds=3600)
    nearest(x, 3, chunk=10, journal=journal)
    assert [path.name for path in tmp_path.iterdir()] == ["within.safetensors"]
    journal.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["samples", "k", "type"])
def test_what_was_found_for_something_else_is_refused(what: str, tmp_path: Path) -> None:
    x = torch.rand(50, 3)
    journal = Journal(folder=tmp_path)
    nearest(x, 3, journal=journal)
    other = {"samples": x.flip(0), "type": x.double()}.get(what, x)
    with pytest.raises(ValueError, match="within.safetensors holds what was found for other samples or settings"):
        nearest(other, 4 if what == "k" else 3, journal=journal)


def test_other_radii_are_another_pass(tmp_path: Path) -> None:
    x, radii, journal = torch.rand(20, 2), torch.rand(1, 20).double(), Journal(folder=tmp_path)
    count_balls(x, x, radii, radii, journal=journal)
    with pytest.raises(ValueError, match="across.safetensors holds what was found for other samples or settings"):
        count_balls(x, x, radii, 2 * radii, journal=journal)


def test_a_damaged_file_is_refused_not_mixed_in(tmp_path: Path) -> None:
    x, journal, path = torch.rand(50, 3), Journal(folder=tmp_path), tmp_path / "within.safetensors"
    nearest(x, 3, journal=journal)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"within.safetensors is damaged .*; delete it to begin this pass anew"):
        nearest(x, 3, journal=journal)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"within.safetensors is damaged \(its checksum differs\)"):
        nearest(x, 3, journal=journal)
    path.unlink()
    files.write_tensors(path, {"a": np.zeros(3)})
    with pytest.raises(ValueError, match="holds what was found for other samples or settings"):
        nearest(x, 3, journal=journal)
