"""One queue in front of the model: jobs in order, results on the session's loop, nothing after the session's end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dashboards.explorer.worker import MOST_WAITING, BusyError, Line


class Loop:
    """Stands in for a session's event loop: keeps what it was handed."""

    def __init__(self) -> None:
        self.handed: list[Callable[[], None]] = []
        self.arrived = threading.Semaphore(0)

    def later(self, callback: Callable[[], None]) -> None:
        self.handed.append(callback)
        self.arrived.release()

    def run(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=10)
        for callback in self.handed:
            callback()


def test_jobs_of_all_sessions_run_one_after_the_other_in_one_thread() -> None:
    loops, threads, seen = [Loop(), Loop()], set(), []
    lines = [Line(loop.later) for loop in loops]
    for number in range(6):
        lines[number % 2].submit(lambda n=number: (threads.add(threading.get_ident()), n)[1], seen.append, seen.append)
    for loop in loops:
        loop.run(3)
    assert sorted(seen) == list(range(6))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_results_wait_for_the_session_loop() -> None:
    loop, seen = Loop(), []
    Line(loop.later).submit(lambda: 7, seen.append, seen.append)
    assert loop.arrived.acquire(timeout=10)
    assert seen == []
    loop.handed[0]()
    assert seen == [7]


def test_a_failing_job_is_reported_and_the_next_one_still_runs() -> None:
    loop, done, failed = Loop(), [], []
    line = Line(loop.later)
    line.submit(lambda: 1 // 0, done.append, failed.append)
    line.submit(lambda: 2, done.append, failed.append)
    loop.run(2)
    assert done == [2]
    assert [type(error) for error in failed] == [ZeroDivisionError]


def test_nothing_is_run_or_reported_after_the_end_of_a_session() -> None:
    loop, other, ran, seen = Loop(), Loop(), [], []
    gate, running = threading.Event(), threading.Event()
    line = Line(loop.later)
    line.submit(lambda: (running.set(), gate.wait(10)), seen.append, seen.append)
    line.submit(lambda: ran.append("too late"), seen.append, seen.append)
    assert running.wait(10)
    line.close()
    gate.set()
    Line(other.later).submit(lambda: "last", seen.append, seen.append)
    other.run(1)
    assert ran == []
    assert seen == ["last"]
    assert loop.handed == []


def test_sessions_take_turns_however_many_jobs_one_of_them_has() -> None:
    greedy, modest, seen = Loop(), Loop(), []
    gate, running = threading.Event(), threading.Event()
    first, second = Line(greedy.later), Line(modest.later)
    first.submit(lambda: (running.set(), gate.wait(10)), lambda _: None, seen.append)
    assert running.wait(10)
    for number in range(3):
        first.submit(lambda n=number: seen.append(("greedy", n)), lambda _: None, seen.append)
    for number in range(2):
        second.submit(lambda n=number: seen.append(("modest", n)), lambda _: None, seen.append)
    assert second.ahead == 1
    gate.set()
    greedy.run(4)
    modest.run(2)
    assert [who for who, _ in seen] == ["greedy", "modest", "greedy", "modest", "greedy"]


def test_a_session_that_asks_for_too_much_is_told_so() -> None:
    loop, gate, running = Loop(), threading.Event(), threading.Event()
    line = Line(loop.later)
    line.submit(lambda: (running.set(), gate.wait(10)), lambda _: None, lambda _: None)
    assert running.wait(10)
    for _ in range(MOST_WAITING):
        line.submit(lambda: None, lambda _: None, lambda _: None)
    with pytest.raises(BusyError, match="64 jobs are waiting"):
        line.submit(lambda: None, lambda _: None, lambda _: None)
    line.close()
    gate.set()


def test_reading_does_not_wait_for_the_model() -> None:
    loop, gate, running, seen = Loop(), threading.Event(), threading.Event(), []
    line = Line(loop.later)
    line.submit(lambda: (running.set(), gate.wait(10)), lambda _: None, lambda _: None)
    assert running.wait(10)
    line.read(lambda: "read", seen.append, seen.append)
    loop.run(1)
    assert seen == ["read"]
    gate.set()
