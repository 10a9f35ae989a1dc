"""Of jobs that make each other out of date, one runs and the newest waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from ...desk import Desk

Job: TypeAlias = Callable[[], Any]
Done: TypeAlias = Callable[[Any], None]


class Newest:
    """A pan asks more often than its pictures can be made: what waits is replaced, and nothing piles up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._running = False
        self._next: tuple[Job, Done] | None = None

    def ask(self, job: Job, done: Done) -> None:
        """Run a job away from the event loop as soon as the one that runs has ended; then `done(result)` on it."""
        self._next = job, done
        if not self._running:
            self._start()

    def _start(self) -> None:
        if self._next is not None:
            (job, done), self._next = self._next, None
            self._running = True
            self._desk.ask(lambda: _tried(job), lambda outcome: self._ended(done, *outcome))

    def _ended(self, done: Done, result: Any, error: Exception | None) -> None:
        self._running = False
        self._start()
        if error is not None:
            raise error
        done(result)


def _tried(job: Job) -> tuple[Any, Exception | None]:
    try:
        return job(), None
    except Exception as error:  # raised again on the event loop; whatever it is, the next job must run
        return None, error
