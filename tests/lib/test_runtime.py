"""Device, precision and the switches of a run: set once, recorded where they are on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from modescope import runtime
from modescope.runtime import Runtime


@pytest.fixture(autouse=True)
def as_found(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads = torch.get_num_threads()
    yield
    runtime.start("cpu", threads)


def test_switches_are_recorded_where_they_are_on_and_nowhere_else():
    plain = runtime.start("cpu", 1)
    assert plain.record() == {"device": "cpu", "threads": 1, "torch": torch.__version__}
    on = runtime.start("cpu", 1, compile=True, channels_last=True, deterministic=True)
    assert on.record() == plain.record() | {"compile": True, "channels_last": True, "deterministic": True}
    assert runtime.start("cpu", 1, **on.options) == on
    assert Runtime(**on.record()) == on


def test_what_is_on_is_said(caplog):
    with caplog.at_level("INFO", "modescope.runtime"):
        runtime.start("cpu", 1, channels_last=True, deterministic=True)
    assert f"torch {torch.__version__}, channels_last, deterministic" in caplog.text


def test_a_deterministic_run_refuses_what_varies_and_the_next_one_does_not():
    runtime.start("cpu", 1, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in runtime.WORKSPACES
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))  # one of those without
    runtime.start("cpu", 1)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_a_workspace_that_does_not_repeat_is_an_error(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    runtime.start("cpu", 1)
    with pytest.raises(ValueError, match="CUBLAS_WORKSPACE_CONFIG is ':0:0'.*unset it, or set it to :4096:8 or :16:8"):
        runtime.start("cpu", 1, deterministic=True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    runtime.start("cpu", 1, deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_products_are_those_of_the_precision_and_put_back():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with runtime.arithmetic("tf32"):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    with pytest.raises(
        ValueError, match="precision 'float8' is unknown; use one of float32, winograd, tf32, bfloat16, flo"
    ):
        runtime.check_precision("float8")


def test_a_cpu_says_what_half_precision_costs_and_a_gpu_nothing():
    for precision, has in (
        ("bfloat16", torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        ("float16", torch.ops.mkldnn._is_mkldnn_fp16_supported()),
    ):
        said = runtime.slow_here(precision, torch.device("cpu"))
        assert has or f"no {precision} arithmetic: expect it to be far slower" in said
        assert not has or said is None
        assert runtime.slow_here(precision, torch.device("cuda")) is None
    assert runtime.slow_here("float32", torch.device("cpu")) is None


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("rows", "most"), [(0, 8), (1, 8), (95, 95), (96, 96), (97, 97), (300, 64), (300, 1000)])
def test_slices_cover_the_rows_in_order_and_none_is_larger_than_asked_for(rows, most, three_threads):
    with runtime.sharing(torch.device("cpu")) as spread:
        parts = spread(lambda part: part, rows, most)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all(part.stop - part.start <= most for part in parts)


def test_a_large_batch_is_shared_by_threads_of_one_each_and_a_small_one_stays_with_the_caller(three_threads):
    def who(part):
        return threading.get_ident(), torch.get_num_threads()

    with runtime.sharing(torch.device("cpu")) as spread:
        shared = spread(who, 3 * runtime.ROWS_EACH, 1000)
        together = spread(who, 3 * runtime.ROWS_EACH - 1, 1000)
        here = torch.get_num_threads()
    assert [threads for _, threads in shared] == [1, 1, 1]
    assert threading.get_ident() not in {thread for thread, _ in shared}
    assert together == [(threading.get_ident(), 3)]
    assert (here, torch.get_num_threads()) == (1, 3)


def test_one_thread_or_a_gpu_shares_nothing(three_threads):
    for device, threads in (("cuda", 3), ("cpu", 1)):
        torch.set_num_threads(threads)
        with runtime.sharing(torch.device(device)) as spread:
            assert spread(lambda part: threading.get_ident(), 1000, 1000) == [threading.get_ident()]


def test_what_fails_in_a_thread_fails_for_the_caller_and_the_threads_are_put_back(three_threads):
    def refuse(part):
        raise ValueError(f"no {part.start}")

    with pytest.raises(ValueError, match="no 0"), runtime.sharing(torch.device("cpu")) as spread:
        spread(refuse, 1000, 1000)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("own", "found"), [(None, "10000"), ("7", "7")])
def test_threads_soon_sleep_while_they_wait_unless_the_user_said_otherwise(own, found):
    surroundings = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    surroundings |= {"GOMP_SPINCOUNT": own} if own else {}
    code = "import modescope, os; print(os.environ['GOMP_SPINCOUNT'])"
    said = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == found
