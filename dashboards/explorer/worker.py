"""Work away from the event loop: one queue in front of the model, in fair turns, and a few hands that only read."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_WAITING = 64
"""Jobs that one session may have waiting."""
NICE = 10
"""Of the thread that makes images; the event loop has 0."""


class BusyError(ValueError):
    """The queue is full."""


class Turns:
    """Jobs of all sessions one after the other; the next one is of the session that has waited longest for its turn."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Condition()
        self._lines: OrderedDict[object, deque[tuple[Future, Callable[[], Any]]]] = OrderedDict()
        self._name = name
        self._thread: threading.Thread | None = None

    def submit(self, owner: object, job: Callable[[], T]) -> Future[T]:
        """Raises BusyError where the owner has too many jobs waiting."""
        future: Future[T] = Future()
        with self._lock:
            line = self._lines.setdefault(owner, deque())
            if len(line) >= MOST_WAITING:
                raise BusyError(f"{len(line)} jobs are waiting for the model already; wait for one to end, or cancel")
            line.append((future, job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._lock.notify()
        return future

    def ahead(self, owner: object) -> int:
        """Turns before the owner's next one."""
        with self._lock:
            return list(self._lines).index(owner) if owner in self._lines else len(self._lines)

    def leave(self, owner: object) -> None:
        """Let go of all that waits for an owner."""
        with self._lock:
            line = self._lines.pop(owner, deque())
        for future, _job in line:
            future.cancel()

    def _next(self) -> tuple[Future, Callable[[], Any]]:
        with self._lock:
            while not self._lines:
                self._lock.wait()
            owner, line = self._lines.popitem(last=False)
            taken = line.popleft()
            if line:
                self._lines[owner] = line  # to the end of the row
            return taken

    def _work(self) -> None:
        _step_back()
        while True:
            future, job = self._next()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # whatever it is, the one who waits must hear of it
                future.set_exception(error)
            del future, job  # they hold the session, which may end while this waits for the next job


def _step_back() -> None:
    """This thread gives way to the event loop, so that clicks go before images: on Linux, where threads have priorities."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


_models = Turns("model")
_readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="reader")


class Line:
    """One session's access to both. `later` hands a callable to the session's event loop, from any thread."""

    def __init__(self, later: Callable[[Callable[[], None]], Any]) -> None:
        self._later = later
        self._waiting: set[Future] = set()
        self._open = True

    def submit(self, job: Callable[[], T], done: Callable[[T], None], failed: Callable[[BaseException], None]) -> None:
        """Run `job` in front of the model when its turn comes; then `done(result)` or `failed(error)` on the event loop."""
        self._watch(_models.submit(self, job), done, failed)

    def read(self, job: Callable[[], T], done: Callable[[T], None], failed: Callable[[BaseException], None]) -> None:
        """The same for what needs no model, and does not wait for one."""
        self._watch(_readers.submit(job), done, failed)

    @property
    def ahead(self) -> int:
        """Turns of other sessions before the next one of this."""
        return _models.ahead(self)

    def close(self) -> None:
        """The session has ended: what waits leaves the queue, what runs ends unheard."""
        self._open = False
        _models.leave(self)
        for future in tuple(self._waiting):
            future.cancel()

    def _watch(self, future: Future, done: Callable[[Any], None], failed: Callable[[BaseException], None]) -> None:
        self._waiting.add(future)
        future.add_done_callback(lambda ended: self._deliver(ended, done, failed))

    def _deliver(self, future: Future, done: Callable[[Any], None], failed: Callable[[BaseException], None]) -> None:
        self._waiting.discard(future)
        if future.cancelled() or not self._open:
            return
        error = future.exception()
        if error is None:
            result = future.result()
            self._later(lambda: done(result))
        else:
            log.error("a job failed", exc_info=error)
            self._later(lambda: failed(error))
