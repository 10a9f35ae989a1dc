"""What a session is having made: how far it is, its place in the queue, its end when somebody asks for it."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from modescope.making import Progress

from . import states
from .cards import button

if TYPE_CHECKING:
    from .desk import Desk

T = TypeVar("T")
THEN = ", then "
"""Between what comes before the first image, and the making."""
BEAT = 300
"""Milliseconds between two looks at how far it is."""


class Task:
    """The queue's thread writes to it by `watch`, the page looks at it every so often and shows `text()`.

    `stop`: the event of the button that ends it. A visitor who leaves does not end what runs: it is kept, and there when the
    page is opened again.
    """

    def __init__(self, desk: Desk, what: str, show: Callable[[str], None], stop: str = "cancel") -> None:
        self.desk, self.what, self._show, self._stop = desk, what, show, stop
        self.began: float | None = None
        self.progress: Progress | None = None
        self._ended = False
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def run(self, job: Callable[[Task], T], done: Callable[[T], None]) -> None:
        """`job(task)` in front of the model when its turn comes, then `done(result)`."""
        self.desk.become(states.started(self.desk.state, self.what), step=False)
        self.desk.ask(lambda: self._work(job), lambda result: self._done(result, done), model=True)
        self._beat()

    def watch(self, progress: Progress) -> None:
        self.progress = progress

    def cancel(self) -> None:
        """Ask for its end; one that has not begun is let go of at once."""
        self._cancelled.set()
        if self.began is None:
            self._end()
            self.desk.become(states.stopped(self.desk.state), step=False)
        else:
            self._show(self.text())

    def text(self, now: float | None = None) -> str:
        """A bar with words, and a button that ends it."""
        if self._ended:
            return ""
        share = 0 if self.progress is None else self.progress.share
        stop = "" if self.cancelled else button("Cancel", self._stop, title="End it; what is made stays")
        return (
            f"<div class='task' role='status'><p>{html.escape(self.words(time.monotonic() if now is None else now))}</p>"
            f"{stop}<progress max='1' value='{share:.3f}'></progress></div>"
        )

    def words(self, now: float) -> str:
        if self.cancelled:
            return "Cancelled; ends after this step."
        if self.began is None:
            ahead = self.desk.line.ahead
            return f"Waits for its turn: {ahead} before you." if ahead else "Waits for its turn: you are next."
        if self.progress is None:
            return f"{self.what} {now - self.began:.0f} s"
        return f"{self.what.rpartition(THEN)[2].capitalize()} {pace(self.progress, now - self.began)}"

    def _work(self, job: Callable[[Task], T]) -> T:
        self.began = time.monotonic()
        return job(self)

    def _done(self, result: T, done: Callable[[T], None]) -> None:
        if not self._ended:
            self._end()
            done(result)

    def _end(self) -> None:
        self._ended = True
        self._show("")

    def _beat(self) -> None:
        if not self._ended and self.desk.state.busy is None:  # it failed: the page says so elsewhere
            self._end()
        if not self._ended:
            self._show(self.text())
            self.desk.document.add_timeout_callback(self._beat, BEAT)


def pace(progress: Progress, seconds: float) -> str:
    """`3 of 7 images, 2.1 per second, 2 s left`."""
    made = progress.image + progress.step / progress.steps
    words = f"{progress.image + (progress.step == progress.steps)} of {progress.images} images"
    if made <= 0 or seconds <= 0.5:
        return words
    rate = made / seconds
    each = f"{rate:.1f} per second" if rate >= 1 else f"{1 / rate:.1f} s each"
    return f"{words}, {each}, {round((progress.images - made) / rate)} s left"
