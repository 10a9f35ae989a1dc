"""Answers that come late: of several questions about one thing, only the last is answered in the page."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .desk import Desk

T = TypeVar("T")


class Latest:
    """`ask` runs a job away from the event loop, unless what it is asked for is shown or on its way already."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wanted: dict[Hashable, Hashable] = {}

    def ask(self, what: Hashable, key: Hashable, job: Callable[[], T], show: Callable[[T], None]) -> None:
        """`key` says all that the answer depends on. An answer that something newer was asked for after is dropped."""
        if what in self._wanted and self._wanted[what] == key:
            return
        self._wanted[what] = key

        def done(answer: T) -> None:
            if self._wanted.get(what) == key:
                show(answer)

        self._desk.ask(job, done)

    def forget(self, what: Hashable) -> None:
        """Nothing is wanted any more: what comes late is dropped."""
        self._wanted.pop(what, None)
