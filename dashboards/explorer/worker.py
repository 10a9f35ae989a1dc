"""The one queue in front of the model: jobs of all sessions run one after the other, away from the event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

_queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")


class Line:
    """One session's place in the queue. `later` hands a callable to the session's event loop, from any thread."""

    def __init__(self, later: Callable[[Callable[[], None]], Any]) -> None:
        self._later = later
        self._waiting: set[Future] = set()
        self._open = True

    def submit(self, job: Callable[[], T], done: Callable[[T], None], failed: Callable[[BaseException], None]) -> None:
        """Run `job` when its turn comes; then `done(result)` or `failed(error)` on the event loop of the session."""
        future = _queue.submit(job)
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
            log.error("a job in front of the model failed", exc_info=error)
            self._later(lambda: failed(error))

    def close(self) -> None:
        """The session has ended: what waits is cancelled, what runs ends unheard."""
        self._open = False
        for future in tuple(self._waiting):
            future.cancel()
